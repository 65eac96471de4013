// SPDX-License-Identifier: Apache-2.0
//
// Children as goroutines have them: pipes, waiting without a thread, ends with grace; and
// supervised ones, which come back.
#include <sigrun/children.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/time.hpp>

#include "support/callers.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <string>

namespace {

using namespace std::chrono_literals;
using sigrun::process::child_event;
using sigrun::process::child_spec;
using sigrun::process::exit_status;
using sigrun::process::job;
using sigrun::process::restart;
using sigrun::process::start;
using sigrun::process::supervisor;
using sigrun::test::yield_until;
using kind = child_event::kind;

std::string read_all(sigrun::pipe_reader& from) {
  std::string all;
  char bytes[4096];
  while (const std::size_t got = from.read(bytes)) all.append(bytes, got);
  return all;
}

std::vector<std::string> shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

// The first line that comes.
std::string read_line(sigrun::pipe_reader& from) {
  std::string line;
  char c;
  while (from.read({&c, 1}) == 1 && c != '\n') line += c;
  return line;
}

bool exists(int pid) { return ::kill(pid, 0) == 0 || errno != ESRCH; }

class ChildrenTest : public ::testing::TestWithParam<sigrun::test::caller_kind> {
 protected:
  ChildrenTest() { ::alarm(50); }
  ~ChildrenTest() override { ::alarm(0); }
  // Runs f as the parameter says.
  template <class F>
  void run(F f) {
    sigrun::test::callers caller(GetParam());
    caller.start(std::move(f));
  }
};

TEST_P(ChildrenTest, WhatIsWrittenComesBackAndTheEndIsSeen) {
  run([] {
    job sort = start({"sort"}, {.pipe_in = true, .pipe_out = true});
    sort.in.write_all(std::string_view("b\na\nc\n"));
    sort.in.close();
    EXPECT_EQ(read_all(sort.out), "a\nb\nc\n");
    EXPECT_TRUE(sort.wait().success());
    EXPECT_TRUE(sort.wait().success());
    EXPECT_FALSE(sort.signal(SIGTERM));
    EXPECT_FALSE(sort.signal_group(SIGTERM));
  });
}

TEST_P(ChildrenTest, OutAndErrAreApartAndStatusesAreTrue) {
  run([] {
    job one = start(shell("echo out; echo err >&2; exit 7"), {.pipe_out = true, .pipe_err = true});
    EXPECT_EQ(read_all(one.out), "out\n");
    EXPECT_EQ(read_all(one.err), "err\n");
    EXPECT_EQ(one.wait().code, 7);
    job two = start(shell("kill -9 $$"));
    EXPECT_EQ(two.wait().signal, SIGKILL);
  });
}

TEST_P(ChildrenTest, AWaitEndsWithItsTimeOrItsContextAndCanBeRepeated) {
  run([] {
    job cat = start({"cat"}, {.pipe_in = true});
    EXPECT_FALSE(cat.wait_for(0ms));
    EXPECT_FALSE(cat.wait_for(5ms));
    const auto soon = sigrun::with_timeout(sigrun::context(), 5ms);
    EXPECT_FALSE(cat.wait(soon.ctx));
    cat.in.close();
    EXPECT_TRUE(cat.wait().success());
  });
}

TEST_P(ChildrenTest, StopEndsTheGroupByTheSignal) {
  run([] {
    // A child of the child, which the shell does not wait for.
    job one = start(shell("sleep 1000 & echo $!; wait"), {.pipe_out = true});
    const int grandchild = std::stoi(read_line(one.out));
    EXPECT_EQ(one.stop(20s).signal, SIGTERM);
    EXPECT_EQ(read_all(one.out), "");  // closed by all of them
    yield_until([&] { return !exists(grandchild); });
  });
}

TEST_P(ChildrenTest, WhoeverIgnoresTheSignalIsKilledAfterTheGrace) {
  run([] {
    job one = start(shell("trap '' TERM; sleep 1000 & echo $!; while :; do wait; done"),
                    {.pipe_out = true});
    const int grandchild = std::stoi(read_line(one.out));
    EXPECT_EQ(one.stop(10ms).signal, SIGKILL);
    EXPECT_EQ(read_all(one.out), "");
    yield_until([&] { return !exists(grandchild); });
    EXPECT_EQ(one.stop().signal, SIGKILL);
  });
}

TEST_P(ChildrenTest, AStoppedChildSeesTheSignalToo) {
  run([] {
    job one = start(shell("kill -STOP $$; sleep 1000"));
    yield_until([&] {
      std::ifstream stat("/proc/" + std::to_string(one.pid()) + "/stat");
      std::string text;
      std::getline(stat, text);
      return text.find(") T ") != std::string::npos;
    });
    EXPECT_EQ(one.stop(20s).signal, SIGTERM);
  });
}

INSTANTIATE_TEST_SUITE_P(Callers, ChildrenTest,
                         ::testing::Values(sigrun::test::caller_kind::threads,
                                           sigrun::test::caller_kind::goroutines),
                         sigrun::test::caller_name);

class JobTest : public ::testing::Test {
 protected:
  JobTest() { ::alarm(50); }
  ~JobTest() override { ::alarm(0); }
};

TEST_F(JobTest, ManyGoroutinesWaitOnNoThreadOfTheirOwn) {
  constexpr int many = 40;
  std::vector<job> jobs(many);
  std::vector<sigrun::goroutine> waits;
  std::atomic<int> waiting{0};
  std::atomic<int> ended{0};
  for (job& one : jobs) {
    one = start({"cat"}, {.pipe_in = true});
    waits.push_back(sigrun::go([&] {
      ++waiting;
      EXPECT_TRUE(one.wait().success());
      ++ended;
    }));
  }
  yield_until([&] { return waiting == many; });
  EXPECT_LT(sigrun::statistics_of_scheduler().threads, many);
  EXPECT_EQ(ended, 0);
  for (job& one : jobs) one.in.close();
  for (auto& wait : waits) wait.join();
}

TEST_F(JobTest, ReadsThatWaitAreCanceledByTheJobsEnd) {
  job one = start({"cat"}, {.pipe_in = true, .pipe_out = true});
  const int pid = one.pid();
  one = job();  // closes the pipes: cat ends, and is reaped by somebody
  yield_until([&] { return !exists(pid); });
}

TEST_F(JobTest, WhatCannotBeStartedSaysWhyAndLeavesNothing) {
  try {
    start({"/no/such/program"}, {.pipe_in = true, .pipe_out = true});
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  }
  sigrun::process::start_options options;
  options.pipe_out = true;
  options.spawn.files = {{2, 1}};
  EXPECT_THROW(start({"true"}, options), std::invalid_argument);
  job none;
  EXPECT_EQ(none.pid(), 0);
  EXPECT_THROW(none.wait(), std::logic_error);
  EXPECT_THROW(none.signal(SIGTERM), std::logic_error);
  job one = start({"cat"}, {.pipe_in = true});
  EXPECT_THROW(one.signal(99), std::system_error);
  one.in.close();
  one.wait();
}

// ------------------------------------------------------------------------------------ supervision

class SupervisorTest : public JobTest {
 protected:
  static child_spec quick(const std::string& name, std::vector<std::string> arguments) {
    child_spec spec;
    spec.name = name;
    spec.arguments = std::move(arguments);
    spec.backoff_min = 1ms;
    spec.backoff_max = 4ms;
    return spec;
  }
  // What happens next, without its pid.
  static std::string next(const sigrun::chan<child_event>& events) {
    child_event event;
    if (events.recv_for(20s, event) != sigrun::chan_status::ok) return "nothing";
    std::string text = event.name + " " + std::string(to_string(event.what_happened));
    if (event.what_happened == kind::ended) {
      text += " " + std::to_string(event.status.shell_code());
    }
    return text;
  }
};

TEST_F(SupervisorTest, AFailureIsStartedAgainUntilItIsGivenUp) {
  supervisor all;
  child_spec spec = quick("fails", shell("exit 3"));
  spec.failures_max = 3;
  all.add(spec);
  const auto events = all.events();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(next(events), "fails started");
    EXPECT_EQ(next(events), "fails ended 3");
    EXPECT_EQ(next(events), "fails waits");
  }
  EXPECT_EQ(next(events), "fails started");
  EXPECT_EQ(next(events), "fails ended 3");
  EXPECT_EQ(next(events), "fails given up");
  const auto now = all.children();
  ASSERT_EQ(now.size(), 1U);
  EXPECT_TRUE(now[0].given_up);
  EXPECT_EQ(now[0].starts, 3U);
  EXPECT_EQ(now[0].failures, 3U);
}

