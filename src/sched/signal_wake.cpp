// SPDX-License-Identifier: Apache-2.0
//
// In a handler, or on any thread that queues an event: who is to look at it? See signals.hpp (2).
#include "sched/scheduler.hpp"
#include "sched/signals.hpp"
#include "sys/futex.hpp"

namespace sigrun::sched {
namespace {

// The next scheduling point of the M that has the signals open goes by g0.
SIGRUN_HANDLER_ONLY void ask_holder(machine& m) noexcept {
  m.wanted.store(true, std::memory_order_relaxed);
  if (processor* const p = m.p) p->attention.store(true, std::memory_order_relaxed);
}

}  // namespace

void ring_sysmon() noexcept {
  scheduler& s = the_scheduler();
  if (s.sysmon_bell.exchange(1) == 0) {
    s.sysmon_rings.fetch_add(1, std::memory_order_relaxed);
    sys::futex_wake(s.sysmon_bell, 1);
  }
  if (s.sysmon_asleep.exchange(0) != 0) sys::futex_wake(s.sysmon_asleep, 1);
}

void signal_was_sent_to(int tid) noexcept {
  for (machine* m = __atomic_load_n(&the_scheduler().all_ms, __ATOMIC_ACQUIRE); m != nullptr;
       m = m->next) {
    if (m->gsignal.tid.load() != tid) continue;
    m->gsignal.own_news.store(true);
    ask_holder(*m);
    std::uint32_t asleep = machine::asleep;
    if (m->wake.compare_exchange_strong(asleep, machine::look)) sys::futex_wake(m->wake, 1);
    // It may be the one that sleeps there; another one just looks around.
    if (the_scheduler().poll_until.load() != 0) the_scheduler().poller.wake();
    return;
  }
}

void find_idle_for_signal() noexcept {
  scheduler& s = the_scheduler();
  if (machine* const m = s.at_large.load()) ask_holder(*m);
  // Without a P an M could dispatch, and nobody could run what that makes ready.
  if (s.idle_count.load() != 0) {
    if (machine* const idle = s.sleeper.load()) {
      std::uint32_t asleep = machine::asleep;
      if (idle->wake.compare_exchange_strong(asleep, machine::look)) {
        s.signal_wakes.fetch_add(1, std::memory_order_relaxed);
        sys::futex_wake(idle->wake, 1);
        return;
      }
    }
    if (s.poll_until.load() != 0) {
      s.signal_breaks.fetch_add(1, std::memory_order_relaxed);
      s.poller.wake();
      return;
    }
  }
  // sysmon may be in the midst of a sleep that is longer than the news may wait.
  if (s.sysmon_until.load() - sys::now_ns() > signal_patience) ring_sysmon();
}

}  // namespace sigrun::sched
