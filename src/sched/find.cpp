// SPDX-License-Identifier: Apache-2.0
//
// What an M does when its queue is empty: looks everywhere, then sleeps in such a way that nothing
// that comes meanwhile is missed. (scheduler.hpp, the wake rule)
#include "base/pause.hpp"
#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sched/signals.hpp"
#include "sigsafe/intake.hpp"

#include <algorithm>
#include <mutex>

namespace sigrun::sched {
namespace {

constexpr int steal_rounds = 4;
constexpr int grace_pauses = 60;  // some microseconds: an owner about to run its first G keeps it
constexpr std::uint32_t quiet_span_max = 1024;

std::uint32_t next_random(std::uint32_t& state) noexcept {
  state ^= state << 13;  // Marsaglia's xorshift32
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

void pause_a_little() noexcept {
  for (int i = 0; i < grace_pauses; ++i) base::cpu_pause();
}

bool timers_due(const processor& p, std::int64_t& now) noexcept {
  const std::int64_t when = p.next_timer.load(std::memory_order_relaxed);
  if (when == sys::never) return false;
  if (now == 0) now = now_ns();
  return when <= now;
}

g* steal(machine* m) noexcept {
  scheduler& s = the_scheduler();
  processor& mine = *m->p;
  const int made = s.made.load(std::memory_order_acquire);
  for (int round = 0; round < steal_rounds; ++round) {
    const bool last = round == steal_rounds - 1;
    if (last) pause_a_little();
    const auto start = static_cast<int>(next_random(mine.random) % static_cast<unsigned>(made));
    for (int i = 0; i < made; ++i) {
      processor* const from = s.ps[(start + i) % made].load(std::memory_order_acquire);
      if (from == &mine) continue;
      std::int64_t now = 0;
      if (last && timers_due(*from, now)) {
        run_timers(*from, now);
        if (g* gp = mine.queue.pop()) return gp;
      }
      if (g* gp = from->queue.steal_into(mine.queue, last)) {
        count(mine.steals);
        return gp;
      }
    }
  }
  return nullptr;
}

void stop_spinning(machine* m, bool found) noexcept {
  scheduler& s = the_scheduler();
  m->spinning = false;
  const int before = s.spinning.fetch_sub(1);
  if (found) {
    s.quiet_span.store(0, std::memory_order_relaxed);
    // The last one to look has found something: where that was there may be more.
    if (before == 1) wake_one();
  } else {
    const std::uint32_t span = s.quiet_span.load(std::memory_order_relaxed);
    s.quiet_span.store(std::min(span * 2 + 8, quiet_span_max), std::memory_order_relaxed);
  }
}

// Everything that does not block, in Go's order.
g* look(machine* m) noexcept {
  scheduler& s = the_scheduler();
  processor& p = *m->p;
  std::int64_t now = 0;
  if (timers_due(p, now)) run_timers(p, now);
  if (const std::int64_t when = next_retired_timer(); when != sys::never) {
    if (now == 0) now = now_ns();
    if (when <= now) run_retired_timers(now);
  }
  // The fair turns (switch.cpp), in turn: what waits in this P's ring, and in the global queue.
  const std::uint32_t tick = p.tick.load(std::memory_order_relaxed);
  if ((tick & 127) == 0) {
    if (g* gp = p.queue.pop_ring()) return gp;
  }
  if ((tick & 63) == 0 && s.global_size.load() != 0) {
    if (g* gp = take_global(p, 1)) return gp;
  }
  if (g* gp = p.queue.pop()) return gp;
  if (s.global_size.load() != 0) {
    if (g* gp = take_global(p, 0)) return gp;
  }
  if (s.poller.registered() != 0 && s.poll_until.load() == 0 && poll_now() != 0) {
    if (g* gp = p.queue.pop()) return gp;
  }
  const int busy = s.procs.load() - s.ready_ps();
  if (!m->spinning && 2 * s.spinning.load() < busy) {
    m->spinning = true;
    s.spinning.fetch_add(1);
  }
  return m->spinning ? steal(m) : nullptr;
}

bool work_anywhere() noexcept {
  scheduler& s = the_scheduler();
  if (s.global_size.load() != 0) return true;
  std::int64_t now = 0;
  for (int i = 0; i < s.made.load(); ++i) {
    processor* const p = s.ps[i].load(std::memory_order_acquire);
    if (p != nullptr && (!p->queue.empty() || timers_due(*p, now))) return true;
  }
  return false;
}

// Gives the P back, unless the global queue has something after all.
g* release_p(machine* m) noexcept {
  scheduler& s = the_scheduler();
  const std::lock_guard hold(s.lock);
  if (g* gp = s.global.pop()) {
    s.global_size.store(s.global.size());
    return gp;
  }
  push_idle(unbind(m));
  return nullptr;
}

}  // namespace

bool take_idle_p(machine* m) noexcept {
  const std::lock_guard hold(the_scheduler().lock);
  if (m->p != nullptr) return true;
  processor* const p = pop_idle();
  if (p == nullptr) return false;
  bind(m, p);
  return true;
}

bool sleep_in_poller(machine* m) noexcept {
  scheduler& s = the_scheduler();
  if (s.poller.registered() == 0 && next_timer_of_all() == sys::never) return false;
  {
    const std::lock_guard hold(s.lock);
    if (s.in_poller) return false;
    s.in_poller = true;
    s.polling = m;
    m->resting = true;
  }
  leave_signals(m);
  s.poll_until.store(sys::never);
  const std::int64_t until = next_timer_of_all();  // scheduler.hpp (3)
  s.poll_until.store(until);
  const std::int64_t now = now_ns();
  s.coarse_ns.store(now, std::memory_order_relaxed);
  const std::int64_t wait = until == sys::never ? -1 : std::max<std::int64_t>(until - now, 0);
  void* room[poll::poller::ready_max];
  poll::ready_list ready(room);
  s.poller.wait(wait, ready);
  s.poll_until.store(0);
  s.polls.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard hold(s.lock);
    if (s.polling == m) s.polling = nullptr;
    s.in_poller = false;
    m->resting = false;
  }
  s.last_poll_ns.store(now_ns(), std::memory_order_relaxed);
  // With a P they go to its queue, without one to the global queue, which somebody serves.
  if (!ready.empty()) take_idle_p(m);
  for (void* waiter : ready) static_cast<parker*>(waiter)->unpark();
  return true;
}

namespace {

// run_queue.hpp (3). A thief has a P of his own, so when no other P has an M there is none; and
// with max_procs 1 no other P is given out any more (one on its way to an M is retired at once).
void share_queue(processor& p) noexcept {
  scheduler& s = the_scheduler();
  const bool alone = s.procs.load() == 1;
  if (p.queue.shared() != alone) return;
  if (!alone) {
    p.queue.set_shared(true);
    return;
  }
  const std::lock_guard hold(s.lock);
  if (s.procs.load() != 1) return;
  for (int i = 0; i < s.made.load(); ++i) {
    const processor* const other = s.ps[i].load();
    if (other != &p && other->m != nullptr) return;
  }
  p.queue.set_shared(false);
}

}  // namespace

g* take_global(processor& p, int max) noexcept {
  scheduler& s = the_scheduler();
  g_list batch;
  {
    const std::lock_guard hold(s.lock);
    // A fair share, and no more than half a ring, which has room because it is nearly empty.
    int n = s.global.size() / std::max(s.procs.load(), 1) + 1;
    if (max > 0) n = std::min(n, max);
    n = std::min<int>(n, run_queue::room / 2);
    for (; n > 0; --n) {
      g* const gp = s.global.pop();
      if (gp == nullptr) break;
      batch.push(gp);
    }
    s.global_size.store(s.global.size());
  }
  g* const first = batch.pop();
  g_list left_over;
  while (g* gp = batch.pop()) {
    if (!p.queue.push(gp)) left_over.push(gp);
  }
  if (!left_over.empty()) queue_global(left_over);
  return first;
}

int poll_now() noexcept {
  scheduler& s = the_scheduler();
  void* room[poll::poller::ready_max];
  poll::ready_list ready(room);
  s.poller.wait(0, ready);
  s.last_poll_ns.store(now_ns(), std::memory_order_relaxed);
  s.polls.fetch_add(1, std::memory_order_relaxed);
  int n = 0;
  for (void* waiter : ready) {
    static_cast<parker*>(waiter)->unpark();
    ++n;
  }
  return n;
}

void wake_one() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // scheduler.hpp (1)
  wake_one_ordered();
}

