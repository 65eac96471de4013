// SPDX-License-Identifier: Apache-2.0
//
// sysmon: a thread without a P that looks after those which have one.
//
//   - takes the P of a G that has run for 10 ms, having asked it first, by a signal where that can
//     stop it (preempt.hpp), and of one that has been in a foreign call for 20 microseconds, when
//     there is work for it;
//   - polls the network when nobody has for 10 ms;
//   - sleeps 20 microseconds between looks, after 1 ms of nothing twice as long each time, up to
//     10 ms (1 ms while somebody waits for a P), but not past the end of a slice. While all Ps are
//     idle it is half a millisecond soon, so that a process that does a little now and then is not
//     disturbed; and after 100 ms of that a futex, until an M takes a P.
#include "sched/clock.hpp"
#include "sched/deadlock.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sched/signals.hpp"
#include "sys/futex.hpp"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace sigrun::sched {
namespace {

constexpr std::int64_t us = 1'000;
constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t first_delay = 20 * us;
constexpr std::int64_t longest_delay = 10 * ms;
constexpr std::int64_t longest_delay_with_waiters = 1 * ms;
constexpr std::int64_t longest_delay_idle = signal_patience;  // so that no signal need ring
constexpr std::int64_t idle_before_sleep = 100 * ms;
constexpr std::int64_t slice = 10 * ms;
constexpr std::int64_t patience = 300 * us;  // for the answer to a signal; preempt.hpp (5)
constexpr int quick_looks = 50;              // 1 ms

// Faults, the profiler and glibc's two: nothing else is sysmon's business.
constexpr auto left_open =
    signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF, 32, 33);

void (*report_deadlock)() = nullptr;

bool somebody_waits(const processor& p, std::int64_t now) noexcept {
  return !p.queue.empty() || the_scheduler().global_size.load() != 0 ||
         p.next_timer.load() <= now || next_retired_timer() <= now;
}

// machine.hpp (1) and (2): the P, when its M is in user code; nullptr when it is in a section.
processor* take_from(machine* m) noexcept {
  m->lost.store(1);
  sys::call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  if (m->busy.load(std::memory_order_acquire) != 0) {
    m->lost.store(0);
    return nullptr;
  }
  return unbind(m);  // lost stays 1: it tells the M
}

enum class verdict { nothing, ask, stop, take };

// Under the lock: the G has had its slice, and its P is needed.
verdict insist(processor& p, const machine& m, std::int64_t now) noexcept {
  if (!preempts_anywhere() || m.tid == 0) return verdict::take;
  if (p.asked_tick != p.seen_tick) {
    p.asked_tick = p.seen_tick;
    p.asked_ns = now;
    return verdict::stop;
  }
  if (now - p.asked_ns >= patience) return verdict::take;
  switch (m.preempt.load()) {
    case preempt_state::asked:
    case preempt_state::injected:
      return verdict::nothing;
    case preempt_state::outside:
      return verdict::stop;
    default:
      return verdict::take;
  }
}

// Under the lock.
verdict judge(processor& p, machine& m, std::int64_t now) noexcept {
  const std::uint32_t tick = p.tick.load(std::memory_order_relaxed);
  const bool foreign = m.foreign.load(std::memory_order_acquire) != 0;
  const std::uint32_t calls = m.foreign_calls.load(std::memory_order_relaxed);
  if (tick != p.seen_tick || calls != m.seen_foreign) {
    p.seen_tick = tick;
    m.seen_foreign = calls;
    p.seen_ns = now;
    return verdict::nothing;
  }
  const std::int64_t same_for = now - p.seen_ns;
  if (foreign) {
    // Nobody needs the P: it may keep it a little, so that its return is quick.
    const bool needed = somebody_waits(p, now) || the_scheduler().ready_ps() == 0;
    return same_for >= (needed ? first_delay : slice) ? verdict::take : verdict::nothing;
  }
  if (same_for < slice) return verdict::nothing;
  const bool retired = p.id >= the_scheduler().procs.load();
  return retired || somebody_waits(p, now) ? insist(p, m, now) : verdict::ask;
}

