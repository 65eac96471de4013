// SPDX-License-Identifier: Apache-2.0
//
// Goal: a dump shows every goroutine with the stack that it has, whatever it is doing, in Go's
// form, and the program goes on as if nothing had been.

#include <sigrun/dump.hpp>

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>

#include "support/proc_self.hpp"
#include "sys/file.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace sigrun {
namespace {

struct shown {
  std::uint64_t id = 0;
  std::string head;
  std::string body;  // functions and places, a line each
  std::string creator;

  bool has(const std::string& text) const { return body.find(text) != std::string::npos; }
};

// A strict reader of the form; anything else in it fails.
std::vector<shown> parse(const std::string& text) {
  static const std::regex head(R"(goroutine (\d+) \[([^\]]+)\]:)");
  static const std::regex function(R"([^\t].*\(\.\.\.\))");
  static const std::regex place(R"(\t\S.*:\d+ \+0x[0-9a-f]+)");
  static const std::regex creator(R"(created by .+)");
  std::vector<shown> all;
  std::istringstream lines(text);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (std::regex_match(line, found, head)) {
      EXPECT_FALSE(inside) << line;
      inside = true;
      all.push_back({std::stoull(found[1]), found[2], {}, {}});
    } else if (line.empty()) {
      inside = false;
    } else if (!inside) {
      ADD_FAILURE() << "outside of a goroutine: " << line;
    } else if (std::regex_match(line, creator)) {
      all.back().creator = line;
    } else if (std::regex_match(line, function) || std::regex_match(line, place) ||
               line == "...additional frames elided..." ||
               line == "\tgoroutine running on other thread; stack unavailable") {
      all.back().body += line + "\n";
    } else {
      ADD_FAILURE() << "not understood: " << line;
    }
  }
  return all;
}

const shown* find(const std::vector<shown>& all, std::uint64_t id) {
  for (const shown& one : all) {
    if (one.id == id) return &one;
  }
  return nullptr;
}

[[gnu::noinline]] void waits_for_a_value(const chan<int>& ch) {
  ch.recv();
  asm volatile("");
}

[[gnu::noinline]] void turns_round(const std::atomic<bool>& stop, std::atomic<int>& turns) {
  while (!stop.load()) turns.fetch_add(1);
  asm volatile("");
}

[[gnu::noinline]] void sits_in_the_kernel(int fd) {
  foreign_call([fd] {
    char byte;
    static_cast<void>(sys::read(fd, &byte, 1));
  });
  asm volatile("");
}

TEST(DumpTest, AParkedGoroutineIsShownWithItsStackNameLabelsAndCreator) {
  chan<int> ch(0);
  goroutine waiter = go({.name = "wai[t]er"}, [ch] {
    set_goroutine_label("user", "7");
    waits_for_a_value(ch);
  });
  while (true) {
    const auto all = parse(goroutine_stacks());
    const shown* const one = find(all, waiter.id());
    ASSERT_NE(one, nullptr);
    if (one->head.rfind("chan receive", 0) != 0) continue;
    EXPECT_NE(one->head.find("name=wai_t_er"), std::string::npos) << one->head;
    EXPECT_NE(one->head.find("labels=user=7"), std::string::npos) << one->head;
    EXPECT_TRUE(one->has("waits_for_a_value(...)")) << one->body;
    EXPECT_NE(one->creator.find("DumpTest"), std::string::npos) << one->creator;
    EXPECT_EQ(one->creator.find("in goroutine"), std::string::npos) << one->creator;
    break;
  }
  ch.send(1);
  waiter.join();
}

TEST(DumpTest, TheCallingGoroutineComesFirstWithItsOwnStack) {
  std::string text;
  std::uint64_t id = 0;
  goroutine caller = go([&] {
    id = goroutine_id();
    text = goroutine_stacks();
  });
  caller.join();
  const auto all = parse(text);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all[0].id, id);
  EXPECT_EQ(all[0].head.rfind("running", 0), 0U) << all[0].head;
  EXPECT_TRUE(all[0].has("goroutine_stacks")) << all[0].body;
}

TEST(DumpTest, AGoroutineThatRunsElsewhereIsAsked) {
  std::atomic<bool> stop{false};
  std::atomic<int> turns{0};
  goroutine runner = go([&] { turns_round(stop, turns); });
  while (turns.load() == 0) std::this_thread::yield();
  const auto all = parse(goroutine_stacks());
  const shown* const one = find(all, runner.id());
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->head.rfind("running", 0), 0U) << one->head;
  EXPECT_TRUE(one->has("turns_round(...)")) << one->body;
  // It goes on.
  const int before = turns.load();
  while (turns.load() == before) std::this_thread::yield();
  stop.store(true);
  runner.join();
}

