// SPDX-License-Identifier: Apache-2.0
//
// How a G stops and starts. A G that leaves goes straight to the next one of its P's queue when
// there is one, without a detour by g0: that is the whole cost of a switch.
#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/raise.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"

#include <sys/syscall.h>

#include <mutex>
#include <utility>

namespace sigrun::sched {
namespace {

// Every 64th switch goes by g0, which looks at the global queue, the timers and the network, so
// that a P whose queue never runs empty starves nobody. (Go takes 61.)
constexpr std::uint32_t fairness_mask = 63;

void mark(g* gp, g_state state) noexcept { gp->state.store(state, std::memory_order_relaxed); }

bool wants_look_around(const machine* m, const processor* p) noexcept {
  return m->detour || p->attention.load(std::memory_order_relaxed) ||
         (p->tick.load(std::memory_order_relaxed) & fairness_mask) == 0;
}

void start_running(machine* m, processor* p, g* gp) noexcept {
  m->current = gp;
  gp->state.store(g_state::running, std::memory_order_relaxed);
  p->tick.store(p->tick.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// Of a full ring a few go to the global queue, and `gp` after them.
[[gnu::noinline]] void queue_in_full(processor* p, g* gp) noexcept {
  do {
    g_list oldest;
    p->queue.take_oldest(oldest);
    if (oldest.empty()) continue;  // a thief made room
    oldest.push(gp);
    queue_global(oldest);
    return;
  } while (!p->queue.push(gp));
}

[[gnu::noinline]] void queue_without_p(g* gp) noexcept {
  g_list one;
  one.push(gp);
  queue_global(one);
}

// queue_here() with a P.
[[gnu::always_inline]] inline void queue_on(processor* p, g* gp, bool first) noexcept {
  if (first) {
    gp = p->queue.push_first(gp);
    if (gp == nullptr) return;
  }
  if (!p->queue.push(gp)) [[unlikely]]
    queue_in_full(p, gp);
}

[[gnu::noinline]] void finish_and_go_on(machine* m, g* ended) noexcept {
  finish(ended);
  // Not before: it may free what has ended.
  if (g* const joiner = std::exchange(m->joiner, nullptr)) queue_here(m, joiner, true);
}

[[gnu::noinline]] void requeue(g* gp) noexcept {
  queue_without_p(gp);
  wake_one();  // this M may be locked to a G and go to sleep
}

// land(), whose frequent cases are a few instructions.
[[gnu::always_inline]] inline void land_on(machine* m) noexcept {
  const after todo = m->todo;
  g* const left = m->left;
  m->todo = after::nothing;
  switch (todo) {
    case after::nothing:
      break;
    case after::park:
      // From here on wakers may start it; they have seen what it wrote, and its registers are
      // saved.
      if (!m->parking->commit()) {
        mark(left, g_state::runnable);
        queue_here(m, left, true);
      }
      break;
    case after::park_holding:
      m->parking->let_go();  // from here on its waker may start it
      break;
    case after::yield:
      queue_here(m, left, false);
      break;
    case after::requeue:
      requeue(left);
      break;
    case after::exit:
      finish_and_go_on(m, left);
      break;
  }
}

g* next_here(machine* m, g* gp) noexcept {
  processor* const p = m->p;
  if (p == nullptr || wants_look_around(m, p)) {
    m->joiner = gp;
    return nullptr;
  }
  if (gp == nullptr) gp = p->queue.pop();
  if (gp != nullptr && gp->locked != nullptr) [[unlikely]] {
    m->next_g = gp;  // g0 sees to it
    return nullptr;
  }
  return gp;
}

}  // namespace

machine* leave(machine* m, after todo, parker* parking, g* to) noexcept {
  g* const from = m->current;
  m->todo = todo;
  m->left = from;
  m->parking = parking;
  mark(from,
       todo == after::park || todo == after::park_holding ? g_state::waiting : g_state::runnable);
  to = next_here(m, to);
  if (to != nullptr) {
    start_running(m, m->p, to);
  } else {
    m->current = nullptr;
  }
  auto* const now = static_cast<machine*>(fiber::switch_to(
      from->fiber, to != nullptr ? to->fiber : m->g0,
      todo == after::exit ? fiber::leave::ends : fiber::leave::parks, m->words, m));
  land_on(now);
  return now;
}

void land(machine* m) noexcept { land_on(m); }

void run_one(machine* m, g* gp) noexcept {
  start_running(m, m->p, gp);
  fiber::switch_to(m->g0, gp->fiber, fiber::leave::parks, m->words, m);
  land(m);
}

void schedule_for_ever(machine* m) noexcept {
  for (;;) {
    if (m->locked != nullptr) stop_locked(m);
    g* gp = m->next_g;
    m->next_g = nullptr;
    if (gp == nullptr) gp = find_runnable(m);
    if (gp->locked != nullptr && gp->locked != m) {
      start_locked(m, gp);
    } else {
      run_one(m, gp);
    }
  }
}

void goroutine_main(void* gp, void* m) noexcept {
  auto* const self = static_cast<g*>(gp);
  fiber::arrived();
  land(static_cast<machine*>(m));
  leave_section(static_cast<machine*>(m));
  self->entry(self->closure);
  if (self->faults.held != nullptr) [[unlikely]]
    the_scheduler().end_of_faulting.load()();
  machine* const last = enter(current_machine());
  leave(last, after::exit, nullptr, take_joiner(self));
}

// ------------------------------------------------------------------------------- making runnable

void queue_global(g_list& list) noexcept {
  scheduler& s = the_scheduler();
  const std::lock_guard hold(s.lock);
  while (g* gp = list.pop()) s.global.push(gp);
  s.global_size.store(s.global.size());
}

void queue_here(machine* m, g* gp, bool first) noexcept {
  // Without a P: it has just been lost.
  m->p == nullptr ? queue_without_p(gp) : queue_on(m->p, gp, first);
}

namespace {

// Whether to wake another M for what m has just queued. A lone G is mostly run by this M as soon
// as the caller parks; when Ms that were woken for such have found nothing, they are spared for
// longer and longer, until one finds something again.
void wake_for(machine* m) noexcept {
  scheduler& s = the_scheduler();
  processor* const p = m->p;
  if (s.ready_ps() == 0) return;
  if (p->queue.ring_empty() && p->quiet_wakes < s.quiet_span.load(std::memory_order_relaxed)) {
    ++p->quiet_wakes;
    return;
  }
  p->quiet_wakes = 0;
  wake_one();
}

}  // namespace

void ready(g* gp) noexcept {
  mark(gp, g_state::runnable);
  machine* const m = current_machine();
  // First: in the wait for signals a P may be given to the M at any moment (signals.hpp (5)).
  if (m != nullptr && m->current == nullptr && m->gathers != nullptr) {
    m->gathers->push(gp);
    return;
  }
  if (m != nullptr) {
    const bool inside = m->busy.load(std::memory_order_relaxed) != 0;
    if (inside ? m->p != nullptr : try_enter(m)) {
      // What a G wakes runs next, in its stead. What g0 wakes, timers and the network, queues up.
      queue_on(m->p, gp, m->current != nullptr);
      if (!m->stepping) wake_for(m);
      if (!inside) leave_section(m);
      return;
    }
  }
  queue_without_p(gp);
  wake_one();
}

void ready_all(g_list& list) noexcept {
  while (g* gp = list.pop()) ready(gp);
}

// ------------------------------------------------------------------------------- for other modules

void set_end_of_faulting(void (*end)() noexcept) noexcept {
  the_scheduler().end_of_faulting.store(end);
}

g* current_g() noexcept { return g_on(current_machine()); }

bool on_goroutine() noexcept { return current_g() != nullptr; }

namespace {

bool is_due(const g& gp) noexcept {
  return (gp.raised.load(std::memory_order_relaxed) & raised_due) != 0;
}

}  // namespace

void yield() {
  machine* m = current_machine();
  const g* const self = g_on(m);
  if (self == nullptr) {
    sys::call(SYS_sched_yield);
    return;
  }
  m = enter(m);
  processor* const p = m->p;
  if (p->queue.empty() && !wants_look_around(m, p)) {
    p->tick.store(p->tick.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  } else {
    m = leave(m, after::yield, nullptr);
  }
  leave_section(m);
  if (is_due(*self)) [[unlikely]]
    run_raised(false);
}

void preempt_point() {
  machine* const m = current_machine();
  const g* const self = g_on(m);
  if (self == nullptr) return;
  // A look without a section: the worst is a P that has just been taken, and then lost says so.
  if (m->lost.load(std::memory_order_relaxed) == 0 && !m->wanted.load(std::memory_order_relaxed)) {
    if (is_due(*self)) [[unlikely]]
      run_raised(false);
    return;
  }
  if (self->deferrals.load(std::memory_order_relaxed) == 0) yield();
}

}  // namespace sigrun::sched
