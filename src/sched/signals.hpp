// SPDX-License-Identifier: Apache-2.0
//
// Where signals meet the scheduler. Module signal knows how they are taken and dispatched, this
// module which M has time for it.
//
// One idle M may sleep in the kernel's wait for signals instead of on its futex: the bed. A signal
// then wakes the very thread that runs the goroutine which receives it:
//
//                     no G to run                    a signal made a G ready, or it was given a P
//   running ─────────────────────────▶ in the bed ──────────────────────────────────▶ at large
//      ▲                                   ▲                                            │    │
//      │                                   └─────────────── no G to run ────────────────┘    │
//      └───────── sleeps elsewhere after all: resign (the poller needs it, locked to a G) ◀──┘
//
//   (1) At large the M has the subscribed signals open and is the only thread that has: they come
//       in by its handler, in order, whatever the G does, and stay in the queue until somebody
//       dispatches them.
//   (2) That is an M without work, which the handler wakes if there is one and a P too; or the M
//       itself, which the handler sends by way of g0 at its next scheduling point; or, a
//       millisecond later, the stand-by thread, because sysmon has seen that nobody did.
//   (3) All other Ms, and a thread that waits in run(), have the subscribed signals closed. sysmon
//   has
//       all closed that can be.
//   (4) What is sent to one M alone waits in the kernel's queue for that thread, behind that
//       thread's mask. send_thread() marks the M and wakes it; on g0, or before it sleeps, the M
//       takes the duty for a moment, and what there is.
//   (5) An M takes the bed with no P and all queues looked at, as it would go to its futex; who
//       wants it awake takes it out of `bed` under the lock and gives it a P (scheduler.hpp, (2)).
#pragma once

#include "base/signal_safe.hpp"
#include "sigsafe/thread_block.hpp"

#include <sigrun/signal_set.hpp>

namespace sigrun::sched {

struct machine;
class parker;
class g_list;

/// Implemented by module signal. All on the calling thread, which has a block and is in no wait.
class signal_duty {
 public:
  /// A new M, with everything blocked: what it has to block beyond `mask` from now on. That is in
  /// self.closed already.
  virtual signal_set close_from_birth(sigsafe::thread_block& self, signal_set mask) noexcept = 0;
  /// A thread begins to wait in run(), and has done so: then it is as closed as it was.
  virtual void begin_run(sigsafe::thread_block& self) noexcept = 0;
  virtual void end_run(sigsafe::thread_block& self, signal_set closed_before) noexcept = 0;
  /// Whether this M, which has nothing to do, should sleep in the bed.
  virtual bool wants(const sigsafe::thread_block& self) noexcept = 0;
  /// Whether nobody waits for signals but the stand-by thread, if at all.
  virtual bool vacant() noexcept = 0;
  /// Takes signals until `bed` is notified, or a dispatch has put something into `made_ready`. The
  /// M is at large afterwards.
  virtual void wait(parker& bed, sigsafe::thread_block& self,
                    const g_list& made_ready) noexcept = 0;
  /// Dispatches what is queued, unless somebody else does. On g0.
  virtual void look(sigsafe::thread_block& self) noexcept = 0;
  /// The M goes to sleep, not in the bed: its mask is brought up to date.
  virtual void before_sleep(sigsafe::thread_block& self) noexcept = 0;
  /// News has been there for too long: has the stand-by thread look.
  virtual void rescue() noexcept = 0;

 protected:
  ~signal_duty() = default;
};

/// Once, before the first signal is subscribed.
void set_signal_duty(signal_duty* duty) noexcept;

/// Calls `visit` for each M and each thread in run(), under a lock.
void for_each_thread(void (*visit)(sigsafe::thread_block& block, void* arg), void* arg);

/// A plain thread that waits in run(): while this lives, it is one of those.
class run_thread {
 public:
  run_thread() noexcept;
  ~run_thread();
  run_thread(const run_thread&) = delete;
  run_thread& operator=(const run_thread&) = delete;

 private:
  friend void for_each_thread(void (*visit)(sigsafe::thread_block&, void*), void* arg);
  sigsafe::thread_block own_;
  signal_set closed_before_;
  sigsafe::thread_block* block_ = nullptr;
  run_thread* next_ = nullptr;
};

/// An event has gone to who wants it: whoever looks next polls the network, and when all Ps are in
/// use sysmon looks at once whether one is due.
void signal_was_delivered() noexcept;

// ---------------------------------------------------------------------------- for find.cpp et al.

/// On the M's own thread, first of all.
void begin_machine_thread(machine* m) noexcept;
/// On g0: dispatches if there is news, and queues what that made ready.
void look_at_signals(machine* m) noexcept;
/// Sleeps, on g0 and without a P, wherever this M is needed most.
void go_idle(machine* m) noexcept;
/// The same for one that found no P to look with.
void go_idle_without_p(machine* m) noexcept;
/// The M is about to sleep elsewhere than in the bed.
void leave_signals(machine* m) noexcept;
/// By sysmon, at each look.
void watch_signals() noexcept;
/// Whether sysmon must not sleep for longer than a millisecond.
bool signals_need_watch() noexcept;

/// send_thread() has sent something to thread `tid`. If that is an M, which has the signals closed,
/// it takes what is there for it alone at its next scheduling point, for which it is woken.
SIGRUN_SIGNAL_SAFE void signal_was_sent_to(int tid) noexcept;

/// intake::find_idle; see (2).
SIGRUN_HANDLER_ONLY void find_idle_for_signal() noexcept;

}  // namespace sigrun::sched
