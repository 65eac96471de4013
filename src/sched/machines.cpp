// SPDX-License-Identifier: Apache-2.0
//
// Ms come and sleep, and Ps change hands.
#include "base/expect.hpp"
#include "sched/overflow.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sched/signals.hpp"
#include "sys/futex.hpp"
#include "sys/signal.hpp"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <mutex>
#include <new>
#include <utility>

namespace sigrun::sched {

// ------------------------------------------------------------------------------- under the lock

void bind(machine* m, processor* p) noexcept {
  base::expect(m->p == nullptr && p->m == nullptr, "scheduler: a P was given twice");
  m->p = p;
  p->m = m;
  m->lost.store(0);
  m->resting = false;
  if (the_scheduler().sysmon_asleep.load(std::memory_order_relaxed) != 0) wake_sysmon();
}

processor* unbind(machine* m) noexcept {
  processor* const p = m->p;
  m->p = nullptr;
  p->m = nullptr;
  return p;
}

void push_idle(processor* p) noexcept {
  scheduler& s = the_scheduler();
  if (p->id >= s.procs.load()) {
    p->retired = true;
    return;
  }
  p->retired = false;
  p->next_idle = s.idle_ps;
  s.idle_ps = p;
  s.idle_count.fetch_add(1);
}

processor* pop_idle() noexcept {
  scheduler& s = the_scheduler();
  processor* const p = s.idle_ps;
  if (p == nullptr) return nullptr;
  s.idle_ps = p->next_idle;
  p->next_idle = nullptr;
  s.idle_count.fetch_sub(1);
  return p;
}

// -------------------------------------------------------------------------------------- threads

namespace {

// A sleeping thread may be woken so much later than it asked for, 50 µs by default (prctl(2),
// PR_SET_TIMERSLACK): most of what a short sleep would be late by.
constexpr long timer_slack_ns = 1'000;
constinit std::atomic<long> slack_before{0};

void shorten_timer_slack() noexcept {
  const long before = sys::call(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
  if (before <= timer_slack_ns) return;  // real-time threads have none
  slack_before.store(before);
  sys::call(SYS_prctl, PR_SET_TIMERSLACK, timer_slack_ns, 0, 0, 0);
}

void* machine_main(void* arg) noexcept {
  auto* const m = static_cast<machine*>(arg);
  sigsafe::set_current_machine(m);
  m->tid = sys::gettid();
  make_gsignal(*m);
  begin_machine_thread(m);
  m->words = fiber::this_thread_words();
  fiber::adopt_thread(m->g0);
  shorten_timer_slack();
  schedule_for_ever(m);
}

bool make_thread(machine* m) noexcept {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  // No signal finds it half made.
  const signal_set before = sys::exchange_mask(signal_set::all() - signal_set::of(32, 33));
  const int error = pthread_create(&thread, &attributes, &machine_main, m);
  sys::set_mask(before);
  pthread_attr_destroy(&attributes);
  if (error != 0) return false;
  pthread_setname_np(thread, "sigrun-m");
  return true;
}

// Called with room for one thread reserved and `p` in nobody's hands. Gives both back on failure.
bool new_machine(processor* p, bool spinning) noexcept {
  scheduler& s = the_scheduler();
  machine* m = nullptr;
  {
    const std::lock_guard hold(s.lock);
    m = s.unborn_ms;
    if (m != nullptr) s.unborn_ms = m->next_idle;
  }
  const bool fresh = m == nullptr;
  if (fresh) m = new (std::nothrow) machine;
  if (m != nullptr) {
    m->spinning = spinning;
    const std::lock_guard hold(s.lock);
    bind(m, p);
    if (fresh) {
      m->next = s.all_ms;
      s.all_ms = m;
    }
  }
  if (m != nullptr && make_thread(m)) return true;
  s.threads_refused.fetch_add(1);
  const std::lock_guard hold(s.lock);
  --s.threads;
  // The object stays in the list, without a thread, because sysmon may be looking at it; the next
  // that is wanted is this one.
  push_idle(m != nullptr ? unbind(m) : p);
  if (m != nullptr) {
    m->resting = true;
    m->next_idle = s.unborn_ms;
    s.unborn_ms = m;
  }
  return false;
}

std::uint32_t next_wake(machine* m) noexcept {
  for (;;) {
    const std::uint32_t word = m->wake.exchange(machine::asleep, std::memory_order_acquire);
    if (word != machine::asleep) return word;
    sys::futex_wait(m->wake, machine::asleep);
  }
}

void sleep_until_given(machine* m) noexcept {
  while (next_wake(m) != machine::given) leave_signals(m);  // which takes what was sent to it alone
}

void give_wake(machine* m) noexcept {
  m->wake.store(machine::given, std::memory_order_release);
  sys::futex_wake(m->wake, 1);
}

// Under the lock.
void push_idle_machine(machine* m) noexcept {
  scheduler& s = the_scheduler();
  m->next_idle = s.idle_ms;
  s.idle_ms = m;
  s.sleeper.store(m);
  m->resting = true;
}

machine* pop_idle_machine() noexcept {
  scheduler& s = the_scheduler();
  machine* const m = s.idle_ms;
  if (m == nullptr) return nullptr;
  s.idle_ms = m->next_idle;
  s.sleeper.store(s.idle_ms);
  return m;
}

// A handler has woken it. False: it has been given a P meanwhile, and the word is on its way.
bool leave_idle_machines(machine* m) noexcept {
  scheduler& s = the_scheduler();
  const std::lock_guard hold(s.lock);
  for (machine** at = &s.idle_ms; *at != nullptr; at = &(*at)->next_idle) {
    if (*at != m) continue;
    *at = m->next_idle;
    s.sleeper.store(s.idle_ms);
    m->resting = false;
    return true;
  }
  return false;
}

enum class found { none, sleeper, poller, bed, room };

// One more than Ps are left to take turns on the futexes; only then the bed is worth a thread.
bool room_before_bed() noexcept {
  const scheduler& s = the_scheduler();
  return s.bed_m == nullptr || s.threads <= s.procs.load();
}

}  // namespace

long timer_slack_for_children() noexcept {
  const long before = slack_before.load();
  const bool ours =
      before != 0 && sys::call(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0) == timer_slack_ns;
  return ours ? before : 0;
}

bool start_machine(processor* p, bool spinning) noexcept {
  scheduler& s = the_scheduler();
  machine* m = nullptr;
  parker* bed = nullptr;
  found what = found::none;
  {
    const std::lock_guard hold(s.lock);
    if (p == nullptr) p = pop_idle();
    if (p != nullptr) {
      const bool room = s.threads < s.threads_max;
      if ((m = pop_idle_machine()) != nullptr) {
        what = found::sleeper;
      } else if (s.polling != nullptr) {
        m = s.polling;
        s.polling = nullptr;
        what = found::poller;
      } else if (s.bed_m != nullptr && !(room && room_before_bed())) {
        m = std::exchange(s.bed_m, nullptr);
        bed = std::exchange(s.bed, nullptr);
        what = found::bed;
      } else if (room) {
        ++s.threads;
        what = found::room;
      } else {
        push_idle(p);
        s.threads_refused.fetch_add(1);
      }
    }
    if (m != nullptr) {
      m->spinning = spinning;
      bind(m, p);
    }
  }
  bool done = true;
  switch (what) {
    case found::sleeper:
      give_wake(m);
      break;
    case found::poller:
      s.poller.wake();
      break;
    case found::bed:
      bed->unpark();
      break;
    case found::room:
      done = new_machine(p, spinning);
      break;
    case found::none:
      done = false;
      break;
  }
  if (!done && spinning) s.spinning.fetch_sub(1);
  return done;
}

void stop_machine(machine* m) noexcept {
  scheduler& s = the_scheduler();
  leave_signals(m);
  {
    const std::lock_guard hold(s.lock);
    push_idle_machine(m);
  }
  while (next_wake(m) == machine::look) {
    if (leave_idle_machines(m)) return;
  }
}

// Somebody else has to take p over if there is, or may soon be, work for it.
void hand_off(processor* p) noexcept {
  scheduler& s = the_scheduler();
  if (!p->queue.empty() || s.global_size.load() != 0) {
    start_machine(p, false);
    return;
  }
  int none = 0;
  if (s.idle_count.load() == 0 && s.spinning.compare_exchange_strong(none, 1)) {
    start_machine(p, true);  // everybody was busy: somebody should look
    return;
  }
  {
    const std::lock_guard hold(s.lock);
    push_idle(p);
  }
  // Somebody has to look after the network and the timers: those of all Ps, because an M with
  // timers went to its futex if the one that has just left the poller was to come back.
  const std::int64_t when = next_timer_of_all();
  if (when != sys::never) break_poll_before(when);
  if (s.poll_until.load() == 0 && (when != sys::never || s.poller.registered() != 0)) wake_one();
}

// max_procs was lowered while m held this P.
void retire(machine* m) noexcept {
  scheduler& s = the_scheduler();
  processor* const p = m->p;
  g_list rest;
  while (g* gp = p->queue.pop()) rest.push(gp);
  if (!rest.empty()) queue_global(rest);
  if (m->spinning) {
    m->spinning = false;
    s.spinning.fetch_sub(1);
  }
  const std::lock_guard hold(s.lock);
  unbind(m)->retired = true;
}

// ------------------------------------------------------------------------------- lock_os_thread

void start_locked(machine* m, g* gp) noexcept {
  scheduler& s = the_scheduler();
  machine* const theirs = gp->locked;
  {
    const std::lock_guard hold(s.lock);
    // It binds the P itself: it may still be on its way to sleep, with another one.
    theirs->next_p = unbind(m);
    theirs->next_g = gp;
    theirs->resting = false;
  }
  if (m->spinning) {
    m->spinning = false;
    s.spinning.fetch_sub(1);
  }
  give_wake(theirs);
  stop_machine(m);
}

void stop_locked(machine* m) noexcept {
  scheduler& s = the_scheduler();
  processor* own = nullptr;
  {
    const std::lock_guard hold(s.lock);
    if (m->p != nullptr) own = unbind(m);
  }
  if (own != nullptr) hand_off(own);
  leave_signals(m);
  {
    const std::lock_guard hold(s.lock);
    m->resting = m->next_p == nullptr;
  }
  sleep_until_given(m);
  const std::lock_guard hold(s.lock);
  bind(m, std::exchange(m->next_p, nullptr));
}

void lock_os_thread() noexcept {
  machine* const m = current_machine();
  if (m == nullptr || m->current == nullptr) return;  // a plain thread is its own
  if (m->current->lock_depth++ != 0) return;
  m->current->locked = m;
  m->locked = m->current;
  m->detour = true;
}

void release_lock(g* gp) noexcept {
  machine* const m = gp->locked;
  gp->lock_depth = 0;
  gp->locked = nullptr;
  m->locked = nullptr;
  m->detour = m->stepping;
}

void unlock_os_thread() noexcept {
  machine* const m = current_machine();
  if (m == nullptr || m->current == nullptr || m->current->lock_depth == 0) return;
  if (--m->current->lock_depth != 0) return;
  release_lock(m->current);
}

}  // namespace sigrun::sched
