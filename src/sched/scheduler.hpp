// SPDX-License-Identifier: Apache-2.0
//
// The one scheduler: what Ms and Ps share. Internal to module sched; others include sched.hpp.
//
// The wake rule, after Go's: who makes a G ready wakes an idle M when there is an idle P and nobody
// spins; an M that has found work while it was the last to spin wakes another. So there is either
// an M that looks, or nothing to find:
//   (1) A producer puts the G into a queue, then reads idle_count and spinning (seq_cst). An M that
//       goes idle raises idle_count (and lowers spinning) first, then reads all queues again.
//   (2) At most one M sleeps in the netpoller, `polling`; all other idle Ms sleep on their futex.
//       Who wants it awake takes it out of `polling` under the lock, gives it a P, and writes the
//       break event, which stays until it is read: it may come before the sleep. The next M goes
//       in only when that one is out, or it would read the event meant for the other.
//       A third bed is the wait for signals, `bed`, with a parker in place of the event:
//       signals.hpp.
//   (3) poll_until is when that M wakes by itself, 0 when nobody is there. It is `never` while all
//       timers are looked at for the last time; a timer is added before poll_until is read.
#pragma once

#include "base/signal_safe.hpp"
#include "poll/poller.hpp"
#include "sched/machine.hpp"
#include "sched/processor.hpp"
#include "sys/clock.hpp"
#include "sys/lock.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigrun::sched {

inline constexpr int procs_limit = 256;
inline constexpr int threads_default = 10'000;            // as Go's debug.SetMaxThreads
inline constexpr std::int64_t signal_patience = 500'000;  // half of what news may wait for

struct scheduler {
  sys::short_lock lock;
  g_list global;                      // under lock
  std::atomic<int> global_size{0};    // its size; a hint
  processor* idle_ps = nullptr;       // under lock
  std::atomic<int> idle_count{0};     // their number
  machine* idle_ms = nullptr;         // under lock
  machine* all_ms = nullptr;          // under lock
  machine* unborn_ms = nullptr;       // under lock; in all_ms too: their thread could not be made
  int threads = 0;                    // under lock
  int threads_max = threads_default;  // under lock
  machine* polling = nullptr;         // under lock; (2)
  bool in_poller = false;             // under lock; an M is in there, or on its way out with a P
  machine* bed_m = nullptr;           // under lock; waits for signals
  parker* bed = nullptr;              // under lock; by which bed_m is woken
  // The first of idle_ms, for handlers: a hint. Ms are never freed.
  std::atomic<machine*> sleeper{nullptr};
  std::atomic<machine*> at_large{nullptr};    // signals.hpp (1); moved by itself
  std::atomic<std::uint64_t> thread_mask{0};  // signals that Ms have blocked from birth

  std::atomic<processor*> ps[procs_limit] = {};
  std::atomic<int> procs{0};  // max_procs
  std::atomic<int> made{0};   // Ps that exist
  std::atomic<int> spinning{0};
  std::atomic<std::uint32_t> quiet_span{0};  // wakes for a lone G to be spared; see switch.cpp
  std::atomic<std::int64_t> poll_until{0};   // (3); 0: nobody sleeps there
  std::atomic<std::int64_t> last_poll_ns{0};
  std::atomic<std::int64_t> coarse_ns{0};
  std::atomic<bool> started{false};
  std::atomic<bool> asymmetric{true};  // membarrier(2) is there
  std::atomic<bool> preempts{false};   // marked functions can be stopped; see preempt.hpp

  poll::poller poller;

  std::atomic<void (*)() noexcept> end_of_faulting{nullptr};  // set before any held is

  // sysmon
  std::atomic<std::uint32_t> sysmon_asleep{0};
  std::atomic<std::uint32_t> sysmon_bell{0};  // rung: it looks at once
  std::atomic<std::int64_t> sysmon_until{0};  // when it looks by itself
  std::atomic<bool> in_run{false};            // run() waits for the main goroutine

  // Counters.
  std::atomic<std::uint64_t> next_id{1};
  std::atomic<std::uint64_t> threads_refused{0};
  std::atomic<std::uint64_t> handoffs{0};
  std::atomic<std::uint64_t> foreign_retakes{0};
  std::atomic<std::uint64_t> preempt_requests{0};
  std::atomic<std::uint64_t> preempt_counts[preempt_states] = {};  // by preempt_state
  std::atomic<std::uint64_t> polls{0};
  std::atomic<std::uint64_t> wakes{0};
  std::atomic<std::uint64_t> sysmon_looks{0};
  std::atomic<std::uint64_t> signals_delivered{0};  // dispatches of an M that made a G ready
  std::atomic<std::uint64_t> signal_wakes{0};       // an M woken from its futex by a handler
  std::atomic<std::uint64_t> signal_breaks{0};      // the netpoller's sleep ended by one
  std::atomic<std::uint64_t> signal_polls{0};       // the poll stamp was reset
  std::atomic<std::uint64_t> sysmon_rings{0};       // sysmon woken from a sleep
  std::atomic<std::uint64_t> signal_rescues{0};     // the stand-by thread was sent for
  std::atomic<std::int64_t> live{0};  // Gs that have not ended, as far as the Ps do not count it

  int ready_ps() const noexcept { return idle_count.load(); }
};

/// Never destroyed: Ms go on while the process ends, also beside and after static destructors.
union scheduler_for_ever {
  scheduler value;
  constexpr scheduler_for_ever() : value{} {}
  ~scheduler_for_ever() {}
};
extern constinit scheduler_for_ever scheduler_instance;
inline scheduler& the_scheduler() noexcept { return scheduler_instance.value; }

