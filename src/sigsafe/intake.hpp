// SPDX-License-Identifier: Apache-2.0
//
// Everything a handler may look at. One object in static storage, constant-initialised; module
// signal fills it in before the first handler is installed and is the only other writer.
//
// `consumer` says how the thread that dispatches is to be told that the queue has something:
//
//   state           means                                       next, and who moves it
//   awake           it will look at the queue before it sleeps  news (handler), asleep_* (itself)
//   news            something came since its last look          awake (itself)
//   asleep_futex    sleeps in futex_wait on this word           news (handler, which wakes it)
//   asleep_wait     sleeps in rt_sigtimedwait, tid beside it    news (handler, which sends control)
//   at_large        the M that has the duty runs goroutines,    news (handler, which has the
//                   and looks at its next scheduling point      scheduler find an idle M as well)
//
// Invariants:
//  (1) A handler pushes first and moves `consumer` second; the dispatcher moves it to awake first
//      and looks second. So nothing stays in a queue whose dispatcher sleeps.
//  (2) Only one wake is owed per sleep: leaving asleep_* is one exchange.
//  (3) A control signal that finds its thread no longer waiting is passed on by its handler when
//      `consumer` says news: see control_arrived() in sighandler.cpp.
//
// tests/models/intake.pml checks (1) to (3).
#pragma once

#include "sigsafe/control.hpp"
#include "sigsafe/event_queue.hpp"
#include "sys/signal.hpp"

#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace sigrun::sigsafe {

struct thread_block;

enum consumer_state : std::uint32_t { awake, news, asleep_futex, asleep_wait, at_large };

constexpr std::uint64_t consumer_word(consumer_state state, int tid) noexcept {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(tid)) << 32) | state;
}

/// A wish that a thread's mask be edited by a handler on that thread.
///
///   phase       means                                          next, and who moves it
///   vacant      free                                           filling (who wants something)
///   filling     being written, or carried out                  held_back, requested, vacant (the
///                                                              one that moved it here)
///   held_back   a handler found the queue (nearly) full and    requested, or vacant if it is his
///               has blocked `lift` on its thread               own thread (who has the duty)
///   requested   the thread has been sent a control signal      filling (its handler, or itself;
///   who
///                                                              finds that the thread has ended)
///
///   (4) A real-time signal that was taken and found the ring full is kept in `event`: `spilled`.
///       Its thread has all real-time signals that somebody wants blocked from then on: none
///       overtakes it there, and one request a thread is enough. Who has the duty dispatches it
///       when all has been that was in the ring at that time, and only then lifts the block.
struct mask_request {
  enum phases : std::uint32_t { vacant, filling, held_back, requested };
  std::atomic<std::uint32_t> phase;
  std::atomic<int> tid;
  std::atomic<std::uint64_t> open;  // closed by us, or blocked by the user on an M: no longer
  std::atomic<std::uint64_t> close;
  std::atomic<std::uint64_t> lift;  // held back: unless there is another reason for the block
  std::atomic<bool> spilled;        // cleared by who has the duty
  signal_event event;               // where spilled
};
inline constexpr unsigned mask_requests_max = 256;
/// Indices of requests.
using request_list = std::array<std::uint8_t, mask_requests_max>;

struct counters {
  std::atomic<std::uint64_t> by_wait, by_handler, injected, dispatched, merged, dropped, held_back,
      unclaimed, queue_high_water, foreign_child, control;
};

struct intake {
  std::atomic<bool> running{false};
  int pid = 0;
  std::atomic<int> standby_tid{0};            // the runtime's own duty thread
  signal_set start_mask;                      // of the thread that started the runtime
  std::atomic<std::uint64_t> ever_closed{0};  // what the runtime ever blocked on some thread
  std::atomic<std::uint64_t> ever_held{0};    // what was ever held back on some thread

  std::atomic<std::uint64_t> wanted{0};  // bit n-1: a subscription exists
  std::atomic<std::uint64_t> chain_before{0};
  std::atomic<std::uint64_t> chain_after{0};
  std::atomic<std::uint64_t> installed{0};  // signals whose handler is ours
  std::atomic<bool> pipe_by_fd{false};
  std::atomic<bool> quit_dumps{false};
  /// The disposition before ours, by signal number; valid where `installed` has the bit.
  sys::kernel_sigaction original[signal_max + 1]{};