void wake_one_ordered() noexcept {
  scheduler& s = the_scheduler();
  if (s.idle_count.load() == 0) return;
  int none = 0;
  if (s.spinning.load() != 0 || !s.spinning.compare_exchange_strong(none, 1)) return;
  s.wakes.fetch_add(1, std::memory_order_relaxed);
  start_machine(nullptr, true);
}

namespace {

bool has_signal_news(const machine& m) noexcept {
  return sigsafe::has_news() || m.gsignal.own_news.load(std::memory_order_relaxed);
}

}  // namespace

g* find_runnable(machine* m) noexcept {
  for (;;) {
    if (m->p == nullptr) {
      if (has_signal_news(*m)) look_at_signals(m);
      if (!take_idle_p(m)) go_idle_without_p(m);
      continue;
    }
    processor* const p = m->p;
    if (p->id >= the_scheduler().procs.load()) {
      retire(m);
      continue;
    }
    p->attention.store(false, std::memory_order_relaxed);
    m->wanted.store(false, std::memory_order_relaxed);
    preempt_served(*m);
    share_queue(*p);
    if (has_signal_news(*m)) look_at_signals(m);
    g* gp = look(m);
    if (gp == nullptr) gp = release_p(m);
    if (gp != nullptr) {
      if (m->spinning) stop_spinning(m, true);
      return gp;
    }
    const bool was_spinning = m->spinning;
    if (was_spinning) stop_spinning(m, false);
    // The P counts as idle now: what is queued from here on wakes somebody. What was queued before
    // is seen here.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (work_anywhere()) {
      if (take_idle_p(m) && was_spinning) {
        m->spinning = true;
        the_scheduler().spinning.fetch_add(1);
      }
      continue;
    }
    go_idle(m);
  }
}

}  // namespace sigrun::sched
