// SPDX-License-Identifier: Apache-2.0
#include "sched/park.hpp"

#include "base/expect.hpp"
#include "base/pause.hpp"
#include "sched/clock.hpp"
#include "sched/raise.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sigsafe/control.hpp"
#include "sys/clock.hpp"
#include "sys/futex.hpp"
#include "sys/signal.hpp"

#include <sys/syscall.h>

#include <cerrno>
#include <exception>

namespace sigrun::sched {
namespace {

// The M that was left has a few instructions to go, unless the kernel took the CPU from it there.
constexpr int let_go_spins = 100;

}  // namespace

bool parker::park_until(std::int64_t deadline_ns) noexcept {
  for (;;) {
    const park_result result = park(deadline_ns);
    if (result != park_result::poked) return result == park_result::notified;
  }
}

namespace {

bool is_attentive(const g* gp) noexcept {
  return gp != nullptr && (gp->raised.load(std::memory_order_relaxed) & raised_attentive) != 0;
}

}  // namespace

bool parker::wait_until(std::int64_t deadline_ns, raised_error error) noexcept {
  return is_attentive(g_) ? wait_attentively(deadline_ns, error) : park_until(deadline_ns);
}

// Handlers run between two parks, while the parker is where its waker finds it. raise.hpp (4)
[[gnu::noinline]] bool parker::wait_attentively(std::int64_t deadline_ns,
                                                raised_error error) noexcept {
  inbox& mail = *g_->mail.load(std::memory_order_relaxed);
  // What may not be thrown now must not end the wait.
  if (std::uncaught_exceptions() != 0) error = raised_error::kept;
  for (;;) {
    if (notified()) return true;
    if (error == raised_error::ends_wait && mail.has_error()) return false;
    if (!mail.begin_wait(*this)) {
      run_raised(true);
      continue;
    }
    const park_result result = park(deadline_ns);
    mail.end_wait();
    if (result != park_result::poked) return result == park_result::notified;
  }
}

park_result parker::park(std::int64_t deadline_ns) noexcept {
  return g_ != nullptr ? park_goroutine(deadline_ns) : park_thread(deadline_ns);
}

// Stops the goroutine until somebody makes it ready. Within a section.
[[gnu::always_inline]] inline machine* parker::leave_from(machine* m, after todo) noexcept {
  g* const gp = g_;
  gp->why.store(why_, std::memory_order_relaxed);
  gp->on.store(on_, std::memory_order_relaxed);
  gp->since_ns.store(the_scheduler().coarse_ns.load(std::memory_order_relaxed),
                     std::memory_order_relaxed);
  return leave(m, todo, this);
}

void parker::leave_goroutine() noexcept {
  leave_section(leave_from(enter(current_machine()), after::park));
}

bool parker::park_holding(void (*unlock)(void* lock) noexcept, void* lock) noexcept {
  if (g_ == nullptr || is_attentive(g_)) return false;
  machine* const m = current_machine();
  // To wait for a P with the lock held would stop those who wait for the lock on their threads.
  if (!try_enter(m)) return false;
  base::expect(m->current == g_, "parker: parked by another goroutine than made it");
  holding_ = true;
  unlock_ = unlock;
  lock_ = lock;
  leave_section(leave_from(m, after::park_holding));
  if (!let_go_.load(std::memory_order_acquire)) wait_for_let_go();
  return true;
}

[[gnu::noinline, gnu::cold]] void parker::wait_for_let_go() const noexcept {
  for (int i = 0; !let_go_.load(std::memory_order_acquire); ++i) {
    i < let_go_spins ? base::cpu_pause() : static_cast<void>(sys::call(SYS_sched_yield));
  }
}

// Not inlined: the timer would be on the stack of every parked goroutine.
[[gnu::noinline]] void parker::leave_goroutine_until(std::int64_t deadline_ns) noexcept {
  sched_timer timer;
  timer.sleeper = this;
  timer_start(timer, deadline_ns);
  leave_goroutine();
  timer_stop(timer);
}

park_result parker::park_goroutine(std::int64_t deadline_ns) noexcept {
  std::uint32_t seen = state_.load(std::memory_order_acquire);
  base::expect(current_g() == g_, "parker: parked by another goroutine than made it");
  if (seen == running_state) {
    if (deadline_ns == sys::never) {
      leave_goroutine();
    } else {
      if (deadline_ns <= now_ns()) return park_result::timeout;
      leave_goroutine_until(deadline_ns);
    }
    seen = state_.load(std::memory_order_acquire);  // pairs with the exchange in unpark
  }
  if (seen == poked_state &&
      !state_.compare_exchange_strong(seen, running_state, std::memory_order_acquire)) {
    return park_result::notified;
  }
  if (seen == notified_state) return park_result::notified;
  return deadline_ns != sys::never && now_ns() >= deadline_ns ? park_result::timeout
                                                              : park_result::poked;
}

// `running` may be on its way to `sleeping`, between any two looks of ours, so the last look is the
// exchange itself. The owner's next step needs the poke, or is the parker's end.
bool parker::poke_state() noexcept {
  std::uint32_t seen = sleeping_state;
  for (;;) {
    if (seen != sleeping_state && seen != running_state) return false;
    const bool asleep = seen == sleeping_state;
    if (state_.compare_exchange_strong(seen, asleep ? running_state : poked_state)) return asleep;
  }
}

g* parker::expire() noexcept { return poke_state() ? g_ : nullptr; }

g* parker::take() noexcept {
  if (g_ == nullptr) return nullptr;
  g* const gp = g_;
  if (holding_) return gp;  // (5)
  std::uint32_t seen = sleeping_state;
  return state_.compare_exchange_strong(seen, notified_state, std::memory_order_acq_rel) ? gp
                                                                                         : nullptr;
}

park_result parker::park_thread(std::int64_t deadline_ns) noexcept {
  std::uint32_t seen = running_state;
  // acquire: pairs with the exchange in unpark, so that what the waker wrote before is visible.
  if (!state_.compare_exchange_strong(seen, sleeping_state, std::memory_order_acquire)) {
    if (seen == poked_state &&
        state_.compare_exchange_strong(seen, running_state, std::memory_order_acquire)) {
      return park_result::poked;
    }
    base::expect(seen == notified_state, "parker: parked twice");
    return park_result::notified;
  }
  const sys::timespec64 at = sys::to_timespec(deadline_ns);
  const sys::timespec64* deadline = deadline_ns == sys::never ? nullptr : &at;
  for (;;) {
    const long result = sys::futex_wait(state_, sleeping_state, deadline);
    seen = state_.load(std::memory_order_acquire);
    if (seen == notified_state) return park_result::notified;
    if (seen == running_state) return park_result::poked;
    if (result != -ETIMEDOUT) continue;  // spurious, or a handler ran
    seen = sleeping_state;
    // (1) holds: a wake that slipped in between makes this fail, and is not a time-out.
    if (state_.compare_exchange_strong(seen, running_state, std::memory_order_acquire)) {
      return park_result::timeout;
    }
    return seen == notified_state ? park_result::notified : park_result::poked;
  }
}

void parker::poke() noexcept {
  if (g_ != nullptr) {
    if (g* const gp = expire()) ready(gp);
    return;
  }
  if (poke_state()) sys::futex_wake(state_, 1);
}

void parker::unpark() noexcept {
  const std::atomic<std::uint32_t>& word = state_;  // (2): only its address is used below
  g* const gp = g_;
  if (holding_) return ready(gp);  // (5)
  const std::uint32_t before = state_.exchange(notified_state, std::memory_order_acq_rel);
  if (before == sleeping_state) {
    if (gp != nullptr) {
      ready(gp);
    } else {
      sys::futex_wake(word, 1);
    }
  } else if ((before & state_mask) == leading_state) {
    siginfo_t info{};
    info.si_signo = sigsafe::control_signal;
    info.si_code = sigsafe::control_code;
    info.si_pid = sys::getpid();
    // ESRCH cannot matter: the thread has then seen `notified` and is gone.
    sys::rt_tgsigqueueinfo(info.si_pid, static_cast<int>(before >> tid_shift),
                           sigsafe::control_signal, &info);
  }
}

bool parker::begin_leading(int tid) noexcept {
  std::uint32_t seen = running_state;
  const std::uint32_t leading = leading_state | static_cast<std::uint32_t>(tid) << tid_shift;
  if (state_.compare_exchange_strong(seen, leading, std::memory_order_acq_rel)) return true;
  if (seen == poked_state &&
      state_.compare_exchange_strong(seen, leading, std::memory_order_acq_rel)) {
    return true;
  }
  base::expect(seen == notified_state, "parker: led while it was parked");
  return false;
}

bool parker::end_leading() noexcept {
  std::uint32_t seen = state_.load(std::memory_order_acquire);
  if (seen != notified_state &&
      state_.compare_exchange_strong(seen, running_state, std::memory_order_acq_rel)) {
    return false;
  }
  base::expect(seen == notified_state, "parker: changed while it led");
  return true;
}

}  // namespace sigrun::sched
