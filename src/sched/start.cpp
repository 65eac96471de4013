// SPDX-License-Identifier: Apache-2.0
//
// The start, the number of Ps, and the figures.
#include "base/expect.hpp"
#include "sched/clock.hpp"
#include "sched/overflow.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sigsafe/original.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <new>

namespace sigrun::sched {
namespace {

constinit sys::short_lock starting;
constinit bool sysmon_runs = false;  // under starting

int cpus_we_may_use() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int wished_procs() noexcept {
  if (const char* text = std::getenv("SIGRUN_MAX_PROCS")) {
    const int n = std::atoi(text);
    if (n > 0) return std::min(n, procs_limit);
  }
  return std::min(cpus_we_may_use(), procs_limit);
}

// Under the lock: takes those above the number out of the idle list.
void sort_out_idle() noexcept {
  processor* list = nullptr;
  while (processor* p = pop_idle()) {
    p->next_idle = list;
    list = p;
  }
  while (list != nullptr) {
    processor* const p = list;
    list = p->next_idle;
    push_idle(p);
  }
}

}  // namespace

bool make_ps_up_to(int n) noexcept {
  scheduler& s = the_scheduler();
  for (int i = s.made.load(); i < n; ++i) {
    auto* const p = new (std::nothrow) processor;
    if (p == nullptr) return false;
    p->id = i;
    p->random = static_cast<std::uint32_t>(i) * 2654435761U + 1;
    // The only P there is has nobody to share with; see run_queue.hpp (3).
    p->queue.set_shared(n > 1);
    s.ps[i].store(p, std::memory_order_release);
    s.made.store(i + 1, std::memory_order_release);
  }
  return true;
}

long start() noexcept {
  scheduler& s = the_scheduler();
  if (s.started.load(std::memory_order_acquire)) return 0;
  const std::lock_guard once(starting);
  if (s.started.load()) return 0;
  s.coarse_ns.store(now_ns());
  s.thread_mask.store(sigsafe::original_thread_mask(sys::current_mask()).bits());
  if (!s.poller.is_open()) {
    if (const long error = s.poller.open(); error < 0) return error;
  }
  if (s.procs.load() == 0) {
    const std::lock_guard hold(s.lock);
    const int n = wished_procs();
    if (!make_ps_up_to(n)) return -ENOMEM;
    s.procs.store(n);
    for (int i = n; i-- > 0;) push_idle(s.ps[i].load());
  }
  if (!sysmon_runs) {
    if (const long error = start_sysmon(); error < 0) return error;
    sysmon_runs = true;
  }
  report_overflows();
  prepare_preemption();
  // The first M, so that whoever starts us hears of a thread limit.
  s.spinning.fetch_add(1);
  if (!start_machine(nullptr, true)) return -EAGAIN;
  s.started.store(true, std::memory_order_release);
  return 0;
}

bool started() noexcept { return the_scheduler().started.load(std::memory_order_acquire); }
poll::poller& netpoller() noexcept { return the_scheduler().poller; }
void need_poller() noexcept {
  if (current_machine() == nullptr && the_scheduler().poll_until.load() == 0) wake_one();
}

int max_procs() noexcept { return the_scheduler().procs.load(); }

int set_max_procs(int n) noexcept {
  scheduler& s = the_scheduler();
  n = std::clamp(n, 1, procs_limit);
  int before = 0;
  int fresh = 0;
  {
    const std::lock_guard hold(s.lock);
    before = s.procs.load();
    if (!make_ps_up_to(std::max(n, before))) return -ENOMEM;
    s.procs.store(n);
    // Those that an M has, or is about to be given, retire at their next look around.
    for (int i = s.made.load(); i-- > 0;) {
      processor* const p = s.ps[i].load();
      p->attention.store(true);
      if (p->retired && i < n) push_idle(p);
    }
    sort_out_idle();
    fresh = s.idle_count.load();
  }
  for (int i = 0; i < fresh; ++i) wake_one();
  return before;
}

int set_max_threads(int n) noexcept {
  scheduler& s = the_scheduler();
  const std::lock_guard hold(s.lock);
  const int before = s.threads_max;
  s.threads_max = std::max(n, 1);
  return before;
}

void set_in_run(bool on) noexcept { the_scheduler().in_run.store(on); }

statistics read_statistics() noexcept {
  scheduler& s = the_scheduler();
  statistics out{};
  out.procs = s.procs.load();
  out.idle_procs = s.idle_count.load();
  out.spinning = s.spinning.load();
  out.goroutines = s.live.load();
  for (int i = 0; i < s.made.load(); ++i) {
    const processor& p = *s.ps[i].load(std::memory_order_acquire);
    out.spawned += p.spawned.load(std::memory_order_relaxed);
    out.goroutines += static_cast<std::int64_t>(p.spawned.load(std::memory_order_relaxed)) -
                      static_cast<std::int64_t>(p.ended.load(std::memory_order_relaxed));
    out.switches += p.tick.load(std::memory_order_relaxed);
    out.steals += p.steals.load(std::memory_order_relaxed);
    out.timers_fired += p.timers_fired.load(std::memory_order_relaxed);
  }
  out.handoffs = s.handoffs.load();
  out.foreign_retakes = s.foreign_retakes.load();
  out.preempt_requests = s.preempt_requests.load();
  const auto preempt = [&s](preempt_state what) {
    return s.preempt_counts[static_cast<std::size_t>(what)].load();
  };
  out.preempt_asked = preempt(preempt_state::asked);
  out.preempt_injected = preempt(preempt_state::injected);
  out.preempt_outside = preempt(preempt_state::outside);
  out.preempt_no_room = preempt(preempt_state::no_room);
  out.preempt_in_runtime = preempt(preempt_state::in_runtime);
  out.preempt_yielded = preempt(preempt_state::yielded);
  out.preempt_unanswered = preempt(preempt_state::unanswered);
  out.signal_runs = s.signals_delivered.load();
  out.signal_wakes = s.signal_wakes.load();
  out.signal_breaks = s.signal_breaks.load();
  out.signal_polls = s.signal_polls.load();
  out.signal_rescues = s.signal_rescues.load();
  out.sysmon_rings = s.sysmon_rings.load();
  out.polls = s.polls.load();
  out.wakes = s.wakes.load();
  out.threads_refused = s.threads_refused.load();
  out.sysmon_looks = s.sysmon_looks.load();
  const std::lock_guard hold(s.lock);
  out.threads = s.threads;
  return out;
}

}  // namespace sigrun::sched
