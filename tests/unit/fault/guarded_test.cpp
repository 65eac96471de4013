// SPDX-License-Identifier: Apache-2.0
//
// What guarded() catches, what it says of it, and what it leaves behind: nothing. Each compiler and
// kind of code has its own programs in tests/fault/catch.
#include "faulty.hpp"

#include "fiber/sanitizer.hpp"
#include "support/child_process.hpp"
#include "support/leak_guard.hpp"
#include "sys/signal.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/fault.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#if SIGRUN_ASAN
#include <sanitizer/lsan_interface.h>
#endif

namespace sigrun::test {
namespace {

class Guarded : public leak_guard_test {
 protected:
  // The handlers for faults stay, once somebody has asked.
  Guarded()
      : leak_guard_test(
            {.actions = signal_set::of(32, 33, SIGSEGV, SIGBUS, SIGFPE), .mask = signal_set{}}) {}
};

// By this name GoogleTest runs them first, while nothing is installed yet that a child would not
// have, if all run in one process.
using GuardedDeathTest = Guarded;

// While it lives, LeakSanitizer does not ask for what is allocated.
struct nothing_is_leaked {
#if SIGRUN_ASAN
  nothing_is_leaked() { __lsan_disable(); }
  ~nothing_is_leaked() { __lsan_enable(); }
#else
  nothing_is_leaked() {}
#endif
};

/// The fault that f() raises; an empty one when it raises none.
template <class F>
fault fault_of(F f) {
  try {
    guarded(f);
  } catch (const fault_error& error) {
    return error.details();
  }
  return {};
}

TEST_F(Guarded, WithoutAFaultTheResultIsReturned) {
  EXPECT_EQ(guarded([] { return 7; }), 7);
  int there = 1;
  int& same = guarded([&]() -> int& { return there; });
  EXPECT_EQ(&same, &there);
  EXPECT_EQ(guarded([] { return std::string(100, 'x'); }).size(), 100u);
  guarded([&] { there = 2; });
  EXPECT_EQ(there, 2);
}

TEST_F(Guarded, WhatTheCodeThrowsPassesThrough) {
  EXPECT_THROW(guarded([] { throw std::out_of_range("own"); }), std::out_of_range);
  EXPECT_EQ(fault_of([] { load(near_null); }).signal, SIGSEGV);  // and it guards again
}

TEST_F(Guarded, ABadPointerIsAnErrorThatNamesIt) {
  try {
    guarded([] { return load(near_null); });
    FAIL() << "not thrown";
  } catch (const fault_error& error) {
    const fault& what = error.details();
    EXPECT_EQ(what.signal, SIGSEGV);
    EXPECT_EQ(what.code, SEGV_MAPERR);
    EXPECT_TRUE(what.has_address);
    EXPECT_EQ(what.address, near_null);
    EXPECT_EQ(what.tid, sys::gettid());
    EXPECT_EQ(what.goroutine, 0u);
    EXPECT_FALSE(what.thrown_there);
    ASSERT_GE(what.stack_size, 3);
    EXPECT_EQ(what.stack()[0], what.pc);
    const auto entry = reinterpret_cast<std::uintptr_t>(&load);
    EXPECT_GE(what.pc, entry);
    EXPECT_LT(what.pc, entry + 64);
    EXPECT_NE(std::string(error.what()).find("SIGSEGV (SEGV_MAPERR) at 0x18, pc 0x"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(Guarded, AForkedChildsFaultIsOfItsOwnThread) {
  ASSERT_EQ(fault_of([] { load(near_null); }).tid, sys::gettid());
  // Not by run_child(), which puts the handlers back that a program is started with.
  const pid_t child = ::fork();
  if (child == 0) _exit(fault_of([] { load(near_null); }).tid == sys::gettid() ? 0 : 1);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Guarded, RegistersAreThoseOfTheInstruction) {
  const fault what = fault_of([] { store(near_null, 0x5eed); });
  int found = 0;
  for (const std::uint64_t value : what.registers) found += value == 0x5eed || value == near_null;
  EXPECT_GE(found, 2);
  EXPECT_EQ(what.registers[fault_register_count == 18 ? 16 : 32], what.pc);
  EXPECT_EQ(fault_register_name(fault_register_count == 18 ? 16 : 32),
            fault_register_count == 18 ? "rip" : "pc");
  EXPECT_EQ(fault_register_name(fault_register_count), "?");
}

TEST_F(Guarded, TheInnermostGuardCatchesAndTheOuterOneLivesOn) {
  int inner = 0;
  int outer = 0;
  try {
    guarded([&] {
      try {
        guarded([] { load(near_null); });
      } catch (const fault_error&) {
        ++inner;
      }
      load(near_null + 8);
    });
  } catch (const fault_error& error) {
    EXPECT_EQ(error.details().address, near_null + 8);
    ++outer;
  }
  EXPECT_EQ(inner, 1);
  EXPECT_EQ(outer, 1);
}

TEST_F(Guarded, ManyTimesInARow) {
  const auto before = read_fault_counts();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(fault_of([] { load(near_null); }).signal, SIGSEGV);
  EXPECT_EQ(read_fault_counts().returned, before.returned + 1000);
  EXPECT_TRUE((sys::current_mask() & signal_set::of(SIGSEGV, SIGBUS, SIGFPE)).empty());
}

TEST_F(Guarded, TheExceptionStateIsWhatItWas) {
  try {
    throw 1;
  } catch (int) {
    const nothing_is_leaked ignored;  // the exception that is left is, as docs/faults.md says
    const fault what = fault_of([] {
      try {
        throw 2;
      } catch (int) {
        load(near_null);  // leaves in the middle of a catch clause
      }
    });
    EXPECT_EQ(what.signal, SIGSEGV);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    try {
      throw;  // the outer one, not the one that was left
    } catch (int value) {
      EXPECT_EQ(value, 1);
    }
  }
  EXPECT_EQ(std::current_exception(), nullptr);
}

TEST_F(Guarded, AGoroutineCatchesOnWhateverThreadItIs) {
  run([] {
    std::vector<goroutine> all;
    std::atomic<int> caught{0};
    for (int i = 0; i < 50; ++i) {
      all.push_back(go([&caught] {
        for (int n = 0; n < 10; ++n) {
          const fault what = fault_of([] {
            yield();
            load(near_null);
          });
          caught += what.signal == SIGSEGV && what.goroutine == goroutine_id();
          yield();
        }
      }));
    }
    for (auto& g : all) g.join();
    EXPECT_EQ(caught.load(), 500);
  });
}

TEST_F(Guarded, OthersGoOn) {
  run([] {
    chan<int> values(0);
    auto worker = go([values]() mutable {
      for (int i = 0; i < 100; ++i) values.send(i);
      values.close();
    });
    int sum = 0;
    for (const int value : values) {
      sum += value;
      EXPECT_EQ(fault_of([] { load(near_null); }).signal, SIGSEGV);
    }
    worker.join();
    EXPECT_EQ(sum, 4950);
  });
}

TEST_F(Guarded, AFaultInAForeignCallComesBackFromIt) {
  run([] {
    for (int i = 0; i < 100; ++i) {
      const fault what = fault_of([] { foreign_call([] { load(near_null); }); });
      ASSERT_EQ(what.signal, SIGSEGV);
      ASSERT_EQ(foreign_call([] { return goroutine_id(); }), 0u) << "in no foreign call before it";
      ASSERT_NE(goroutine_id(), 0u) << "still in the foreign call";
      yield();
    }
  });
}

int plain_calls = 0;
void plain_function() { ++plain_calls; }
int plain_result() { return 7; }

TEST_F(Guarded, FunctionsAreCalledAsLambdasAre) {
  run([] {
    foreign_call(plain_function);
    foreign_call(&plain_function);
    guarded(plain_function);
    EXPECT_EQ(foreign_call(plain_result) + guarded(plain_result), 14);
  });
  EXPECT_EQ(plain_calls, 3);
}

TEST_F(Guarded, AGuardInAForeignCallCatchesThere) {
  run([] {
    const fault what = foreign_call([] { return fault_of([] { load(near_null); }); });
    EXPECT_EQ(what.signal, SIGSEGV);
    EXPECT_NE(goroutine_id(), 0u);
  });
}

TEST_F(Guarded, ThreadsCatchTheirOwn) {
  std::atomic<int> caught{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&caught] {
      for (int i = 0; i < 200; ++i) {
        const fault what = fault_of([] { load(near_null); });
        caught += what.tid == sys::gettid();
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(caught.load(), 800);
}

TEST_F(Guarded, TheObserverIsToldBeforeTheCatchClause) {
  static int told;
  told = 0;
  set_fault_observer([](const fault& what) noexcept { told += what.address == near_null; });
  EXPECT_EQ(fault_of([] { load(near_null); }).signal, SIGSEGV);
  EXPECT_EQ(told, 1);
  EXPECT_NE(set_fault_observer(nullptr), nullptr);
}

// ------------------------------------------------------------------------ set_panic_on_fault

// Through a pointer that the compiler cannot look through: it would see that load() throws nothing.
using loader = std::uint64_t (*)(std::uint64_t);
constinit std::atomic<loader> opaque_load{&load};

TEST_F(Guarded, APanickingGoroutineCatchesWhereItLikes) {
  run([] {
    EXPECT_FALSE(set_panic_on_fault(true));
    EXPECT_TRUE(panic_on_fault());
    for (int i = 0; i < 100; ++i) {
      try {
        opaque_load.load()(near_null);
        FAIL() << "not thrown";
      } catch (const fault_error& error) {
        ASSERT_TRUE(error.details().thrown_there);
        ASSERT_EQ(error.details().address, near_null);
      }
      yield();
    }
    go([] { EXPECT_FALSE(panic_on_fault()) << "it is each goroutine's own"; }).join();
    EXPECT_TRUE(set_panic_on_fault(false));
  });
}

TEST_F(Guarded, WhatAPanickingGoroutineDoesNotCatchIsJoins) {
  run([] {
    auto failing = go([] {
      set_panic_on_fault(true);
      opaque_load.load()(near_null);
    });
    try {
      failing.join();
      FAIL() << "not thrown";
    } catch (const fault_error& error) {
      EXPECT_EQ(error.details().signal, SIGSEGV);
    }
    EXPECT_FALSE(panic_on_fault());
  });
}

TEST_F(Guarded, APlainThreadCanPanicToo) {
  std::thread([] {
    set_panic_on_fault(true);
    EXPECT_THROW(opaque_load.load()(near_null), fault_error);
  }).join();
  EXPECT_FALSE(panic_on_fault());
}

#if !defined(__clang__)  // whose noexcept functions have a handler, which terminates
void load_noexcept() noexcept {
  opaque_load.load()(near_null);
  opaque_load.load()(near_null);
}

TEST_F(GuardedDeathTest, WhereNothingMayBeThrownAPanicIsTheFaultItself) {
  const child_result result = run_child([] {
    set_panic_on_fault(true);
    try {
      load_noexcept();
    } catch (const fault_error&) {
      return 1;
    }
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
}
#endif

// ------------------------------------------------------------------------- what nobody catches

TEST_F(GuardedDeathTest, UnguardedFaultsKill) {
  const child_result result = run_child([] {
    fault_of([] { load(near_null); });
    load(near_null);
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
}

TEST_F(GuardedDeathTest, ASentSignalKillsAsItWouldHave) {
  for (const int signo : {SIGSEGV, SIGBUS, SIGFPE}) {
    const child_result result = run_child([signo] {
      guarded([signo] { raise(signo); });
      return 0;
    });
    EXPECT_TRUE(result.killed_by(signo)) << result.describe();
  }
}

TEST_F(GuardedDeathTest, ASentSignalIsAnEventForWhoSubscribes) {
  const child_result result = run_child([] {
    auto events = chan<signal_event>(4);
    notify(events, {SIGSEGV}, {.allow_sent_faults = true});
    guarded([] { ::kill(getpid(), SIGSEGV); });
    const auto event = events.recv();
    if (!event || event->signo != SIGSEGV || event->pid != getpid()) return 1;
    return fault_of([] { load(near_null); }).signal == SIGSEGV ? 0 : 2;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST_F(GuardedDeathTest, AFaultInAHandlerKills) {
  for (const int flags : {0, SA_ONSTACK}) {
    const child_result result = run_child([flags] {
      struct sigaction action {};
      action.sa_handler = [](int) { load(near_null); };
      action.sa_flags = flags;
      sigaction(SIGUSR1, &action, nullptr);
      guarded([] { raise(SIGUSR1); });
      return 0;
    });
    EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
  }
}

[[gnu::noinline]] std::uint64_t run_over(std::uint64_t depth) {
  char room[256];
  asm volatile("" : : "r"(room) : "memory");
  const std::uint64_t below = depth == 0 ? 0 : run_over(depth - 1) + 1;
  asm volatile("" : : "r"(room) : "memory");
  return below;
}

// Uses its frame from the top, so that what faults lies above the stack pointer.
[[gnu::noinline]] std::uint64_t run_over_widely(std::uint64_t depth) {
  std::size_t size = 60'000;
  asm volatile("" : "+r"(size));
  auto* const room = static_cast<char*>(__builtin_alloca(size));
  for (std::size_t at = size; at > 0; at -= 1000)
    store(reinterpret_cast<std::uint64_t>(room + at - 8), depth);
  const std::uint64_t below = depth == 0 ? 0 : run_over_widely(depth - 1) + 1;
  asm volatile("" : : "r"(room) : "memory");
  return below;
}

TEST_F(GuardedDeathTest, AStackThatHasRunOverKills) {
  const child_result goroutine = run_child([] {
    run([] { guarded([] { run_over(std::uint64_t{1} << 40); }); });
    return 0;
  });
  EXPECT_TRUE(goroutine.killed_by(SIGSEGV)) << goroutine.describe();
  EXPECT_NE(goroutine.err.find("stack overflow"), std::string::npos) << goroutine.describe();
  const child_result thread = run_child([] {
    set_panic_on_fault(true);  // for the signal stack
    guarded([] { run_over(std::uint64_t{1} << 40); });
    return 0;
  });
  EXPECT_TRUE(thread.killed_by(SIGSEGV)) << thread.describe();
  const child_result widely = run_child([] {
    set_panic_on_fault(true);
    guarded([] { run_over_widely(std::uint64_t{1} << 40); });
    return 0;
  });
  EXPECT_TRUE(widely.killed_by(SIGSEGV)) << widely.describe();
}

// Its one move is that from the argument into the buffer.
struct moves_badly {
  moves_badly() = default;
  moves_badly(moves_badly&&) noexcept { load(near_null); }
  moves_badly& operator=(moves_badly&&) = default;
};

TEST_F(GuardedDeathTest, AFaultWithAChannelsLockHeldKills) {
  const child_result result = run_child([] {
    chan<moves_badly> values(2);
    fault_of([] {});  // from here on locks are noted
    return fault_of([&] { values.send(moves_badly()); }).signal == 0 ? 1 : 2;
  });
  EXPECT_TRUE(result.killed_by(SIGSEGV)) << result.describe();
}

TEST_F(GuardedDeathTest, TheHandlerThatWasThereKeepsTheRest) {
  const child_result result = run_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) { _exit(42); };
    sigaction(SIGSEGV, &action, nullptr);
    if (fault_of([] { load(near_null); }).signal != SIGSEGV) return 1;
    load(near_null);
    return 2;
  });
  EXPECT_TRUE(result.exited_with(42)) << result.describe();
}

TEST_F(GuardedDeathTest, AChildOfForkCatchesToo) {
  const child_result result = run_child([] {
    auto events = chan<signal_event>(4);
    notify(events, SIGUSR1);
    fault_of([] { load(near_null); });
    const int child = fork();
    if (child == 0) _exit(fault_of([] { load(near_null); }).signal == SIGSEGV ? 7 : 8);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
  });
  EXPECT_TRUE(result.exited_with(7)) << result.describe();
}

}  // namespace
}  // namespace sigrun::test
