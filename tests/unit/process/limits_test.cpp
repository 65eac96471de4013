// SPDX-License-Identifier: Apache-2.0
//
// spawn when the system has nothing left to give, and the ends that die_by() and exec() make.
// Each test runs in a child of its own, because a limit is the whole process's.
#include "fiber/sanitizer.hpp"
#include "support/child_process.hpp"
#include "support/proc_self.hpp"

#include <sigrun/process.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace {

using sigrun::signal_set;
using sigrun::test::child_options;
using sigrun::test::run_child;

int spawn_error() {
  std::error_code error;
  sigrun::process::spawn({"/bin/true"}, {}, error);
  return error.value();
}

TEST(SpawnLimits, NoFdLeftIsEmfileAndNoZombie) {
  child_options options;
  const auto result = run_child(
      [] {
        const rlimit none{5, 5};
        ::setrlimit(RLIMIT_NOFILE, &none);
        while (::dup(0) >= 0) {
        }
        if (spawn_error() != EMFILE) return 1;
        return ::waitpid(-1, nullptr, WNOHANG) == -1 ? 0 : 2;
      },
      options);
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(SpawnLimits, NoProcessLeftIsEagain) {
#if SIGRUN_TSAN
  GTEST_SKIP() << "glibc's setresuid() signals all threads, and the sanitizer's own dies of it";
#endif
  const auto result = run_child([] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_NPROC, &none);
    if (::setresuid(65534, 65534, 65534) != 0) return 77;
    return spawn_error() == EAGAIN ? 0 : 1;
  });
  if (result.exited_with(77)) GTEST_SKIP() << "needs root to become another user";
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(DieBy, EverySignalThatKillsIsTheWaitStatus) {
  for (const int signo : {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGSEGV, SIGKILL, SIGPIPE, SIGTERM,
                          SIGUSR1, SIGSYS, 34, 64}) {
    child_options options;
    options.ignored = signal_set::of(signo == SIGKILL ? 0 : signo);
    options.blocked = signal_set::of(signo);
    const auto result = run_child([signo]() -> int { sigrun::process::die_by(signo); }, options);
    EXPECT_TRUE(result.killed_by(signo)) << signo << ": " << result.describe();
  }
}

TEST(DieBy, ASignalThatDoesNotKillExitsWithItsShellCode) {
  for (const int signo : {SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP}) {
    const auto result = run_child([signo]() -> int { sigrun::process::die_by(signo); });
    EXPECT_TRUE(result.exited_with(128 + signo)) << signo << ": " << result.describe();
  }
}

TEST(DieBy, WorksInAHandler) {
  const auto result = run_child([]() -> int {
    ::signal(SIGTERM, [](int signo) { sigrun::process::die_by(signo); });
    ::raise(SIGTERM);
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGTERM)) << result.describe();
}

TEST(Exec, KeepsOnlyWhatWasInherited) {
  child_options options;
  options.ignored = signal_set::of(SIGHUP);
  options.blocked = signal_set::of(SIGUSR2);
  const auto result = run_child(
      [] {
        ::signal(SIGTERM, [](int) {});
        return sigrun::process::exec({"cat", "/proc/self/status"}).value();
      },
      options);
  ASSERT_TRUE(result.exited_with(0)) << result.describe();
  const auto seen = sigrun::test::parse_status(result.out);
  EXPECT_EQ(seen.ignored.bits(), signal_set::of(SIGHUP).bits());
  EXPECT_EQ(seen.blocked.bits(), signal_set::of(SIGUSR2).bits());
  EXPECT_EQ(seen.caught.bits(), 0U);
}

TEST(Exec, AFailedOneLeavesMaskAndHandlersAsTheyWere) {
  const auto result = run_child([] {
    ::signal(SIGTERM, [](int) {});
    const auto before = sigrun::test::read_proc_signals(::getpid());
    if (sigrun::process::exec({"/no/such/program"}) != std::errc::no_such_file_or_directory)
      return 1;
    const auto after = sigrun::test::read_proc_signals(::getpid());
    return before->caught == after->caught && before->blocked == after->blocked ? 0 : 2;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(OriginalIgnored, IsWhatTheProcessStartedWith) {
  child_options options;
  options.ignored = signal_set::of(SIGHUP, SIGPIPE);
  const auto result = run_child(
      [] { return sigrun::process::original_ignored() == signal_set::of(SIGHUP, SIGPIPE) ? 0 : 1; },
      options);
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

}  // namespace