struct round {
  bool did = false;                   // took or gave something
  bool waiters = false;               // somebody waits for a P
  bool idle = true;                   // no M has a P
  std::int64_t next_ns = sys::never;  // when a slice ends, or a timer whose P is in use beyond it
};

// When there will be a reason to look at p, as far as that is known.
std::int64_t next_look_at(const processor& p, std::int64_t now) noexcept {
  const std::int64_t slice_ends = p.seen_ns + slice;
  if (slice_ends > now) return slice_ends;
  const std::int64_t timer = p.next_timer.load(std::memory_order_relaxed);
  return timer > now ? timer : sys::never;
}

void look_at(processor& p, std::int64_t now, round& result) noexcept {
  scheduler& s = the_scheduler();
  processor* taken = nullptr;
  machine* asked = nullptr;
  machine* without = nullptr;
  {
    const std::lock_guard hold(s.lock);
    machine* const m = p.m;
    if (m == nullptr) return;
    result.idle = false;
    result.waiters = result.waiters || somebody_waits(p, now);
    const verdict what = judge(p, *m, now);
    result.next_ns = std::min(result.next_ns, next_look_at(p, now));
    if (what == verdict::nothing) return;
    const bool foreign = m->foreign.load(std::memory_order_relaxed) != 0;
    if (!foreign) {
      p.attention.store(true, std::memory_order_relaxed);
      m->wanted.store(true, std::memory_order_relaxed);
      s.preempt_requests.fetch_add(1, std::memory_order_relaxed);
    }
    if (what == verdict::take && (taken = take_from(m)) != nullptr) {
      (foreign ? s.foreign_retakes : s.handoffs).fetch_add(1, std::memory_order_relaxed);
      if (!foreign) without = m;
    }
    if (what == verdict::stop) asked = m;
  }
  if (asked != nullptr) {  // Ms are never freed
    if (sleeps_in_kernel(*asked)) {
      p.asked_ns = now - patience;  // at the next look the P is taken
    } else {
      ask(*asked);
    }
    result.did = true;  // the answer is there soon
  }
  if (taken == nullptr) return;
  if (without != nullptr && preempts_anywhere()) ask_later(*without, now);
  result.did = true;
  taken->seen_ns = now;
  hand_off(taken);
}

// Work that lies on an idle P, or before no P at all: an M could not be made, or was not woken for
// a lone G (switch.cpp).
void rescue(std::int64_t now, round& result) noexcept {
  scheduler& s = the_scheduler();
  if (s.ready_ps() == 0 || s.spinning.load() != 0) return;
  bool waiting = s.global_size.load() != 0;
  for (int i = 0; i < s.made.load() && !waiting; ++i) {
    const processor* const p = s.ps[i].load(std::memory_order_acquire);
    waiting = p != nullptr && (!p->queue.empty() || p->next_timer.load() <= now);
  }
  if (!waiting) return;
  result.did = true;
  result.waiters = true;
  wake_one();
}

bool poll_is_overdue(std::int64_t now) noexcept {
  scheduler& s = the_scheduler();
  return s.poll_until.load() == 0 && s.poller.registered() != 0 &&
         now - s.last_poll_ns.load(std::memory_order_relaxed) > slice;
}

// Until then, or until somebody rings.
void sleep_for(std::int64_t delay) noexcept {
  scheduler& s = the_scheduler();
  const std::int64_t until = sys::now_ns() + delay;
  s.sysmon_until.store(until);
  const sys::timespec64 deadline = sys::to_timespec(until);
  if (s.sysmon_bell.load() == 0) sys::futex_wait(s.sysmon_bell, 0, &deadline);
  s.sysmon_bell.store(0);
}

