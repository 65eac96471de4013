// SPDX-License-Identifier: Apache-2.0
//
// Configurations that are loaded again: what is published, what is refused and says so, that
// requests collapse and none is forgotten, and that readers never notice.
#include <sigrun/reload.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/systemd.hpp>
#include <sigrun/time.hpp>

#include "receiver.hpp"
#include "support/callers.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

namespace {

using namespace std::chrono_literals;
using sigrun::reload_options;
using sigrun::reload_outcome;
using sigrun::reload_record;
using sigrun::reloader;
using sigrun::test::yield_until;

struct settings {
  int a = 0;
  int b = 0;
};
void read_config(sigrun::config::section& in, settings& to) {
  in.require("a", to.a, sigrun::config::at_least(0));
  in.require("b", to.b);
}

class ReloadTest : public ::testing::Test {
 protected:
  ReloadTest() {
    ::alarm(50);
    ::unsetenv("NOTIFY_SOCKET");
    std::string name = "/tmp/sigrun-reload-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    directory = name;
    path = directory + "/c.toml";
  }
  ~ReloadTest() override {
    std::filesystem::remove_all(directory);
    ::alarm(0);
  }

  // As a careful editor does it: another file in its place.
  void write(int a, int b) { write("a = " + std::to_string(a) + "\nb = " + std::to_string(b)); }
  void write(const std::string& text) {
    std::ofstream(path + ".new") << text;
    std::filesystem::rename(path + ".new", path);
  }
  reload_options quiet() {
    reload_options options;
    options.signals = {};
    options.log = [this](std::string_view line) {
      const std::lock_guard hold(lock);
      lines.emplace_back(line);
    };
    return options;
  }
  bool logged(const std::string& part) {
    const std::lock_guard hold(lock);
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(part) != std::string::npos;
    });
  }

  std::string directory;
  std::string path;
  sigrun::mutex lock;
  std::vector<std::string> lines;
};

TEST_F(ReloadTest, ANewVersionIsPublishedAndSnapshotsStay) {
  write(1, 2);
  reloader<settings> config(path, quiet());
  const auto old = config.load();
  EXPECT_EQ(old->a, 1);
  EXPECT_EQ(old.version(), 1U);
  write(3, 4);
  const reload_record got = config.reload();
  EXPECT_EQ(got.outcome, reload_outcome::published);
  EXPECT_EQ(got.version, 2U);
  EXPECT_EQ(got.attempt, 2U);
  EXPECT_EQ(got.asked_by, "call");
  EXPECT_EQ(config.load()->b, 4);
  EXPECT_EQ(config.load().version(), 2U);
  EXPECT_EQ(old->b, 2);
  yield_until([&] { return logged("reload: version 2 of " + path + " (call, 1 request, "); });
  const auto history = config.history();
  ASSERT_EQ(history.size(), 2U);
  EXPECT_EQ(history[0].asked_by, "start");
}

TEST_F(ReloadTest, WhatIsWrongIsRefusedAndTheOldVersionStays) {
  write(1, 2);
  reloader<settings> config(path, quiet());
  write("a = -1\nc = 2\n");
  const reload_record got = config.reload();
  EXPECT_EQ(got.outcome, reload_outcome::refused);
  EXPECT_EQ(got.version, 1U);
  EXPECT_EQ(got.failure, path + ":1: a: -1 is less than 0\n" + path + ":1: b: is missing\n" + path +
                             ":2: c: unknown key; did you mean \"b\"?");
  EXPECT_EQ(config.load()->a, 1);
  yield_until([&] {
    return logged("refused, version 1 of " + path + " stays (call, 1 request, ") &&
           logged(path + ":1: a: -1 is less than 0; ");
  });
  std::filesystem::remove(path);
  EXPECT_NE(config.reload().failure.find("No such file"), std::string::npos);
  EXPECT_EQ(config.stats().refused, 2U);
  write(5, 6);
  EXPECT_EQ(config.reload().version, 2U);
}

TEST_F(ReloadTest, WithoutDescriptorsTheOldVersionStays) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs a pipe to look whether an object is there";
#endif
  write(1, 2);
  reloader<settings> config(path, quiet());
  write(3, 4);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  ::setrlimit(RLIMIT_NOFILE, &none);
  const reload_record got = config.reload();
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(got.outcome, reload_outcome::refused);
  EXPECT_NE(got.failure.find("Too many open files"), std::string::npos) << got.failure;
  EXPECT_EQ(config.load()->a, 1);
  EXPECT_EQ(config.reload().outcome, reload_outcome::published);
  EXPECT_EQ(config.load()->a, 3);
}

