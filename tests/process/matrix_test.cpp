// SPDX-License-Identifier: Apache-2.0
//
// Every catchable signal, sent by kill(2) to a program in every state of a subscription, with the
// true wait status (contract A7, A9, B1, B5, B6). signal_probe.cpp is the program; the isolation
// and the way in come from the environment, and whether the program is in a goroutine, and which
// part of the signals are sent: SIGRUN_TEST_PART=K, of 4 the K-th.
#include "support/child_process.hpp"
#include "support/proc_self.hpp"
#include "support/test_body.hpp"

#include <sigrun/signal_names.hpp>
#include <sigrun/signal_set.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <deque>

namespace {

using sigrun::signal_name;
using sigrun::signal_set;
using sigrun::test::child_options;
using sigrun::test::child_process;
using sigrun::test::child_result;

// signal(7), written down here a second time on purpose.
const signal_set stops = signal_set::of(SIGTSTP, SIGTTIN, SIGTTOU);
const signal_set harmless = signal_set::of(SIGCHLD, SIGCONT, SIGURG, SIGWINCH);
const signal_set libc_own = signal_set::of(32, 33);
// glibc installs its handler for 33 when a process makes its first thread, and that handler does
// nothing for a sender that is not this process (nptl/nptl_setxid.c).
constexpr int setxid = 33;

// Whether the probe's body is in a goroutine, so that there are threads whatever it does.
const bool goroutine = sigrun::test::runs_in_goroutine("child");

signal_set part_of(signal_set all) {
  const char* const part = std::getenv("SIGRUN_TEST_PART");
  if (part == nullptr) return all;
  signal_set chosen;
  all.for_each([&](int signo) {
    if (signo % 4 == std::atoi(part)) chosen |= signal_set::of(signo);
  });
  return chosen;
}

const signal_set catchable = part_of(signal_set::all() - signal_set::of(SIGKILL, SIGSTOP));

enum class fate {
  killed,   // by the signal itself
  dumped,   // the same, after writing to stderr
  stopped,  // by the signal, and continues on SIGCONT
  alive,    // nothing happens
  event,    // the program receives it and ends by itself
};

fate by_default(int signo, bool runtime) {
  if (stops.has(signo)) return fate::stopped;
  if (harmless.has(signo)) return fate::alive;
  if ((runtime || goroutine) && signo == setxid) return fate::alive;
  return runtime && signo == SIGQUIT ? fate::dumped : fate::killed;
}

struct probe {
  int signo;
  child_process process;
};

void expect_stopped(probe& p) {
  EXPECT_EQ(p.process.stopped_by(), p.signo);
  p.process.signal(SIGCONT);
  p.process.go_on();
  const child_result result = p.process.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
  EXPECT_NE(result.out.find("alive"), std::string::npos);
}

void expect_fate(probe& p, fate expected) {
  SCOPED_TRACE(std::string{signal_name(p.signo)} + " " + std::to_string(p.signo));
  if (expected == fate::stopped) return expect_stopped(p);
  if (expected == fate::alive) p.process.go_on();
  const child_result result = p.process.finish();
  if (expected == fate::killed || expected == fate::dumped) {
    EXPECT_TRUE(result.killed_by(p.signo)) << result.describe();
    EXPECT_EQ(result.err.empty(), expected != fate::dumped) << result.err;
    return;
  }
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
  EXPECT_EQ(result.err, "");
  const std::string wanted = expected == fate::alive
                                 ? "alive\n"
                                 : "event " + std::to_string(p.signo) + " " +
                                       std::to_string(SI_USER) + " " + std::to_string(::getpid());
  EXPECT_NE(result.out.find(wanted), std::string::npos) << result.describe();
}

// Runs the probe under every signal of `signals`, eight at a time: starting a process is most of
// the time, and the machine has other cores.
template <class Options, class Expected>
void run_all(const std::string& mode, signal_set signals, Options options, Expected expected) {
  const std::string path = sigrun::test::beside_self("signal_probe");
  std::deque<probe> running;
  const auto end_one = [&] {
    probe& p = running.front();
    if (p.process.ready()) {
      p.process.signal(p.signo);
      expect_fate(p, expected(p.signo));
    } else {
      ADD_FAILURE() << signal_name(p.signo) << " never ready: " << p.process.finish().describe();
    }
    running.pop_front();
  };
  signals.for_each([&](int signo) {
    if (running.size() == 8) end_one();
    child_options how = options(signo);
    how.dead_man = signo != SIGALRM;
    running.push_back({signo, child_process{{path, mode, std::to_string(signo)}, how}});
  });
  while (!running.empty()) end_one();
}

child_options plain(int /*signo*/) { return {}; }
child_options with_ignored(int signo) {
  child_options options;
  options.ignored = signal_set::of(signo);
  return options;
}
child_options with_blocked(int signo) {
  child_options options;
  options.blocked = signal_set::of(signo);
  return options;
}

TEST(SignalMatrix, TheArrangementIsGivenWhole) {
  EXPECT_TRUE(sigrun::test::arrangement_is_whole());
}

TEST(SignalMatrix, WithNothingRegisteredPosixHolds) {
  run_all("nothing", catchable, plain, [](int signo) { return by_default(signo, false); });
}

TEST(SignalMatrix, ARuntimeThatRunsForAnotherSignalChangesNothingButSigquit) {
  run_all("idle", catchable, plain, [](int signo) { return by_default(signo, true); });
}

TEST(SignalMatrix, NotifyDeliversEverySignalWithItsSender) {
  run_all("notify", catchable - libc_own, plain, [](int) { return fate::event; });
}

TEST(SignalMatrix, NotifyRefusesTheSignalsOfTheCLibrary) {
  run_all("notify", part_of(libc_own), plain, [](int signo) { return by_default(signo, true); });
}

TEST(SignalMatrix, IgnoreDiscards) {
  run_all("ignore", catchable, plain,
          [](int signo) { return libc_own.has(signo) ? by_default(signo, true) : fate::alive; });
}

TEST(SignalMatrix, AfterStopTheDefaultIsBack) {
  run_all("stop", catchable, plain, [](int signo) { return by_default(signo, true); });
}

TEST(SignalMatrix, AfterIgnoreAndResetTheDefaultIsBack) {
  run_all("reset", catchable, plain, [](int signo) { return by_default(signo, true); });
}

TEST(SignalMatrix, AnInheritedIgnoreIsHonoured) {
  run_all("nothing", catchable, with_ignored, [](int) { return fate::alive; });
  // glibc takes 33 over when the first thread is made, whatever was inherited.
  run_all("idle", catchable - libc_own, with_ignored, [](int) { return fate::alive; });
}

TEST(SignalMatrix, NotifyTakesAnInheritedIgnoredSignalWhenAsked) {
  run_all("notify", catchable - libc_own, with_ignored, [](int) { return fate::event; });
}

TEST(SignalMatrix, NotifyThatRespectsAnInheritedIgnoreLeavesIt) {
  run_all("respect", catchable - libc_own, with_ignored, [](int) { return fate::alive; });
}

TEST(SignalMatrix, AfterStopAnInheritedIgnoreIsBack) {
  run_all("stop", catchable - libc_own, with_ignored, [](int) { return fate::alive; });
  run_all("reset", catchable - libc_own, with_ignored, [](int) { return fate::alive; });
}

TEST(SignalMatrix, AnInheritedBlockKeepsTheSignalPending) {
  // glibc opens 32 on every thread it makes, so it cannot stay pending once there is one.
  run_all("nothing", goroutine ? catchable - libc_own : catchable, with_blocked,
          [](int) { return fate::alive; });
  run_all("idle", catchable - libc_own, with_blocked, [](int) { return fate::alive; });
}

TEST(SignalMatrix, NotifyTakesAnInheritedBlockedSignal) {
  run_all("notify", catchable - libc_own, with_blocked, [](int) { return fate::event; });
}

}  // namespace