// ---------------------------------------------------------------------------------- section.cpp

/// Enters a section on the calling G's M and returns the M, which may be another one than before:
/// the G waits for a P when its M has lost the one it had. Only on a G.
machine* enter_slowly(machine* m) noexcept;
inline void say_busy(machine* m) noexcept {
  m->busy.store(1, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (!the_scheduler().asymmetric.load(std::memory_order_relaxed)) [[unlikely]] {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}
inline machine* enter(machine* m) noexcept {
  say_busy(m);
  if (m->lost.load(std::memory_order_acquire) != 0) [[unlikely]]
    return enter_slowly(m);
  return m;
}
inline void leave_section(machine* m) noexcept { m->busy.store(0, std::memory_order_release); }
/// The same without waiting: false, and no section, when the M has no P now.
inline bool try_enter(machine* m) noexcept {
  say_busy(m);
  if (m->lost.load(std::memory_order_acquire) == 0 && m->p != nullptr) [[likely]]
    return true;
  leave_section(m);
  return false;
}

// ----------------------------------------------------------------------------------- switch.cpp

/// Stops the calling G, does `todo` with it, and runs another. Within a section; returns within a
/// new one, on the returned M, when somebody has resumed the G. `to` is run next if it is not null
/// and nothing speaks against it.
machine* leave(machine* m, after todo, parker* parking, g* to = nullptr) noexcept;
/// What comes first on a G's own stack after any switch to it, and on g0.
void land(machine* m) noexcept;
/// Runs goroutines on this M until the process ends.
[[noreturn]] void schedule_for_ever(machine* m) noexcept;
/// One G, until it leaves.
void run_one(machine* m, g* gp) noexcept;
/// First code of a new goroutine.
void goroutine_main(void* gp, void* m) noexcept;

/// Makes a G that waits (or is new) runnable. Any thread, in or out of a section.
void ready(g* gp) noexcept;
/// A list of them, from an M or any thread.
void ready_all(g_list& list) noexcept;
/// Within a section, or on g0 with a P: queues `gp` here; `first` runs it next.
void queue_here(machine* m, g* gp, bool first) noexcept;
void queue_global(g_list& list) noexcept;

// ------------------------------------------------------------------------------------- find.cpp

/// On g0: the next G for this M; sleeps until there is one.
g* find_runnable(machine* m) noexcept;
/// Takes a batch from the global queue: returns one, the others go into p's queue.
g* take_global(processor& p, int max) noexcept;
/// Somebody may be needed: wakes an idle M, or makes one, when there is an idle P and nobody spins.
void wake_one() noexcept;
/// The same, when a fence lies between what was queued and this call.
void wake_one_ordered() noexcept;
/// Any idle P, unless the M has one. False: there is none.
bool take_idle_p(machine* m) noexcept;
/// Sleeps in the netpoller, if nobody else does and there is anything to wait for there. False:
/// not. True: it has slept; the M may have been given a P.
bool sleep_in_poller(machine* m) noexcept;
/// Polls the network without waiting; makes ready what it finds. Any thread.
int poll_now() noexcept;

// ---------------------------------------------------------------------------------- machines.cpp

/// An M for `p` (nullptr: for any idle P). False: there is none to have.
bool start_machine(processor* p, bool spinning) noexcept;
/// Under the lock: Ps up to this number exist then. False: no memory.
bool make_ps_up_to(int n) noexcept;
/// Sleeps until the M is given a P, or has to look at the signals.
void stop_machine(machine* m) noexcept;
/// Under the lock.
void bind(machine* m, processor* p) noexcept;
processor* unbind(machine* m) noexcept;
void push_idle(processor* p) noexcept;
processor* pop_idle() noexcept;
/// Gives `p` to an M when there is work for it, else to the idle ones.
void hand_off(processor* p) noexcept;
/// lock_os_thread: gives the P to the M that `gp` is locked to, and waits for another.
void start_locked(machine* m, g* gp) noexcept;
void stop_locked(machine* m) noexcept;
/// Ends the bond of `gp` and its M, from either side.
void release_lock(g* gp) noexcept;
void retire(machine* m) noexcept;

// -------------------------------------------------------------------------------------- spawn.cpp

/// At its exit, before it leaves: the G that joins it, which has to be run next; nullptr for none.
g* take_joiner(g* gp) noexcept;
/// Publishes the end of a G that has left its stack: to join(), or to nobody.
void finish(g* gp) noexcept;
void recycle(g* gp) noexcept;

// -------------------------------------------------------------------------------------- timers.cpp

/// Fires what is due on `p`; returns when the next one is.
std::int64_t run_timers(processor& p, std::int64_t now_ns) noexcept;
/// A P that max_procs() has retired keeps its timers, and whoever looks around fires them: no M
/// comes back to it, and the others may never be idle. sys::never: there are none.
std::int64_t next_retired_timer() noexcept;
void run_retired_timers(std::int64_t now_ns) noexcept;
/// The earliest deadline of all Ps.
std::int64_t next_timer_of_all() noexcept;
/// Wakes the M that sleeps in the netpoller when it would wake later than `when_ns`.
void break_poll_before(std::int64_t when_ns) noexcept;

// -------------------------------------------------------------------------------------- sysmon.cpp

long start_sysmon() noexcept;
void wake_sysmon() noexcept;
/// Has it look at once, however it sleeps. Handlers too.
SIGRUN_SIGNAL_SAFE void ring_sysmon() noexcept;

}  // namespace sigrun::sched