TEST(DumpTest, AForeignCallIsWalkedIntoTheGoroutineThatMadeIt) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  goroutine caller = go([&] { sits_in_the_kernel(ends[0]); });
  while (true) {
    const auto all = parse(goroutine_stacks());
    const shown* const one = find(all, caller.id());
    ASSERT_NE(one, nullptr);
    if (one->head.rfind("foreign call", 0) != 0) continue;
    EXPECT_TRUE(one->has("sits_in_the_kernel(...)")) << one->body;
    break;
  }
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  caller.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(DumpTest, AChildNamesItsParent) {
  chan<int> ch(0);
  std::uint64_t parent = 0, child = 0;
  go([&] {
    parent = goroutine_id();
    goroutine inner = go([ch] { waits_for_a_value(ch); });
    child = inner.id();
    inner.detach();
  }).join();
  const auto all = parse(goroutine_stacks());
  const shown* const one = find(all, child);
  ASSERT_NE(one, nullptr);
  EXPECT_NE(one->creator.find(" in goroutine " + std::to_string(parent)), std::string::npos)
      << one->creator;
  ch.send(1);
  while (find(parse(goroutine_stacks()), child) != nullptr) std::this_thread::yield();
}

TEST(DumpTest, GoroutinesBeyondTheBoundAreCounted) {
  chan<int> ch(0);
  std::vector<goroutine> some;
  for (int i = 0; i < 20; ++i) some.push_back(go([ch] { waits_for_a_value(ch); }));
  const std::string text = '\n' + goroutine_stacks({.goroutines_max = 5});
  std::size_t heads = 0;
  for (std::size_t at = 0; (at = text.find("\ngoroutine ", at)) != std::string::npos; ++at) ++heads;
  EXPECT_NE(text.find("...15 goroutines not shown..."), std::string::npos) << text;
  EXPECT_EQ(heads, 5U) << text;
  for (std::size_t i = 0; i < some.size(); ++i) ch.send(1);
  for (goroutine& one : some) one.join();
}

TEST(DumpTest, ADescriptorThatTakesNothingIsAnError) {
  const int full = ::open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  goroutine one = go([full] {
    try {
      write_goroutine_stacks(full);
      ADD_FAILURE() << "nothing thrown";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ENOSPC) << error.what();
    }
  });
  one.join();
  ::close(full);
}

TEST(DumpTest, ASignalHasItWrittenAndTheProgramGoesOn) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  chan<int> ch(0);
  goroutine waiter = go({.name = "steady"}, [ch] { waits_for_a_value(ch); });
  std::string text;
  {
    const dump_on_signal dumps(SIGUSR2, ends[1]);
    for (std::uint64_t i = 1; i <= 3; ++i) {
      ASSERT_EQ(::kill(::getpid(), SIGUSR2), 0);
      // The whole of it fits into the pipe.
      while (dumps.written() < i) std::this_thread::yield();
      char piece[65536];
      const ssize_t size = ::read(ends[0], piece, sizeof piece);
      ASSERT_GT(size, 0);
      text.assign(piece, static_cast<std::size_t>(size));
      EXPECT_NE(text.find("name=steady"), std::string::npos) << text;
      parse(text);
    }
    EXPECT_EQ(dumps.failed(), 0U);
  }
  ch.send(1);
  waiter.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

// What the program subscribes to beside it must not come in there, past what comes in order.
TEST(DumpTest, TheThreadThatWaitsForTheSignalTakesNoOther) {
  const dump_on_signal dumps(SIGUSR2, STDERR_FILENO);
  const auto of_the_dumps = [] {
    for (const int tid : test::thread_ids(::getpid())) {
      const auto found = test::read_task_signals(::getpid(), tid);
      if (found && found->name == "sigrun-dumps") return found->blocked;
    }
    return signal_set{};
  };
  while (of_the_dumps().empty()) std::this_thread::yield();
  EXPECT_TRUE(of_the_dumps().has(SIGTERM));
  EXPECT_TRUE(of_the_dumps().has(signal_rt_min + 1));
}

// Goroutines that start, block, wake and end all the time, while dumps are taken from a thread and
// from a goroutine: nothing breaks, and each dump is well formed.
TEST(DumpTest, DumpsBesideABusyProgramAreWellFormed) {
  constexpr int rounds = 10;
  std::atomic<bool> stop{false};
  chan<int> ring(64);
  std::vector<goroutine> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(go([&stop, ring] {
      while (!stop.load()) {
        set_goroutine_label("round", "1");
        go([ring] { ring.send(1); }).detach();
        ring.recv();
        go([] { yield(); }).join();
      }
    }));
  }
  goroutine inside = go({.stack_size = 1 << 20}, [] {
    for (int i = 0; i < rounds; ++i) parse(goroutine_stacks());
  });
  for (int i = 0; i < rounds; ++i) {
    EXPECT_FALSE(parse(goroutine_stacks()).empty());
  }
  inside.join();
  stop.store(true);
  for (goroutine& one : workers) one.join();
}

}  // namespace
}  // namespace sigrun