TEST_F(SupervisorTest, WhatEndsWellIsDoneUnlessItIsToRunAlways) {
  supervisor all;
  all.add(quick("once", {"true"}));
  const auto events = all.events();
  EXPECT_EQ(next(events), "once started");
  EXPECT_EQ(next(events), "once ended 0");
  EXPECT_EQ(next(events), "once given up");
  child_spec spec = quick("always", {"true"});
  spec.when = restart::always;
  all.add(spec);
  yield_until([&] { return all.children()[0].starts > 5; });
  EXPECT_EQ(all.children()[0].failures, 0U);
  spec = quick("never", {"false"});
  spec.when = restart::never;
  all.add(spec);
  yield_until([&] { return all.children()[1].given_up; });
}

TEST_F(SupervisorTest, BackOffDoublesUpToItsLimit) {
  supervisor all;
  child_spec spec = quick("fails", {"false"});
  spec.backoff_min = 1ms;
  spec.backoff_max = 6ms;
  all.add(spec);
  std::vector<std::chrono::nanoseconds> waits;
  for (const child_event& event : all.events()) {
    if (event.what_happened == kind::waits) waits.push_back(event.wait);
    if (waits.size() == 5) break;
  }
  const std::chrono::nanoseconds whole[] = {1ms, 2ms, 4ms, 6ms, 6ms};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_LE(waits[i], whole[i]);
    EXPECT_GE(waits[i], whole[i] * 4 / 5);
  }
}