  event_queue queue;
  std::atomic<std::uint64_t> consumer{0};
  /// The M that has the duty and runs goroutines, with the subscribed signals open; 0: none.
  std::atomic<int> at_large_tid{0};
  mask_request requests[mask_requests_max]{};
  /// Number of requests in phase held_back; the dispatcher looks when the queue is empty.
  std::atomic<std::uint32_t> held_back_count{0};
  std::atomic<std::uint32_t> spilled_count{0};  // of them, those with an event
  counters count{};
  /// What SIGQUIT writes; set once, signal-safe.
  void (*dump)(const ucontext_t& context) noexcept = nullptr;
  /// Says on stderr what it knows of a fault, if it was a goroutine's stack that ended: true then.
  /// Set once by the scheduler, which installs our handler for SIGSEGV; signal-safe.
  std::atomic<bool (*)(const siginfo_t& info, const ucontext_t& context) noexcept> stack_overflow{
      nullptr};
  /// Asked for every true fault but an overflow: does the code that raised it want to go on
  /// elsewhere? Then the context is edited. Set once by module fault, which installs our handler
  /// for `recoverable_faults`; signal-safe.
  std::atomic<bool (*)(const siginfo_t& info, ucontext_t& context) noexcept> recover{nullptr};
  /// Asked for every control signal: has the scheduler wished that the interrupted goroutine stop,
  /// and may it, here? Then the context is edited. Set once by the scheduler; signal-safe.
  std::atomic<void (*)(siginfo_t& info, ucontext_t& context) noexcept> preempt{nullptr};
  /// Asked for every control signal too: does somebody want the stack that was interrupted here?
  std::atomic<void (*)(const ucontext_t& context) noexcept> stack_wanted{nullptr};
  /// Asked when nobody guards this fault, or a signal of `crash_signals` was sent and nobody wants
  /// it: writes what is known. False: the process does not want it written. Set by install;
  /// signal-safe.
  std::atomic<bool (*)(int signo, const siginfo_t& info, const ucontext_t& context) noexcept> crash{
      nullptr};
  std::atomic<std::uint64_t> crash_signals{0};  // bit n-1
  /// While that is under way: sees every signal first, and does not return from those that end it.
  std::atomic<bool (*)(int signo, const siginfo_t& info) noexcept> ending{nullptr};
  /// Called when news comes while the consumer is at large: somebody idle may look sooner. Set once
  /// by the scheduler; signal-safe.
  std::atomic<void (*)() noexcept> find_idle{nullptr};
};

[[gnu::visibility("hidden")]] extern constinit intake the_only_intake;
SIGRUN_SIGNAL_SAFE inline intake& the_intake() noexcept { return the_only_intake; }

/// The faults that can be recovered from.
inline constexpr auto recoverable_faults = signal_set::of(SIGSEGV, SIGBUS, SIGFPE);

/// Whether ours stays installed for this fault although nobody subscribes: for overflows, or to
/// recover.
SIGRUN_SIGNAL_SAFE bool keeps_fault(int signo) noexcept;

/// Puts an event in the queue and sees that somebody dispatches it. `merge` decides what becomes
/// of it when the ring is full: true counts it in its overflow slot. False: the ring was full and
/// nothing was done.
SIGRUN_SIGNAL_SAFE bool sigsend(const signal_event& event, bool merge) noexcept;

/// The first half of it: into the ring, with the high-water mark. On success `used` is how many
/// slots were in use. The caller nudges.
SIGRUN_SIGNAL_SAFE bool enqueue(const signal_event& event, std::uint32_t& used) noexcept;

/// Tells the dispatcher to look.
SIGRUN_SIGNAL_SAFE void nudge() noexcept;
/// Somebody has to look at the queue.
inline bool has_news() noexcept {
  return static_cast<std::uint32_t>(the_intake().consumer.load()) == news;
}

/// Returns what the kernel said: a negated errno when the thread has ended.
SIGRUN_SIGNAL_SAFE long send_control(int tid) noexcept;
SIGRUN_SIGNAL_SAFE bool is_control(const siginfo_t& info) noexcept;

/// Asks for a mask edit on a thread. False: all request slots are in use.
SIGRUN_SIGNAL_SAFE bool request_mask(int tid, signal_set open, signal_set close) noexcept;

/// Makes the caller the one that carries out or drops a request for thread `tid`, and then vacates
/// it. A thread and the handler that interrupts it may both be at it.
SIGRUN_SIGNAL_SAFE bool claim_request(mask_request& request, int tid) noexcept;
SIGRUN_SIGNAL_SAFE void vacate(mask_request& request) noexcept;

/// A handler on thread `tid` is about to block `signals` in the context it interrupted. `spilled`
/// is the event that the ring had no room for, or null. False: all request slots are in use.
SIGRUN_SIGNAL_SAFE bool hold_back_on(int tid, signal_set signals,
                                     const signal_event* spilled) noexcept;

/// With the duty: what spilled until now, in the order taken. Returns how many.
unsigned list_spilled(request_list& list) noexcept;
/// With the duty: takes one of those out of its request.
signal_event take_spilled(std::uint8_t index) noexcept;

/// With the duty, when the queue has been drained: lets every thread whose signals were held back
/// have them again, unless an event of theirs is yet to be dispatched. The caller, `self`, opens
/// its own without a signal.
void release_held_back(const thread_block& self) noexcept;

/// What is blocked on that thread in any case, held back or not.
SIGRUN_SIGNAL_SAFE signal_set kept_blocked(const thread_block& self) noexcept;

/// Whether a thread has yet to carry out a request_mask() that asks for nothing, but to answer.
bool has_empty_request(int tid) noexcept;
/// Takes such requests back.
void withdraw_empty_requests(int tid) noexcept;
/// Whether a request for a thread is under way, as where signals are held back on it.
bool has_request(int tid) noexcept;
/// The signals that are held back on the calling thread, whose block `self` is, or were lately:
/// where it has them blocked, that is by us, and for the moment.
SIGRUN_SIGNAL_SAFE signal_set held_here(const thread_block* self) noexcept;

/// Carries out the requests for the calling thread in ordinary code. For threads that block SIGURG.
void apply_mask_requests(thread_block& self) noexcept;

/// The kernel's action structure that enters through sigtramp.
sys::kernel_sigaction our_action() noexcept;
SIGRUN_SIGNAL_SAFE bool is_ours(const sys::kernel_sigaction& action) noexcept;

}  // namespace sigrun::sigsafe
