// SPDX-License-Identifier: Apache-2.0
//
// Goal: a goroutine in a marked function may be stopped between any two instructions; anywhere else
// it is not stopped, the reason is counted, and the request is not forgotten.

#include "asker.hpp"

#include "arch/preempt.hpp"

#include <sys/wait.h>
#include <csignal>
#include <ctime>

#include <optional>

namespace sigrun::test {
namespace {

[[gnu::noinline]] void spin_unmarked_until(const std::atomic<bool>& done) {
  while (!read(done)) {
  }
}

preempt_state ask_once(machine& m) {
  for (;;) {
    sched::ask(m);
    preempt_state answer = preempt_state::none;
    while ((answer = m.preempt.load()) == preempt_state::asked) wait_a_moment();
    // sysmon may ask too, and g0 takes an answer away: then once more.
    if (answer != preempt_state::none) return answer;
  }
}

/// Runs f in a goroutine, asks its M when f says that it is about to be in marked code, and again
/// while it is not there yet; returns the first other answer.
template <class F>
preempt_state answer_while(F f) {
  std::atomic<machine*> here{nullptr};
  std::atomic<bool> done{false};
  goroutine asked = go([&] {
    lock_os_thread();
    f([&] { here = sched::current_machine(); }, done);
    unlock_os_thread();
  });
  machine* m = nullptr;
  while ((m = here.load()) == nullptr) wait_a_moment();
  preempt_state answer = preempt_state::outside;
  while (answer == preempt_state::outside) answer = ask_once(*m);
  done = true;
  asked.join();
  return answer;
}

TEST_F(Preemption, LeavesOtherCodeAlone) {
  std::atomic<machine*> here{nullptr};
  std::atomic<bool> done{false};
  goroutine spinning = go([&] {
    lock_os_thread();
    here = sched::current_machine();
    spin_unmarked_until(done);
    unlock_os_thread();
  });
  machine* m = nullptr;
  while ((m = here.load()) == nullptr) wait_a_moment();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ask_once(*m), preempt_state::outside);
  done = true;
  spinning.join();
}

TEST_F(Preemption, StopsMarkedCode) {
  // Locked to its thread it goes on there, and may be asked again at once.
  const std::uint64_t before = injected();
  std::atomic<bool> done{false};
  goroutine spinning = go([&] { spin_until(done); });
  {
    const asker asking;
    while (injected() < before + 30) wait_a_moment();
  }
  done = true;
  spinning.join();
}

TEST_F(Preemption, LeavesAGoroutineAloneInAForeignCall) {
  EXPECT_EQ(answer_while([](auto ready, const std::atomic<bool>& done) {
              foreign_call([&] {
                ready();
                spin_until(done);
              });
            }),
            preempt_state::in_runtime);
}

TEST_F(Preemption, LeavesTheRuntimesOwnSectionsAlone) {
  EXPECT_EQ(answer_while([](auto ready, const std::atomic<bool>& done) {
              machine* const m = sched::enter(sched::current_machine());
              ready();
              spin_until(done);
              sched::leave_section(m);
            }),
            preempt_state::in_runtime);
}

std::atomic<bool> timer_may_end{false};
std::atomic<machine*> timer_on{nullptr};

TEST_F(Preemption, LeavesG0Alone) {
  timer_may_end = false;
  timer_on = nullptr;
  sched::sched_timer timer;
  timer.fire = [](sched::sched_timer&) noexcept {
    timer_on = sched::current_machine();
    spin_until(timer_may_end);
  };
  go([&] { sched::timer_start(timer, sys::now_ns()); }).join();
  machine* m = nullptr;
  while ((m = timer_on.load()) == nullptr) wait_a_moment();
  preempt_state answer = preempt_state::outside;
  while (answer == preempt_state::outside) answer = ask_once(*m);
  EXPECT_EQ(answer, preempt_state::in_runtime);
  timer_may_end = true;
  go([&] { sched::timer_stop(timer); }).join();
}

// Frames of at least 256 bytes, until less than `left` bytes are left.
[[gnu::noinline]] void deep(std::uintptr_t low, std::uintptr_t left,
                            const std::atomic<bool>& done) {
  char room[256];
  asm volatile("" : : "r"(room) : "memory");
  if (reinterpret_cast<std::uintptr_t>(room) - low > left) {
    deep(low, left, done);
  } else {
    spin_until(done);
  }
  asm volatile("" : : "r"(room) : "memory");
}

TEST_F(Preemption, NeedsRoomOnTheStack) {
  const auto at_depth = [](std::uintptr_t left) {
    return answer_while([left](auto ready, const std::atomic<bool>& done) {
      const auto* const gp = sched::current_g();
      ready();
      deep(reinterpret_cast<std::uintptr_t>(gp->stack.low), left, done);
    });
  };
  EXPECT_EQ(at_depth(sched::preempt_need), preempt_state::no_room);
  // Long vectors on arm64 need more than the frame.
  const std::uintptr_t enough = sched::preempt_need + arch::preemption_frame() + 16 * 1024;
  EXPECT_EQ(at_depth(enough), preempt_state::injected);
}

TEST_F(Preemption, NeedsASignalStackToBeDecidedOn) {
  EXPECT_EQ(answer_while([](auto ready, const std::atomic<bool>& done) {
              stack_t none{};
              none.ss_flags = SS_DISABLE;
              stack_t before{};
              sigaltstack(&none, &before);
              ready();
              spin_until(done);
              sigaltstack(&before, nullptr);
            }),
            preempt_state::no_room);
}

// By sysmon itself.
TEST_F(Preemption, WhoSleepsInASystemCallLosesItsProcessorWithoutASignal) {
  max_procs(1);
  std::atomic<bool> done{false};
  goroutine waiting = go([&] {
    while (!done.load()) yield();
  });
  constexpr int rounds = 10;
  int interrupted = 0;
  const std::uint64_t before = sched::the_scheduler().handoffs.load();
  go([&] {
    for (int i = 0; i < rounds; ++i) {
      const timespec wait{0, 30'000'000};
      if (nanosleep(&wait, nullptr) != 0) ++interrupted;  // tidy: allow sleep, it is the claim
      yield();
    }
  }).join();
  done = true;
  waiting.join();
  EXPECT_GT(sched::the_scheduler().handoffs.load(), before);
  // It may have been asked while it still computed, and have fallen asleep right then.
  EXPECT_LE(interrupted, rounds / 2);
}

TEST_F(Preemption, WhoHasLostItsProcessorIsStoppedOnceBackInMarkedCode) {
  max_procs(1);
  std::atomic<bool> back{false};
  std::atomic<bool> done{false};
  goroutine waiting = go([&] {
    while (!done.load()) yield();
  });
  const std::uint64_t handoffs = sched::the_scheduler().handoffs.load();
  goroutine spinning = go([&] {
    spin_unmarked_until(back);
    spin_until(done);
  });
  while (sched::the_scheduler().handoffs.load() == handoffs) wait_a_moment();
  const std::uint64_t before = injected();
  back = true;
  while (injected() == before) wait_a_moment();
  done = true;
  spinning.join();
  waiting.join();
}

TEST_F(Preemption, IsNotDoneWhenNobodyAsked) {
  for (const bool plain : {false, true}) {
    // sysmon may ask meanwhile, on a busy machine: such a round does not count.
    for (;;) {
      const std::uint64_t asked = counted(preempt_state::asked);
      const std::uint64_t before = injected();
      std::atomic<int> tid{0};
      std::atomic<bool> done{false};
      const auto spin = [&] {
        tid = gettid();
        spin_until(done);
      };
      std::optional<std::thread> thread;
      std::optional<goroutine> spinning;
      if (plain) {
        thread.emplace(spin);
      } else {
        spinning.emplace(go(spin));
      }
      while (tid.load() == 0) wait_a_moment();
      for (int i = 0; i < 100; ++i) tgkill(getpid(), tid.load(), SIGURG);
      done = true;
      if (plain) {
        thread->join();
      } else {
        spinning->join();
      }
      if (counted(preempt_state::asked) != asked) continue;
      EXPECT_EQ(injected(), before);
      break;
    }
  }
}

TEST_F(Preemption, IsNotDoneInAForkedChild) {
  int status = -1;
  go([&] {
    lock_os_thread();
    const pid_t child = fork();
    if (child == 0) {
      machine* const m = sched::current_machine();
      m->preempt.store(preempt_state::asked);
      const std::uint64_t before = injected();
      const std::atomic<bool> over{true};
      for (int i = 0; i < 10; ++i) {
        raise(SIGURG);
        spin_until(over);
      }
      _exit(injected() == before && m->preempt.load() == preempt_state::asked ? 0 : 1);
    }
    foreign_call([&] { waitpid(child, &status, 0); });
    unlock_os_thread();
  }).join();
  EXPECT_EQ(status, 0);
}

TEST_F(Preemption, IsSaidOfMarkedFunctionsAlone) {
  EXPECT_TRUE(is_preemptible(&spin_until));
  EXPECT_FALSE(is_preemptible(&spin_unmarked_until));
  EXPECT_FALSE(is_preemptible(nullptr));
  const auto marked = [](int n) SIGRUN_PREEMPTIBLE { return n + 1; };
  EXPECT_EQ(marked(1), 2);
}

}  // namespace
}  // namespace sigrun::test
