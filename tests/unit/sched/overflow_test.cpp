// SPDX-License-Identifier: Apache-2.0
//
// Goal: a goroutine that runs off its stack is named, and dies by SIGSEGV; every other SIGSEGV goes
// where it would go without a scheduler. Each case is a process of its own.

#include <sigrun/go.hpp>
#include <sigrun/process.hpp>
#include <sigrun/signal.hpp>

#include "fiber/sanitizer.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/original.hpp"
#include "support/child_process.hpp"
#include "sys/signal.hpp"

#include <gtest/gtest.h>

#include <csignal>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace sigrun {
namespace {

using test::child_result;
using test::run_child;

// Returns the number of frames, each of which is at least 512 bytes and touched.
[[gnu::noinline]] long frames(long n) {
  char room[512];
  asm volatile("" : : "r"(room) : "memory");
  if (n == 0) return 0;
  const long below = frames(n - 1);
  asm volatile("" : : "r"(room) : "memory");
  return below + 1;
}

void run_off_the_stack() { frames(1'000'000); }

// UBSan would end the process by itself.
__attribute__((no_sanitize("address", "undefined"))) void touch_null() {
  int* null = nullptr;
  asm("" : "+r"(null));
  *null = 1;
}

bool mentions(const child_result& result, const char* text) {
  return result.err.find(text) != std::string::npos;
}

TEST(StackOverflow, IsReportedWithTheGoroutineAndItsStack) {
  const child_result result = run_child([] {
    go({.name = "deep"}, run_off_the_stack).join();
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
  EXPECT_TRUE(mentions(result, "sigrun: goroutine ")) << result.err;
  EXPECT_TRUE(mentions(result, " [deep]: stack overflow (stack 0x")) << result.err;
  EXPECT_EQ(result.err.find("stack overflow"), result.err.rfind("stack overflow")) << "once";
}

TEST(StackOverflow, IsReportedFromTheMainGoroutineAndWithoutAName) {
  const child_result result = run_child([] { return run([] { run_off_the_stack(); }); });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
  EXPECT_TRUE(mentions(result, "stack overflow")) << result.err;
}

TEST(StackOverflow, ABiggerStackHoldsWhatOverflowsADefaultOne) {
  const child_result result = run_child([] {
    long reached = 0;
    go({.stack_size = 16 << 20}, [&] { reached = frames(10'000); }).join();
    return reached == 10'000 ? 0 : 1;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackOverflow, ANullDereferenceInAGoroutineIsNone) {
  const child_result result = run_child([] {
    go(touch_null).join();
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
  EXPECT_EQ(result.err, "");
}

void foreign_handler(int, siginfo_t* info, void*) {
  std::printf("foreign %d %p\n", info->si_code, info->si_addr);
  std::fflush(stdout);
  _exit(7);
}

void install_foreign_handler() {
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = foreign_handler;
  sigaction(SIGSEGV, &action, nullptr);
}

TEST(StackOverflow, OtherFaultsReachTheHandlerThatWasThere) {
  const child_result result = run_child([] {
    install_foreign_handler();
    go(touch_null).join();
    return 0;
  });
  EXPECT_TRUE(result.exited_with(7)) << result.describe();
  EXPECT_EQ(result.out, "foreign " + std::to_string(SEGV_MAPERR) + " (nil)\n");
}

TEST(StackOverflow, IsNotHandedToTheHandlerThatWasThere) {
  const child_result result = run_child([] {
    install_foreign_handler();
    go(run_off_the_stack).join();
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
  EXPECT_TRUE(mentions(result, "stack overflow")) << result.err;
  EXPECT_EQ(result.out, "");
}

TEST(StackOverflow, AHandlerThatJumpsOutFindsTheMaskItWouldHaveHad) {
#if SIGRUN_TSAN
  GTEST_SKIP() << "TSan has a handler and a mask of its own for sigaction(3)";
#endif
  const child_result result = run_child([] {
    struct sigaction action {};
    action.sa_flags = SA_NODEFER;
    action.sa_handler = [](int) {
      sigset_t mask;
      pthread_sigmask(SIG_BLOCK, nullptr, &mask);
      int blocked = 0;
      for (int signo = 1; signo < 64; signo++) blocked += sigismember(&mask, signo) == 1;
      _exit(sigismember(&mask, SIGUSR2) == 1 && blocked == 1 ? 0 : 1);
    };
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGSEGV, &action, nullptr);
    go(touch_null).join();
    return 2;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

// What is sent to the process may come in by any thread that happens to be at the end of a handler
// (signal(7)): kill(2) returns here while that thread is dying of it.
int until_dead() {
  for (;;) pause();
}

TEST(StackOverflow, ASentSigsegvKillsAsBefore) {
  const child_result result = run_child([] {
    go([] {}).join();
    kill(getpid(), SIGSEGV);
    return until_dead();
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
  EXPECT_EQ(result.err, "");
}

TEST(StackOverflow, AnIgnoredSigsegvStaysIgnoredWhenSent) {
  test::child_options options;
  options.ignored = signal_set::of(SIGSEGV);
  const child_result result = run_child(
      [] {
        go([] {}).join();
        return kill(getpid(), SIGSEGV);
      },
      options);
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackOverflow, NoSignalIsTrappedBeforeTheSchedulerStarts) {
  const child_result result = run_child([] {
    sys::kernel_sigaction before[signal_max + 1];
    for (int signo = 1; signo <= signal_max; signo++) {
      sys::rt_sigaction(signo, nullptr, &before[signo]);
      if (sigsafe::is_ours(before[signo])) return 1;
    }
    go([] {}).join();
    for (int signo = 1; signo <= signal_max; signo++) {
      sys::kernel_sigaction now;
      sys::rt_sigaction(signo, nullptr, &now);
      if (sigsafe::is_ours(now) != (signo == SIGSEGV)) return 2;
    }
    // Children are given what was there.
    return sigsafe::original_action(SIGSEGV) == before[SIGSEGV] ? 0 : 3;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackOverflow, IsStillReportedAfterSubscriptionsHaveComeAndGone) {
  for (const bool scheduler_first : {true, false}) {
    const child_result result = run_child([scheduler_first] {
      if (scheduler_first) go([] {}).join();
      {
        signal_chan ch(4);
        notify(ch, {SIGSEGV}, {.allow_sent_faults = true});
        go([] {}).join();
        kill(getpid(), SIGSEGV);
        if (!ch.recv()) return 1;
        stop(ch);
      }
      reset({SIGSEGV});
      go(run_off_the_stack).join();
      return 0;
    });
    EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
    EXPECT_TRUE(mentions(result, "stack overflow")) << scheduler_first << result.err;
  }
}

TEST(StackOverflow, AfterItsLastSubscriberASentSigsegvKills) {
  const child_result result = run_child([] {
    go([] {}).join();
    {
      signal_chan ch(4);
      notify(ch, {SIGSEGV}, {.allow_sent_faults = true});
      stop(ch);
    }
    kill(getpid(), SIGSEGV);
    return until_dead();
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
}

}  // namespace
}  // namespace sigrun