TEST_F(SupervisorTest, AProgramThatCannotBeStartedIsTriedAgain) {
  supervisor all;
  all.add(quick("missing", {"/no/such/program"}));
  const auto events = all.events();
  child_event event;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(events.recv_for(20s, event), sigrun::chan_status::ok);
    EXPECT_EQ(event.what_happened, kind::start_failed);
    EXPECT_NE(event.what.find("No such file"), std::string::npos) << event.what;
    EXPECT_EQ(next(events), "missing waits");
  }
}

TEST_F(SupervisorTest, StopEndsAllAtTheSameTimeAndStartsNothingMore) {
  supervisor all;
  std::vector<int> pids;
  for (int i = 0; i < 5; ++i) {
    child_spec spec = quick("child " + std::to_string(i), {"sleep", "1000"});
    spec.when = restart::always;
    all.add(spec);
  }
  all.add(quick("flaps", {"false"}));
  yield_until([&] {
    pids.clear();
    for (const auto& one : all.children()) {
      if (one.pid != 0 && one.name != "flaps") pids.push_back(one.pid);
    }
    return pids.size() == 5;
  });
  const auto events = all.events();
  all.stop();
  for (const int pid : pids) EXPECT_FALSE(exists(pid));
  EXPECT_TRUE(all.children().empty());
  int stopped = 0;
  for (const child_event& event : events) {
    stopped += event.what_happened == kind::stopped ? 1 : 0;
    if (event.what_happened == kind::ended && event.name != "flaps") {
      EXPECT_EQ(event.status.signal, SIGTERM);
    }
  }
  EXPECT_EQ(stopped, 6);
  EXPECT_THROW(all.add(quick("late", {"true"})), std::logic_error);
}

TEST_F(SupervisorTest, AChildThatIsKilledComesBackAndOneThatIsRemovedDoesNot) {
  supervisor all;
  all.add(quick("worker", {"sleep", "1000"}));
  yield_until([&] { return all.children()[0].pid != 0; });
  const int first = all.children()[0].pid;
  ::kill(first, SIGKILL);
  yield_until([&] {
    const int now = all.children()[0].pid;
    return now != 0 && now != first;
  });
  const int second = all.children()[0].pid;
  EXPECT_TRUE(all.remove("worker"));
  EXPECT_FALSE(exists(second));
  EXPECT_FALSE(all.remove("worker"));
}

TEST_F(SupervisorTest, TheProgramReadsWhatItsChildrenSay) {
  supervisor all;
  std::string said;
  exit_status last;
  sigrun::goroutine reader;
  child_spec spec = quick("talks", shell("echo hello; exit 0"));
  spec.options.pipe_out = true;
  spec.started = [&](job& child) {
    reader = sigrun::go([&said, &child] { said = read_all(child.out); });
  };
  spec.ended = [&](const exit_status& status) {
    reader.join();
    last = status;
  };
  all.add(spec);
  yield_until([&] { return all.children()[0].given_up; });
  all.stop();
  EXPECT_EQ(said, "hello\n");
  EXPECT_TRUE(last.success());
}

TEST_F(SupervisorTest, EventsThatNobodyReadsAreDroppedAndCounted) {
  supervisor all;
  child_spec spec = quick("noisy", {"/no/such/program"});
  spec.backoff_min = spec.backoff_max = 1us;
  all.add(spec);
  yield_until([&] { return all.events_dropped() > 10; });
  EXPECT_EQ(all.events().size(), 256U);
}

TEST_F(SupervisorTest, MisuseIsNamed) {
  supervisor all;
  const auto refused = [&](auto change) {
    child_spec spec = quick("x", {"true"});
    change(spec);
    EXPECT_THROW(all.add(spec), std::invalid_argument);
  };
  refused([](child_spec& spec) { spec.name.clear(); });
  refused([](child_spec& spec) { spec.arguments.clear(); });
  refused([](child_spec& spec) { spec.backoff_min = 0ns; });
  refused([](child_spec& spec) { spec.backoff_max = 1us; });
  refused([](child_spec& spec) { spec.stop_signal = 99; });
  all.add(quick("x", {"true"}));
  EXPECT_THROW(all.add(quick("x", {"true"})), std::invalid_argument);
}

}  // namespace