TEST_F(ReloadTest, AProgramDoesNotStartWithWhatIsWrong) {
  write("a = 1");
  EXPECT_THROW(reloader<settings>(path, quiet()), sigrun::config::invalid);
  std::filesystem::remove(path);
  EXPECT_THROW(reloader<settings>(path, quiet()), std::system_error);
  write(1, 1);
  reloader<settings>::hooks own;
  own.prepare = [](const settings&, const settings* now) {
    EXPECT_EQ(now, nullptr);
    throw std::runtime_error("no store");
  };
  EXPECT_THROW(reloader<settings>(path, quiet(), own), std::runtime_error);
  reload_options options = quiet();
  options.signals = {99};
  EXPECT_THROW(reloader<settings>(path, options), std::invalid_argument);
  options = quiet();
  options.settle = -1ns;
  EXPECT_THROW(reloader<settings>(path, options), std::invalid_argument);
  options = quiet();
  options.watch = true;
  EXPECT_THROW(reloader<settings>(
                   "x", [] { return settings(); }, options),
               std::invalid_argument);
}

TEST_F(ReloadTest, WhatPrepareRefusesIsNeverSeen) {
  write(1, 2);
  reloader<settings>::hooks own;
  own.prepare = [](const settings& next, const settings* now) {
    if (now != nullptr && next.a < now->a) throw std::runtime_error("a must not fall");
  };
  reloader<settings> config(path, quiet(), own);
  write(0, 9);
  const reload_record got = config.reload();
  EXPECT_EQ(got.outcome, reload_outcome::refused);
  EXPECT_EQ(got.failure, "a must not fall");
  EXPECT_EQ(config.load()->b, 2);
}

TEST_F(ReloadTest, WhatChangedCannotAdaptIsRolledBack) {
  write(1, 2);
  std::vector<std::string> calls;
  reloader<settings>::hooks own;
  own.changed = [&](const settings& now, const settings& before) {
    calls.push_back(std::to_string(before.a) + ">" + std::to_string(now.a));
    if (now.a == 7) throw std::runtime_error("port is taken");
  };
  reloader<settings> config(path, quiet(), own);
  write(7, 7);
  const reload_record got = config.reload();
  EXPECT_EQ(got.outcome, reload_outcome::rolled_back);
  EXPECT_EQ(got.failure, "port is taken");
  EXPECT_EQ(got.version, 3U);  // version 1's value again
  EXPECT_EQ(config.load()->a, 1);
  EXPECT_EQ(calls, (std::vector<std::string>{"1>7", "7>1"}));
  EXPECT_EQ(config.stats().rolled_back, 1U);
}

TEST_F(ReloadTest, RollbackGoesThroughTheVersionsThatAreKept) {
  reload_options options = quiet();
  options.keep = 2;
  write(1, 0);
  reloader<settings> config(path, options);
  for (int a : {2, 3, 4}) {
    write(a, 0);
    config.reload();
  }
  EXPECT_EQ(config.rollback().version, 5U);
  EXPECT_EQ(config.load()->a, 3);
  EXPECT_EQ(config.rollback().outcome, reload_outcome::rolled_back);
  EXPECT_EQ(config.load()->a, 2);
  const reload_record none = config.rollback();
  EXPECT_EQ(none.outcome, reload_outcome::refused);
  EXPECT_EQ(none.failure, "no older version is kept");
  EXPECT_EQ(config.reload().version, 7U);
  EXPECT_EQ(config.load()->a, 4);
}

// Counts its own objects.
struct counted {
  static inline std::atomic<int> alive{0};
  counted() { ++alive; }
  counted(const counted& /*other*/) { ++alive; }
  counted(counted&& /*other*/) noexcept { ++alive; }
  ~counted() { --alive; }
};

