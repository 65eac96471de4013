// SPDX-License-Identifier: Apache-2.0
//
// Each P keeps the timers that were started on it, under a lock of their own, since any M may stop
// one, and any idle M fires those of a P that is busy.
#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"

#include <algorithm>
#include <mutex>

namespace sigrun::sched {
namespace {

processor& home_for_new_timer() noexcept {
  machine* const m = current_machine();
  if (m != nullptr) {
    const bool inside = m->busy.load(std::memory_order_relaxed) != 0;
    if (inside ? m->p != nullptr : try_enter(m)) {
      processor* const p = m->p;
      if (!inside) leave_section(m);
      return *p;  // it may change hands now: its timers have their own lock
    }
  }
  return *the_scheduler().ps[0].load(std::memory_order_acquire);
}

}  // namespace

void timer_start(sched_timer& timer, std::int64_t when_ns) noexcept {
  processor& p = home_for_new_timer();
  {
    const std::lock_guard hold(p.timers_lock);
    timer.home = &p;
    p.timers.add(timer, when_ns);
    p.next_timer.store(p.timers.next(), std::memory_order_release);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // scheduler.hpp (3), and (1)
  break_poll_before(when_ns);
  // Nobody may be awake to see it: the caller is a plain thread, or an M that has lost its P.
  if (the_scheduler().poll_until.load() == 0) wake_one_ordered();
}

bool timer_stop(sched_timer& timer) noexcept {
  if (timer.home == nullptr) return false;
  processor& p = *timer.home;
  const std::lock_guard hold(p.timers_lock);
  const bool removed = p.timers.remove(timer);
  // next_timer may be too early now, and somebody wakes for nothing: cheaper than to look.
  if (removed && p.timers.size() == 0) p.next_timer.store(sys::never, std::memory_order_release);
  return removed;
}

std::int64_t run_timers(processor& p, std::int64_t now_ns) noexcept {
  g_list woken;
  std::int64_t next = sys::never;
  for (bool more = true; more;) {
    void (*fire)(sched_timer&) noexcept = nullptr;
    sched_timer* due = nullptr;
    {
      const std::lock_guard hold(p.timers_lock);
      while (fire == nullptr && more) {
        due = static_cast<sched_timer*>(p.timers.pop_expired(now_ns));
        if (due == nullptr) {
          next = p.timers.next();
          p.next_timer.store(next);
          more = next <= now_ns;
          break;
        }
        count(p.timers_fired);
        if (due->sleeper == nullptr) {
          fire = due->fire;
        } else if (g* gp = due->sleeper->expire()) {
          // Under the lock, so that a sleeper whose timer_stop() returns may go away. What expire()
          // returned cannot go away before it is made ready.
          woken.push(gp);
        }
      }
    }
    if (fire != nullptr) fire(*due);
  }
  ready_all(woken);
  return next;
}

std::int64_t next_retired_timer() noexcept {
  scheduler& s = the_scheduler();
  const int made = s.made.load(std::memory_order_acquire);
  std::int64_t earliest = sys::never;
  for (int i = s.procs.load(std::memory_order_relaxed); i < made; ++i) {
    processor* const p = s.ps[i].load(std::memory_order_acquire);
    earliest = std::min(earliest, p->next_timer.load(std::memory_order_relaxed));
  }
  return earliest;
}

void run_retired_timers(std::int64_t now_ns) noexcept {
  scheduler& s = the_scheduler();
  const int made = s.made.load(std::memory_order_acquire);
  for (int i = s.procs.load(std::memory_order_relaxed); i < made; ++i) {
    processor* const p = s.ps[i].load(std::memory_order_acquire);
    if (p->next_timer.load(std::memory_order_relaxed) <= now_ns) run_timers(*p, now_ns);
  }
}

std::int64_t next_timer_of_all() noexcept {
  scheduler& s = the_scheduler();
  std::int64_t earliest = sys::never;
  for (int i = 0; i < s.made.load(); ++i) {
    if (processor* p = s.ps[i].load(std::memory_order_acquire)) {
      earliest = std::min(earliest, p->next_timer.load());
    }
  }
  return earliest;
}

void break_poll_before(std::int64_t when_ns) noexcept {
  scheduler& s = the_scheduler();
  const std::int64_t until = s.poll_until.load();  // scheduler.hpp (3)
  if (until != 0 && when_ns < until) s.poller.wake();
}

}  // namespace sigrun::sched
