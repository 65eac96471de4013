// SPDX-License-Identifier: Apache-2.0
//
// What children get, what a replaced handler gets back, and what the doctor says about it
// (contract A8, A9, A10, B6). Each test is one child with a runtime of its own.
#include "support/child_process.hpp"
#include "support/proc_self.hpp"
#include "support/test_body.hpp"
#include "sys/clock.hpp"
#include "sys/signal.hpp"

#include <sigrun/process.hpp>
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace {

using namespace std::chrono_literals;
using sigrun::signal_chan;
using sigrun::signal_event;
using sigrun::signal_set;
using sigrun::test::child_options;

#define REQUIRE(condition)                                                   \
  do {                                                                       \
    if (!(condition)) {                                                      \
      std::fprintf(stderr, "line %d: not true: %s\n", __LINE__, #condition); \
      return 1;                                                              \
    }                                                                        \
  } while (false)

void expect_ok(const std::function<int()>& body, const child_options& options = {}) {
  const auto result = sigrun::test::run_child(body, options);
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

bool shared_isolation() {
  const char* const isolation = std::getenv("SIGRUN_ISOLATION");
  return isolation != nullptr && std::string_view{isolation} == "shared";
}

const signal_set inherited_ignored = signal_set::of(SIGHUP);
const signal_set inherited_blocked = signal_set::of(SIGUSR2);

child_options with_inheritance() {
  child_options options;
  options.ignored = inherited_ignored;
  options.blocked = inherited_blocked;
  return options;
}

// The runtime at work, on a signal that was inherited blocked and, if so asked, on the one that
// was inherited ignored.
signal_chan subscribe(bool ignored_too = true) {
  const signal_chan ch{64};
  sigrun::notify(ch, SIGTERM, SIGUSR1, SIGUSR2, SIGRTMIN + 1);
  if (ignored_too) sigrun::notify(ch, SIGHUP);
  return ch;
}

// Runs a child whose status of itself is printed by cat, and compares it with what we were given.
void expect_original(const char* how, const std::function<int()>& start) {
  const auto result = sigrun::test::run_child(start, with_inheritance());
  ASSERT_TRUE(result.exited_with(0)) << how << ": " << result.describe();
  const auto seen = sigrun::test::parse_status(result.out);
  EXPECT_EQ(seen.name, "cat") << how;
  EXPECT_EQ(seen.blocked.bits(), inherited_blocked.bits()) << how;
  // glibc's posix_spawn leaves its own two ignored (sysdeps/unix/sysv/linux/spawni.c).
  EXPECT_EQ((seen.ignored - signal_set::of(32, 33)).bits(), inherited_ignored.bits()) << how;
  EXPECT_EQ(seen.caught.bits(), 0U) << how;
}

const std::vector<std::string> show = {"cat", "/proc/self/status"};

int wait_ok(int pid) {
  int status = 1;
  ::waitpid(pid, &status, 0);
  return status;
}

TEST(Children, TheArrangementIsGivenWhole) { EXPECT_TRUE(sigrun::test::arrangement_is_whole()); }

TEST(Children, OfSpawnHaveTheOriginalMaskAndDispositions) {
  expect_original("spawn", [] {
    const signal_chan ch = subscribe();
    return sigrun::process::spawn(show).wait().shell_code();
  });
  expect_original("spawn from another thread", [] {
    const signal_chan ch = subscribe();
    int code = 1;
    std::thread{[&] { code = sigrun::process::spawn(show).wait().shell_code(); }}.join();
    return code;
  });
}

TEST(Children, OfForkHaveTheOriginalMaskAndDispositions) {
  expect_original("fork", [] {
    const signal_chan ch = subscribe();
    const int pid = ::fork();
    if (pid == 0) {
      ::execlp("cat", "cat", "/proc/self/status", nullptr);
      ::_exit(127);
    }
    return wait_ok(pid);
  });
}

TEST(Children, OfExecHaveTheOriginalMaskAndDispositions) {
  expect_original("exec", [] {
    const signal_chan ch = subscribe();
    return sigrun::process::exec(show).value();
  });
}

// Raw library calls know nothing of the runtime: they are right from threads that keep nothing
// blocked, which is every thread under `shared`, and a guarded one under `strict`. An inherited
// SIG_IGN that notify() was asked to overrule is a handler to them, so it is default after execve.
TEST(Children, OfRawCallsHaveTheOriginalMaskWhereTheThreadIsOpen) {
  const auto posix_spawned = [] {
    int pid = 0;
    char name[] = "cat";
    char path[] = "/proc/self/status";
    char* argv[] = {name, path, nullptr};
    return ::posix_spawnp(&pid, "cat", nullptr, nullptr, argv, environ) == 0 ? wait_ok(pid) : 1;
  };
  const auto by_system = [] { return std::system("exec cat /proc/self/status"); };
  const auto by_popen = [] {
    FILE* const pipe = ::popen("exec cat /proc/self/status", "r");
    char line[512];
    while (std::fgets(line, sizeof line, pipe) != nullptr) std::fputs(line, stdout);
    return ::pclose(pipe);
  };
  const std::vector<std::pair<const char*, std::function<int()>>> ways = {
      {"posix_spawn", posix_spawned}, {"system", by_system}, {"popen", by_popen}};
  for (const auto& [how, start] : ways) {
    expect_original(how, [&start = start] {
      const signal_chan ch = subscribe(false);
      if (shared_isolation()) return start();
      const sigrun::original_mask guard;
      return start();
    });
  }
}

TEST(Children, AForkedChildsSignalNeverShowsUpInItsParent) {
  expect_ok([] {
    const signal_chan ch{4096};
    sigrun::notify(ch, SIGUSR1, SIGRTMIN + 1);
    for (int i = 0; i < 200; ++i) {
      const int pid = ::fork();
      if (pid == 0) {
        // Default now, in the child: either of them kills it.
        ::kill(::getpid(), i % 2 == 0 ? SIGUSR1 : SIGRTMIN + 1);
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(pid, &status, 0);
      REQUIRE(WIFSIGNALED(status));
      REQUIRE(WTERMSIG(status) == (i % 2 == 0 ? SIGUSR1 : SIGRTMIN + 1));
    }
    sigrun::stop(ch);
    signal_event event;
    REQUIRE(!ch.try_recv(event));
    REQUIRE(sigrun::stats(ch).delivered == 0);
    return 0;
  });
}

TEST(Children, OfForkMayUseTheRuntimeAnew) {
  expect_ok([] {
    const signal_chan ch = subscribe();
    const int pid = ::fork();
    if (pid == 0) {
      ::alarm(15);
      const signal_chan own{4};
      sigrun::notify(own, SIGUSR1);
      ::kill(::getpid(), SIGUSR1);
      signal_event event;
      ::_exit(own.recv_for(10s, event) == sigrun::chan_status::ok ? 0 : 3);
    }
    const int status = wait_ok(pid);
    if (status != 0) std::fprintf(stderr, "child: %#x\n", static_cast<unsigned>(status));
    REQUIRE(status == 0);
    signal_event event;
    REQUIRE(!ch.try_recv(event));
    return 0;
  });
}

std::atomic<int> foreign_calls{0};
void foreign(int) { foreign_calls.fetch_add(1); }
void other_foreign(int) { foreign_calls.fetch_add(100); }

TEST(Restore, AForeignHandlerIsBackExactlyAfterTheLastStop) {
  expect_ok([] {
    struct sigaction mine {};
    mine.sa_handler = foreign;
    mine.sa_flags = SA_NODEFER | SA_RESTART;
    sigaddset(&mine.sa_mask, SIGUSR2);
    ::sigaction(SIGUSR1, &mine, nullptr);
    sigrun::sys::kernel_sigaction before, after;
    sigrun::sys::rt_sigaction(SIGUSR1, nullptr, &before);
    const signal_chan first{4}, second{4};
    sigrun::notify(first, SIGUSR1);
    sigrun::notify(second, SIGUSR1);
    sigrun::stop(first);
    ::kill(::getpid(), SIGUSR1);
    signal_event event;
    REQUIRE(second.recv_for(10s, event) == sigrun::chan_status::ok);
    REQUIRE(foreign_calls.load() == 0);
    sigrun::stop(second);
    sigrun::sys::rt_sigaction(SIGUSR1, nullptr, &after);
    REQUIRE(before == after);
    ::raise(SIGUSR1);
    REQUIRE(foreign_calls.load() == 1);
    return 0;
  });
}

TEST(Restore, AChainedHandlerRunsToo) {
  for (const sigrun::chain when : {sigrun::chain::before, sigrun::chain::after}) {
    expect_ok([when] {
      ::signal(SIGUSR1, foreign);
      sigrun::notify_options options;
      options.previous = when;
      const signal_chan ch{4};
      sigrun::notify(ch, {SIGUSR1}, options);
      ::kill(::getpid(), SIGUSR1);
      signal_event event;
      REQUIRE(ch.recv_for(10s, event) == sigrun::chan_status::ok);
      const std::int64_t deadline = sigrun::sys::now_ns() + 10'000'000'000;
      while (foreign_calls.load() == 0 && sigrun::sys::now_ns() < deadline) ::sched_yield();
      REQUIRE(foreign_calls.load() == 1);
      return 0;
    });
  }
}

TEST(Restore, AHandlerInstalledAfterNotifyIsLeftAloneByStop) {
  expect_ok([] {
    const signal_chan ch{4};
    sigrun::notify(ch, SIGUSR1);
    ::signal(SIGUSR1, foreign);
    sigrun::stop(ch);
    sigrun::sys::kernel_sigaction now;
    sigrun::sys::rt_sigaction(SIGUSR1, nullptr, &now);
    REQUIRE(now.handler == reinterpret_cast<std::uintptr_t>(&foreign));
    return 0;
  });
}

TEST(Restore, AHandlerInstalledBetweenTwoSubscriptionsIsTheOneThatComesBack) {
  expect_ok([] {
    ::signal(SIGUSR1, foreign);
    const signal_chan ch{4};
    sigrun::notify(ch, SIGUSR1);
    sigrun::stop(ch);
    ::signal(SIGUSR1, other_foreign);
    sigrun::notify(ch, SIGUSR1);
    sigrun::stop(ch);
    ::raise(SIGUSR1);
    REQUIRE(foreign_calls.load() == 100);
    return 0;
  });
}

bool has_finding(sigrun::finding::kind what, int signo, int tid = 0) {
  const auto findings = sigrun::doctor();
  return std::any_of(findings.begin(), findings.end(), [&](const sigrun::finding& f) {
    return f.what == what && (f.signo == signo || signo == 0) && (tid == 0 || f.tid == tid) &&
           !f.text.empty();
  });
}

TEST(Doctor, NamesAReplacedHandlerAndRearmTakesItBack) {
  expect_ok([] {
    const signal_chan ch{4};
    sigrun::notify(ch, SIGUSR1);
    REQUIRE(!has_finding(sigrun::finding::kind::handler_replaced, SIGUSR1));
    ::signal(SIGUSR1, foreign);
    REQUIRE(has_finding(sigrun::finding::kind::handler_replaced, SIGUSR1));
    REQUIRE(has_finding(sigrun::finding::kind::no_alternate_stack, SIGUSR1));
    REQUIRE(sigrun::rearm() == 1);
    REQUIRE(!has_finding(sigrun::finding::kind::handler_replaced, SIGUSR1));
    ::kill(::getpid(), SIGUSR1);
    signal_event event;
    REQUIRE(ch.recv_for(10s, event) == sigrun::chan_status::ok);
    return 0;
  });
}

TEST(Doctor, NamesAThreadThatWouldSteal) {
  if (shared_isolation()) GTEST_SKIP() << "open threads are what shared is for";
  expect_ok([] {
    const signal_chan ch{4};
    std::atomic<int> tid{0};
    std::atomic<bool> end{false};
    std::thread open{[&] {
      tid.store(sigrun::sys::gettid());
      while (!end.load()) ::sched_yield();
    }};
    while (tid.load() == 0) ::sched_yield();
    sigrun::notify(ch, SIGUSR1);
    const bool named = has_finding(sigrun::finding::kind::thread_steals, SIGUSR1, tid.load());
    std::error_code error;
    sigrun::close_thread(tid.load(), error);
    const std::int64_t deadline = sigrun::sys::now_ns() + 10'000'000'000;
    while (has_finding(sigrun::finding::kind::thread_steals, SIGUSR1, tid.load()) &&
           sigrun::sys::now_ns() < deadline) {
      ::sched_yield();
    }
    const bool cured = !has_finding(sigrun::finding::kind::thread_steals, SIGUSR1, tid.load());
    end.store(true);
    open.join();
    REQUIRE(named);
    REQUIRE(!error);
    REQUIRE(cured);
    return 0;
  });
}

TEST(PidOne, DieByFallsBackToTheShellsCode) {
  for (const int signo : {SIGTERM, SIGINT, SIGRTMIN + 1}) {
    const auto result = sigrun::test::run_child([signo] {
      if (::unshare(CLONE_NEWPID) != 0) return 77;
      const int pid = ::fork();
      if (pid == 0) {
        if (::getpid() != 1) ::_exit(78);
        sigrun::process::die_by(signo);
      }
      int status = 0;
      ::waitpid(pid, &status, 0);
      return WIFEXITED(status) ? WEXITSTATUS(status) : 79;
    });
    if (result.exited_with(77)) GTEST_SKIP() << "needs the right to make a pid namespace";
    EXPECT_TRUE(result.exited_with(128 + signo)) << result.describe();
  }
}

TEST(SignalPipe, KillsWhenAWriteToStdoutFailsAndIsOnlyEpipeElsewhere) {
  const auto write_to_broken = [](int fd) {
    return [fd] {
      const signal_chan other{4};
      sigrun::notify(other, SIGUSR1);
      int ends[2];
      if (::pipe(ends) != 0) return 2;
      ::close(ends[0]);
      if (fd != 0) ::dup2(ends[1], fd);
      const ssize_t written = ::write(fd != 0 ? fd : ends[1], "x", 1);
      return written == -1 && errno == EPIPE ? 0 : 3;
    };
  };
#if defined(__x86_64__)
  EXPECT_TRUE(sigrun::test::run_child(write_to_broken(1)).killed_by(SIGPIPE));
  EXPECT_TRUE(sigrun::test::run_child(write_to_broken(2)).killed_by(SIGPIPE));
#endif
  expect_ok(write_to_broken(0));
}

TEST(SignalPipe, AnInheritedIgnoreIsEpipeOnStdoutToo) {
  child_options options;
  options.ignored = signal_set::of(SIGPIPE);
  expect_ok(
      [] {
        const signal_chan other{4};
        sigrun::notify(other, SIGUSR1);
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        ::close(ends[0]);
        ::dup2(ends[1], 1);
        REQUIRE(::write(1, "x", 1) == -1);
        return 0;
      },
      options);
}

}  // namespace