TEST_F(ReloadTest, VersionsGoWhenNobodyReadsThem) {
  reload_options options = quiet();
  options.keep = 0;
  {
    reloader<counted> config(
        "counted", [] { return counted(); }, options);
    for (int i = 0; i < 10; ++i) config.reload();
    EXPECT_EQ(counted::alive, 1);
    {
      const auto held = config.load();
      config.reload();
      EXPECT_EQ(counted::alive, 2);
    }
    EXPECT_EQ(counted::alive, 1);
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(ReloadTest, RequestsDuringAnAttemptAreAnsweredByOneMore) {
  std::atomic<int> loads{0};
  sigrun::chan<bool> entered(8);
  sigrun::chan<bool> go_on(8);
  reloader<int> config(
      "slow",
      [&] {
        const int mine = ++loads;
        if (mine == 2) {
          entered.send(true);
          go_on.recv();
        }
        return mine;
      },
      quiet());
  sigrun::test::callers all(sigrun::test::caller_kind::mixed);
  std::atomic<int> answered_late{0};
  all.start([&] { EXPECT_EQ(config.reload().attempt, 2U); });
  entered.recv();
  for (int i = 0; i < 20; ++i) {
    all.start([&] {
      const reload_record got = config.reload();
      if (got.attempt == 3) ++answered_late;
    });
  }
  yield_until([&] { return config.stats().requests == 22; });
  go_on.send(true);
  all.join();
  EXPECT_EQ(answered_late, 20);
  EXPECT_EQ(loads, 3);
  EXPECT_EQ(config.history().back().requests, 20U);
}

TEST_F(ReloadTest, ReadersNeverSeeAHalfVersionAndEachWriterGetsWhatHeWrote) {
  std::atomic<int> file{1};
  reloader<settings> config(
      "pair",
      [&] {
        const int now = file.load();
        if (now % 5 == 0) throw std::runtime_error("divisible by 5");
        return settings{now, -now};
      },
      quiet());
  std::atomic<bool> over{false};
  sigrun::test::callers readers(sigrun::test::caller_kind::mixed);
  for (int i = 0; i < 4; ++i) {
    readers.start([&] {
      std::uint64_t last = 0;
      while (!over) {
        const auto now = config.load();
        EXPECT_EQ(now->a, -now->b);
        EXPECT_NE(now->a % 5, 0);
        EXPECT_GE(now.version(), last);
        last = now.version();
        sigrun::yield();
        EXPECT_EQ(now->a, -now->b);
      }
    });
  }
  sigrun::test::callers writers(sigrun::test::caller_kind::mixed);
  for (int i = 0; i < 4; ++i) {
    writers.start([&] {
      for (int n = 0; n < 100; ++n) {
        const int wrote = ++file;
        const reload_record got = config.reload();
        if (got.outcome == reload_outcome::published) {
          EXPECT_GE(config.load()->a, wrote);
        }
      }
    });
  }
  writers.join();
  over = true;
  readers.join();
  const auto stats = config.stats();
  EXPECT_EQ(stats.requests, 401U);
  EXPECT_LE(stats.attempts, stats.requests);
  EXPECT_EQ(stats.published + stats.refused, stats.attempts);
}

TEST_F(ReloadTest, WhatHangsIsLeftBehindAndNothingElseIsStarted) {
  sigrun::chan<bool> go_on(1);
  std::atomic<int> loads{0};
  reload_options options = quiet();
  options.timeout = 20ms;
  reloader<int> config(
      "hanging",
      [&] {
        const int mine = ++loads;
        if (mine == 2) go_on.recv();
        return mine;
      },
      options);
  EXPECT_EQ(config.reload().failure, "has not returned after 20 ms");
  EXPECT_EQ(config.reload().failure, "an earlier attempt has still not returned");
  EXPECT_EQ(*config.load(), 1);
  EXPECT_EQ(loads, 2);
  go_on.send(true);
  // Its late result is dropped.
  reload_record got;
  do {
    got = config.reload();
  } while (got.outcome != reload_outcome::published);
  EXPECT_EQ(*config.load(), 3);
}

TEST_F(ReloadTest, ASignalReloadsAndSaysWhoSentIt) {
  write(100, 2);
  reload_options options = quiet();
  options.signals = {SIGHUP, SIGUSR1};
  reloader<settings> config(path, options);
  for (const int signo : {SIGHUP, SIGUSR1}) {
    write(signo, 0);
    ::kill(::getpid(), signo);
    yield_until([&] { return config.load()->a == signo; });
  }
  yield_until([&] { return config.stats().attempts == 3; });
  EXPECT_EQ(config.history()[2].asked_by, "SIGUSR1 from pid " + std::to_string(::getpid()) +
                                              " (uid " + std::to_string(::getuid()) + ")");
}

TEST_F(ReloadTest, AStormOfSignalsEndsWithTheLastFile) {
  write(0, 0);
  reload_options options = quiet();
  options.signals = {SIGHUP};
  reloader<settings> config(path, options);
  for (int i = 1; i <= 200; ++i) {
    write(i, i);
    ::kill(::getpid(), SIGHUP);
  }
  yield_until([&] { return config.load()->a == 200; });
  EXPECT_LE(config.stats().attempts, 201U);
  EXPECT_EQ(config.stats().refused, 0U);
}

TEST_F(ReloadTest, ASenderThatAsksForItIsAnswered) {
  write(1, 2);
  reload_options options = quiet();
  options.signals = {SIGHUP};
  reloader<settings> config(path, options);
  const int answer = SIGRTMIN + 3;
  const sigrun::signal_chan answers(16);
  sigrun::notify(answers, answer);
  const auto ask = [&](int token) {
    sigrun::send(::getpid(), SIGHUP, static_cast<std::uint64_t>(token << 8 | answer));
    return answers.recv()->value_int();
  };
  EXPECT_EQ(ask(77), 77 << 8 | int(reload_outcome::published));
  write("nonsense");
  EXPECT_EQ(ask(78), 78 << 8 | int(reload_outcome::refused));
  // No real-time signal: no question.
  sigrun::send(::getpid(), SIGHUP, SIGTERM);
  yield_until([&] { return config.stats().attempts == 4; });
  yield_until([&] { return config.stats().replies_sent == 2; });
  EXPECT_EQ(answers.size(), 0U);
}

TEST_F(ReloadTest, AWatchedFileThatIsReplacedIsLoaded) {
  write(1, 2);
  reload_options options = quiet();
  options.watch = true;
  options.settle = 1ms;
  reloader<settings> config(path, options);
  write(3, 4);
  yield_until([&] { return config.load()->a == 3; });
  // The record follows when the load is over, which is after its publication.
  yield_until([&] { return config.history().back().asked_by == "change"; });
  // Written in place.
  std::ofstream(path) << "a = 5\nb = 6\n";
  yield_until([&] { return config.load()->a == 5; });
  // Touched only: looked at, not published.
  const auto before = config.load().version();
  const auto looked = config.stats().unchanged;
  write("a = 5\nb = 6\n");
  yield_until([&] { return config.stats().unchanged > looked; });
  EXPECT_EQ(config.load().version(), before);
}

TEST_F(ReloadTest, WhatWasWrongStaysTheLastRecordWhenTheWatchLooksAgain) {
  write(1, 2);
  reload_options options = quiet();
  options.watch = true;
  options.settle = 50ms;
  reloader<settings> config(path, options);
  write("a = 1\nb = true\n");
  const reload_record refused = config.reload();  // most often before the watch has settled
  EXPECT_EQ(refused.outcome, reload_outcome::refused);
  const auto looked = config.stats().unchanged;
  write("a = 1\nb = true\n");
  yield_until([&] { return config.stats().unchanged > looked; });
  EXPECT_EQ(config.history().back().failure, refused.failure);
  EXPECT_EQ(config.history().back().attempt, config.stats().attempts);
}

TEST_F(ReloadTest, AVolumeOfKubernetesIsFollowed) {
  const auto link = [&](int a) {
    const std::string data = directory + "/..data_" + std::to_string(a);
    std::filesystem::create_directory(data);
    std::ofstream(data + "/c.toml") << "a = " << a << "\nb = 0\n";
    std::filesystem::create_directory_symlink("..data_" + std::to_string(a),
                                              directory + "/..data_tmp");
    std::filesystem::rename(directory + "/..data_tmp", directory + "/..data");
  };
  link(1);
  std::filesystem::create_symlink("..data/c.toml", path);
  reload_options options = quiet();
  options.watch = true;
  options.settle = 1ms;
  reloader<settings> config(path, options);
  link(2);
  yield_until([&] { return config.load()->a == 2; });
}

TEST_F(ReloadTest, ADirectoryThatComesBackIsWatchedAgain) {
  write(1, 2);
  reload_options options = quiet();
  options.watch = true;
  options.settle = 1ms;
  reloader<settings> config(path, options);
  std::filesystem::rename(directory, directory + ".gone");
  std::filesystem::create_directory(directory);
  write(3, 4);
  yield_until([&] { return config.load()->a == 3; });
  std::filesystem::remove_all(directory + ".gone");
}

TEST_F(ReloadTest, TheSupervisorHearsOfItOnceTheServiceIsReady) {
  const sigrun::test::supervisor_socket supervisor;
  write(1, 2);
  reloader<settings> config(path, quiet());
  config.reload();
  EXPECT_TRUE(supervisor.nothing_waits());
  sigrun::systemd::ready();
  EXPECT_EQ(supervisor.receive(), "READY=1");
  config.reload();
  EXPECT_EQ(supervisor.receive().rfind("RELOADING=1\nMONOTONIC_USEC=", 0), 0U);
  EXPECT_EQ(supervisor.receive(), "READY=1");
  // READY=1 follows a failure too.
  write("nonsense");
  config.reload();
  EXPECT_EQ(supervisor.receive().rfind("RELOADING=1", 0), 0U);
  EXPECT_EQ(supervisor.receive(), "READY=1");
  EXPECT_EQ(supervisor.receive().rfind("STATUS=reload: refused", 0), 0U);
  sigrun::systemd::stopping();
  EXPECT_EQ(supervisor.receive(), "STOPPING=1");
  config.reload();
  EXPECT_EQ(supervisor.receive().rfind("STATUS=reload: refused", 0), 0U);
  EXPECT_TRUE(supervisor.nothing_waits());
}

TEST_F(ReloadTest, ALogThatThrowsHoldsNothingUp) {
  write(1, 2);
  reload_options options = quiet();
  options.log = [](std::string_view) { throw std::runtime_error("disk is full"); };
  reloader<settings> config(path, options);
  write(3, 4);
  EXPECT_EQ(config.reload().outcome, reload_outcome::published);
}

}  // namespace