// free_gs.hpp (3)
void give_back_memory() noexcept {
  scheduler& s = the_scheduler();
  for (bool more = true; more;) {
    free_gs taken;
    {
      const std::lock_guard hold(s.lock);
      processor* p = s.idle_ps;
      while (p != nullptr && p->free.empty()) p = p->next_idle;
      more = p != nullptr;
      if (more) taken = std::exchange(p->free, {});
    }
    give_to_depot(taken.full);
    give_to_depot(taken.filling);
  }
  trim_depot();
}

void sleep_while_idle() noexcept {
  scheduler& s = the_scheduler();
  s.sysmon_asleep.store(1);
  {
    const std::lock_guard hold(s.lock);  // bind() looks under it
    if (s.idle_count.load() < s.procs.load()) {
      s.sysmon_asleep.store(0);
      return;
    }
  }
  // The last look: with sysmon asleep nobody would come to the rescue.
  if (s.poll_until.load() == 0 &&
      (s.poller.registered() != 0 || next_timer_of_all() != sys::never)) {
    wake_one();
    s.sysmon_asleep.store(0);
    return;
  }
  give_back_memory();
  s.sysmon_until.store(sys::never);
  while (s.sysmon_asleep.load() != 0) sys::futex_wait(s.sysmon_asleep, 1);
}

void* sysmon_main(void*) noexcept {
  scheduler& s = the_scheduler();
  std::int64_t delay = first_delay;
  int quiet = 0;
  std::int64_t idle_since = sys::never;
  for (;;) {
    sleep_for(delay);
    const std::int64_t now = now_ns();
    s.coarse_ns.store(now, std::memory_order_relaxed);
    count(s.sysmon_looks);
    round result;
    for (int i = 0; i < s.made.load(); ++i) {
      if (processor* p = s.ps[i].load(std::memory_order_acquire)) look_at(*p, now, result);
    }
    if (poll_is_overdue(now) && poll_now() != 0) result.did = true;
    rescue(now, result);
    ask_again(now);
    watch_signals();

    quiet = result.did ? 0 : quiet + 1;
    if (result.idle) {  // nothing to take from anybody
      delay = std::min(delay * 2, longest_delay_idle);
    } else {
      delay = quiet < quick_looks ? first_delay : std::min(delay * 2, longest_delay);
    }
    if (result.waiters) delay = std::min(delay, longest_delay_with_waiters);
    if (signals_need_watch()) delay = std::min(delay, signal_patience);
    // A slice that ends in the middle of a long sleep would be that much longer.
    if (result.next_ns - now < delay) delay = std::max(result.next_ns - now, first_delay);
    idle_since = result.idle ? std::min(idle_since, now) : sys::never;
    if (now - idle_since < idle_before_sleep) continue;
    if (report_deadlock != nullptr && all_asleep_for_ever()) report_deadlock();
    sleep_while_idle();
    idle_since = sys::never;
    quiet = 0;
    delay = first_delay;
  }
}

}  // namespace

void set_deadlock_report(void (*report)()) noexcept { report_deadlock = report; }

void wake_sysmon() noexcept {
  scheduler& s = the_scheduler();
  if (s.sysmon_asleep.exchange(0) != 0) sys::futex_wake(s.sysmon_asleep, 1);
}

long start_sysmon() noexcept {
  const long known = sys::call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
  the_scheduler().asymmetric.store(!sys::failed(known));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_t thread;
  // No signal is sysmon's business. The threads that it makes have the mask they should have. What
  // the program was started with blocked stays blocked here as well, glibc's two apart.
  const signal_set inherited = signal_set{the_scheduler().thread_mask.load()};
  const signal_set open = left_open - (inherited - signal_set::of(32, 33));
  const signal_set before = sys::exchange_mask(signal_set::all() - open);
  const int error = pthread_create(&thread, &attributes, &sysmon_main, nullptr);
  sys::set_mask(before);
  pthread_attr_destroy(&attributes);
  if (error != 0) return -error;
  pthread_setname_np(thread, "sigrun-sysmon");
  return 0;
}

}  // namespace sigrun::sched
