// SPDX-License-Identifier: Apache-2.0
//
// What the scheduler offers to the modules above it. Blocking is in park.hpp.
#pragma once

#include "sched/g.hpp"
#include "sched/wait_reason.hpp"
#include "timer/queue.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::poll {
class poller;
}

namespace sigrun::sched {

struct processor;

/// Makes the Ps, the first M and sysmon; once. 0 or a negated errno (then the next call tries
/// again). Any thread.
long start() noexcept;
bool started() noexcept;

/// The G that the caller is; nullptr on a plain thread and inside a foreign call.
g* current_g() noexcept;
bool on_goroutine() noexcept;

/// Lets others run, then runs what was raised for the goroutine, whose handlers may throw. On a
/// plain thread sched_yield(2).
void yield();
/// The same if somebody wants the P or something was raised; three loads otherwise.
void preempt_point();
/// Whether a G may be stopped at this instruction; see preempt.hpp.
bool preemptible_at(const void* code) noexcept;

/// The netpoller, which Ms serve. After start().
poll::poller& netpoller() noexcept;
/// A descriptor was added by a plain thread: sees to it that an M sleeps in the poller.
void need_poller() noexcept;

// --------------------------------------------------------------------------------------- timers

/// Calls `fire` once, at `when` or soon after, in ordinary code on some M without locks. With
/// `sleeper` set it pokes that parker instead, and never after timer_stop() has returned.
struct sched_timer : timer::node {
  processor* home = nullptr;
  parker* sleeper = nullptr;
  void (*fire)(sched_timer& self) noexcept = nullptr;
};
/// `when_ns` is on the clock of clock.hpp. The timer must not be started already. After start().
void timer_start(sched_timer& timer, std::int64_t when_ns) noexcept;
/// True: it was taken back and will not fire. False: it has fired or is firing (a `sleeper` has
/// been poked), or was never started.
bool timer_stop(sched_timer& timer) noexcept;

/// The timer slack (prctl(2)) that a child of the calling thread should have in place of the one it
/// would inherit; 0 for none: the thread is not one of the scheduler's.
long timer_slack_for_children() noexcept;

// --------------------------------------------------------------------------------------- new Gs

/// A G whose closure's place is `closure`, `size` bytes aligned to `align`, on its stack. nullptr:
/// no memory, or the closure does not fit. `stack_size` 0 is the default.
struct new_g_request {
  std::size_t stack_size = 0;
  std::size_t closure_size = 0;
  std::size_t closure_align = 1;
  const void* created_at = nullptr;
};
inline constexpr std::size_t closure_max = 1024;
g* new_g(const new_g_request& request) noexcept;
/// Runs entry(gp->closure) in it. The G has a handle: join_g() or detach_g() once.
void start_g(g* gp, void (*entry)(void*) noexcept) noexcept;
/// Gives back a G that was not started.
void abandon_g(g* gp) noexcept;

/// Blocks until the G has ended; then `error` may be read and detach_g() must still be called.
void join_g(g* gp) noexcept;
bool ended(const g* gp) noexcept;
/// The handle goes; the G may be gone too.
void detach_g(g* gp) noexcept;
/// Whether nobody will look at what the calling G leaves behind.
bool detached(const g* gp) noexcept;

/// Calls `visit(gp, arg)` for every G that has not ended, under a lock: nothing may block in it.
void for_each_g(void (*visit)(const g* gp, void* arg), void* arg);
/// Calls `change` under the same lock, for a G's name and labels, which for_each_g() shows.
void change_g(g* gp, void (*change)(g* gp, void* arg), void* arg);

// -------------------------------------------------------------------------------- foreign calls

/// Runs f(arg) on the thread's own big stack, where it may block in the kernel or in a library:
/// sysmon takes the P after 20 microseconds. An exception passes through. On a plain thread, and
/// inside another foreign call, it just runs f(arg).
void run_foreign(void (*f)(void*), void* arg);
/// Whether the caller is in one; and the end of it, for who has left it by a jump.
bool in_foreign() noexcept;
void end_foreign() noexcept;

// ------------------------------------------------------------------------------------------ faults

/// Called at the end of a goroutine whose g::faults.held is set, as ordinary code of it.
void set_end_of_faulting(void (*end)() noexcept) noexcept;

// ------------------------------------------------------------------------------------- settings

int max_procs() noexcept;
/// 1 to 256, and not more than that; returns the number before. After start(). Negative errno:
/// no memory.
int set_max_procs(int n) noexcept;
int set_max_threads(int n) noexcept;
void lock_os_thread() noexcept;
void unlock_os_thread() noexcept;

/// Between these two, run() waits on a thread of the program's for the main goroutine.
void set_in_run(bool on) noexcept;
/// Called once by sysmon when all goroutines are asleep for ever; must not return.
void set_deadlock_report(void (*report)()) noexcept;
/// Called with g::error when a goroutine has ended with one and nobody can ask for it; must not
/// return.
void set_lost_error_report(void (*report)(g* gp) noexcept) noexcept;

struct statistics {
  int procs, idle_procs, threads, spinning;
  std::int64_t goroutines;
  std::uint64_t spawned, switches, steals, timers_fired, handoffs, foreign_retakes,
      preempt_requests, polls, wakes, threads_refused, sysmon_looks;
  std::uint64_t preempt_asked, preempt_injected, preempt_outside, preempt_no_room,
      preempt_in_runtime, preempt_yielded, preempt_unanswered;
  std::uint64_t signal_runs, signal_wakes, signal_breaks, signal_polls, signal_rescues,
      sysmon_rings;
};
statistics read_statistics() noexcept;

}  // namespace sigrun::sched
