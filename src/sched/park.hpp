// SPDX-License-Identifier: Apache-2.0
//
// One blocked caller, a goroutine or a plain thread. A parker lives on the stack of the one that
// waits, is handed to whoever may wake it, and is woken once.
//
//              park_until                     begin_leading(tid)
//   running ───────────────▶ sleeping     running ──────────────▶ leading
//      ▲  ◀──── time-out ───────┘            ▲  ◀── end_leading ─────┘
//      │                                     │
//      └────────────── reset ─────────────── notified ◀── unpark, from any of the other three
//
// The owner moves every edge but unpark, which any thread may call, and poke, which takes sleeping
// back to running (or running to poked, which the next park() turns into running at once): how a
// thread that leaves the signal duty offers it to one that sleeps.
//   (1) `notified` is sticky: only reset() leaves it, so a wake is never lost, whether it comes
//       before the owner sleeps, while it sleeps, or while it gives up.
//   (2) unpark() touches the parker in one exchange and never after it, because the owner may see
//       `notified` at once and leave the stack frame. What it needs later, the futex's address and
//       the leader's thread id, is a copy: the id is part of the exchanged word.
//       The G to be made ready is read before the exchange.
//   (3) A parker that was given to a waker must not die before the owner has seen `notified`, or
//       has made sure (under the lock that guards the waiter list) that no waker has it.
//   (4) A goroutine is `sleeping` only when its registers are saved: it leaves its M in `running`,
//       and the next to run there commits it, or finds `notified` or `poked` and queues it again.
//       So who takes it out of `sleeping` owns it, and makes it ready. A deadline is a timer that
//       pokes.
//   (5) A goroutine whose one waker finds the parker under a lock, and takes it out of there, needs
//       no state at all: it leaves with the lock held, and the next to run there gives it up when
//       the registers are saved. Until then no waker can have it, and from then on the waker that
//       has it is the only one. (park_holding) The lock may go away with what the goroutine does
//       next, so that does not return before the unlock has. A word does as well as a lock, when
//       there is one waker and the parker is put into the word only then: join, in spawn.cpp.
//       A goroutine with handlers of its own cannot wait so, for it must be possible to poke it.
#pragma once

#include "sched/machine.hpp"
#include "sched/wait_reason.hpp"

#include <atomic>
#include <cstdint>

namespace sigrun::sched {

enum class park_result { notified, timeout, poked };

/// What becomes of an exception that a handler throws for which a wait was interrupted.
enum class raised_error {
  ends_wait,  // wait_until() returns false, and a raised_point() throws it
  kept,       // the wait goes on; the goroutine's next preemption point throws it
};

class parker {
 public:
  /// `why` and `on`, the address of what is waited for, are for dumps.
  explicit parker(wait_reason why = wait_reason::unknown, const void* on = nullptr) noexcept
      : why_(why), g_(g_on(current_machine())), on_(on) {}
  parker(const parker&) = delete;
  parker& operator=(const parker&) = delete;

  /// Sleeps until unpark(); true at once when that has come already. `deadline_ns` is absolute
  /// CLOCK_MONOTONIC, sys::never for none; false when it passes first. Owner only.
  bool park_until(std::int64_t deadline_ns) noexcept;

  /// The same as a preemption point: what is raised for the goroutine meanwhile is handled, in the
  /// midst of the wait, which goes on. False too when a handler has thrown, see raised_error; never
  /// wait so for a wake that is sure to be on its way already.
  bool wait_until(std::int64_t deadline_ns, raised_error error = raised_error::ends_wait) noexcept;

  /// The same, but poke() ends it too.
  park_result park(std::int64_t deadline_ns) noexcept;

  /// The same without a deadline, with a lock held that every waker must take before it may unpark;
  /// `unlock(lock)` is called once the goroutine has left; it may also unpark() the parker itself.
  /// Nobody may poke it. False, and unlock was not called: the caller is a thread, or its M has
  /// lost its P; it has to park the other way.
  bool park_holding(void (*unlock)(void* lock) noexcept, void* lock) noexcept;

  /// Has the owner's park() return `poked`, now or at its next call, unless it was notified. The
  /// caller must know that the parker is still there.
  void poke() noexcept;

  /// Wakes the owner. Any thread; the parker may be gone when this returns, see (2).
  void unpark() noexcept;

  /// From here on the owner, kernel thread `tid`, sits in rt_sigtimedwait with the signal duty and
  /// is woken by a SIGURG of its own. False: it was notified already, and must not wait.
  bool begin_leading(int tid) noexcept;

  /// Ends that; true when it was notified. A wake that raced has left a SIGURG with control_code
  /// pending on the thread, which the next wait takes and must pass over.
  bool end_leading() noexcept;

  bool notified() const noexcept {
    return state_.load(std::memory_order_acquire) == notified_state;  // pairs with unpark
  }

  /// Makes the parker ready for the next wait. Owner only, when no waker has it any more.
  void reset() noexcept { state_.store(running_state, std::memory_order_relaxed); }

  /// For the scheduler: (4)'s commit. False: it must be made ready at once.
  bool commit() noexcept {
    std::uint32_t seen = running_state;
    return state_.compare_exchange_strong(seen, sleeping_state);
  }
  /// For the scheduler: (5)'s unlock. The parker may be gone when it returns.
  void let_go() noexcept {
    unlock_(lock_);
    let_go_.store(true, std::memory_order_release);  // pairs with the load in park_holding
  }
  /// For the scheduler's timers: poke(), but it returns the G that has to be made ready.
  g* expire() noexcept;
  /// For the scheduler: unpark(), but it returns the goroutine if that sleeps: it is the caller's
  /// to run. nullptr: nothing was done.
  g* take() noexcept;
  bool is_goroutine() const noexcept { return g_ != nullptr; }

  wait_reason why() const noexcept { return why_; }
  const void* on() const noexcept { return on_; }

 private:
  enum : std::uint32_t {
    running_state = 0,
    sleeping_state,
    leading_state,
    notified_state,
    poked_state
  };
  // A leader's thread id sits above the three bits of the state; the kernel's ids have 22 bits.
  static constexpr int tid_shift = 3;
  static constexpr std::uint32_t state_mask = 7;

  /// Takes it out of `sleeping`: true; or has it `poked` if it was to sleep next.
  bool poke_state() noexcept;
  park_result park_thread(std::int64_t deadline_ns) noexcept;
  park_result park_goroutine(std::int64_t deadline_ns) noexcept;
  void leave_goroutine() noexcept;
  machine* leave_from(machine* m, after todo) noexcept;
  void wait_for_let_go() const noexcept;
  void leave_goroutine_until(std::int64_t deadline_ns) noexcept;
  bool wait_attentively(std::int64_t deadline_ns, raised_error error) noexcept;

  std::atomic<std::uint32_t> state_{running_state};
  wait_reason why_;
  bool holding_ = false;  // (5); written before the lock is given up, read after it was taken
  std::atomic<bool> let_go_{false};
  g* const g_;
  const void* on_;
  void (*unlock_)(void* lock) noexcept;  // NOLINT: set by park_holding
  void* lock_;                           // NOLINT
};

}  // namespace sigrun::sched
