// SPDX-License-Identifier: Apache-2.0
//
// Goroutines: functions that run concurrently on a few threads, on stacks of their own, and cost
// some nanoseconds to start and to switch. They block on channels, locks, timers and sockets of
// this library; while one is blocked its thread runs others.
//
//   int main() {
//     return sigrun::run([] {
//       sigrun::chan<int> ch;
//       sigrun::go([ch] { ch.send(42); });
//       std::printf("%d\n", *ch.recv());
//     });
//   }
//
// Threads: everything here may be called from goroutines and plain threads alike, unless it says
// otherwise; nothing in a signal handler. The scheduler starts with the first go() or run().
//
// A goroutine may be on another thread after any call that blocks. So nothing that belongs to a
// thread may be carried across one: addresses of thread_local variables (compilers keep them in
// registers), std::this_thread::get_id(), a held std::mutex. errno and the exceptions being handled
// do travel with the goroutine.
#pragma once

#include <sigrun/detail/go_task.hpp>
#include <sigrun/signal_set.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace sigrun {

/// How a goroutine is to be made.
struct go_options {
  /// For dumps; up to 31 bytes are kept.
  std::string_view name = {};
  /// Bytes of address space reserved for its stack; memory is used as it is touched. 0: the default
  /// of 64 KiB. Rounded up to a power of two; at most 1 GiB.
  std::size_t stack_size = 0;
};

/// What became of the signals raised for a goroutine, or for all of them. Counters only grow; at
/// rest raised = handled + merged + dropped + dropped_by_exit + waiting.
struct raise_stats {
  std::uint64_t raised = 0;           ///< raise() by anybody, refused ones (ESRCH …) excepted
  std::uint64_t handled = 0;          ///< events given to a handler
  std::uint64_t merged = 0;           ///< into one that waits, because the queue was full
  std::uint64_t dropped = 0;          ///< because the queue was full
  std::uint64_t dropped_by_exit = 0;  ///< still waiting when the goroutine ended
  std::uint64_t waiting = 0;          ///< now
};

/// One goroutine, for those who have no handle on it; it may have ended long ago. A value that can
/// be copied and given to any thread.
class goroutine_ref {
 public:
  goroutine_ref() noexcept = default;
  goroutine_ref(const goroutine_ref& other) noexcept;
  goroutine_ref(goroutine_ref&& other) noexcept : mail_(std::exchange(other.mail_, nullptr)) {}
  goroutine_ref& operator=(goroutine_ref other) noexcept {
    std::swap(mail_, other.mail_);
    return *this;
  }
  ~goroutine_ref() { clear(); }

  explicit operator bool() const noexcept { return mail_ != nullptr; }
  /// The goroutine's number; 0 without a goroutine.
  std::uint64_t id() const noexcept;
  /// As goroutine::raise().
  bool raise(int signo, std::uint64_t value = 0) const;
  bool raise(int signo, std::uint64_t value, std::error_code& error) const noexcept;
  /// Of this goroutine; all zeros without one.
  raise_stats stats() const noexcept;

 private:
  friend class goroutine;
  friend class handler_raise;
  friend goroutine_ref this_goroutine();
  explicit goroutine_ref(void* mail) noexcept : mail_(mail) {}
  void clear() noexcept;

  void* mail_ = nullptr;
};
/// The calling one. Throws std::logic_error on a plain thread, std::bad_alloc.
goroutine_ref this_goroutine();

/// A handle on a goroutine, as std::thread is one on a thread; but its end does not wait and does
/// not complain: the goroutine goes on without a handle.
///
/// An exception that leaves a goroutine is kept for join(). When there is no handle (any more), or
/// the handle goes away without join(), it ends the process by std::terminate().
class goroutine {
 public:
  goroutine() noexcept = default;
  goroutine(goroutine&& other) noexcept : g_(std::exchange(other.g_, nullptr)) {}
  goroutine& operator=(goroutine&& other) noexcept {
    goroutine moved(std::move(other));
    std::swap(g_, moved.g_);
    return *this;
  }
  ~goroutine() {
    if (g_ != nullptr) detail::drop(g_);
  }

  /// Whether this handle has a goroutine: neither empty, nor joined, nor detached.
  bool joinable() const noexcept { return g_ != nullptr; }
  /// Waits until it has ended and rethrows what left it. Throws std::logic_error when not
  /// joinable(), and when a goroutine joins itself.
  void join() { detail::join(std::exchange(g_, nullptr)); }
  /// Gives the handle up.
  void detach() noexcept {
    if (g_ != nullptr) detail::drop(std::exchange(g_, nullptr));
  }
  /// Whether it has ended. False without a goroutine.
  bool done() const noexcept { return g_ != nullptr && detail::done(g_); }
  /// Its number, 1 and up, never used again; 0 without a goroutine.
  std::uint64_t id() const noexcept { return g_ != nullptr ? detail::id(g_) : 0; }

  /// Sends the goroutine a signal of its own: a signal_event with origin `goroutine`, `value`, and
  /// who raised it. Nothing of the kernel's is involved. The goroutine's own handler for `signo`
  /// (raise_handler, in raise.hpp) runs in it, as ordinary code, at its next preemption point; one
  /// that waits is woken for it. What has no handler yet waits for one, in a queue with room for 64
  /// (set_raise_queue). False: it found no room, and was dropped and counted.
  ///
  /// Throws std::invalid_argument for what is no signal, and SIGKILL, SIGSTOP, 32 and 33;
  /// std::logic_error when not joinable(); std::system_error: ESRCH when the goroutine has ended,
  /// ENOMEM. The other form has EINVAL for the former two. Any thread, but not in a signal handler:
  /// handler_raise is for those.
  bool raise(int signo, std::uint64_t value = 0) const;
  bool raise(int signo, std::uint64_t value, std::error_code& error) const noexcept;
  /// For others who want to raise. Throws std::logic_error when not joinable(), std::bad_alloc.
  goroutine_ref ref() const;

 private:
  explicit goroutine(void* g) noexcept : g_(g) {}
  template <class F, class... A>
  friend goroutine go(const go_options&, F&&, A&&...);

  void* g_ = nullptr;
};

/// Runs f(args...) in a new goroutine, with decayed copies of both. Throws std::system_error:
/// ENOMEM without memory for a stack, EAGAIN when the first thread cannot be made; and what the
/// copies throw.
template <class F, class... A>
goroutine go(const go_options& options, F&& f, A&&... args) {
  using task = detail::go_task<std::decay_t<F>, std::decay_t<A>...>;
  detail::new_goroutine fresh(options.stack_size, task::size, task::align, options.name);
  task::make(fresh.place(), std::forward<F>(f), std::forward<A>(args)...);
  return goroutine(fresh.start(&task::run));
}
template <class F, class... A>
requires(!std::is_same_v<std::decay_t<F>, go_options>) goroutine go(F&& f, A&&... args) {
  return go(go_options{}, std::forward<F>(f), std::forward<A>(args)...);
}

/// Runs `main_function` as the main goroutine and returns when it has: its int, or 0. Goroutines
/// that still run are left to run, as threads are, until the process ends. What leaves
/// main_function is rethrown here. The calling thread waits and keeps its signal mask.
///
/// While run() waits and no goroutine can ever be woken again, the process ends: "all goroutines
/// are asleep - deadlock!" on stderr with what each waits for, exit status 2.
template <class F>
int run(F&& main_function) {
  int status = 0;
  auto body = [&status, &main_function] {
    if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
      main_function();
      status = 0;  // clang warns of a capture that one branch does not use
    } else {
      status = main_function();
    }
  };
  detail::run_main([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body);
  return status;
}

/// Lets other goroutines run, then runs the handlers of what was raised for this one, and throws
/// what they throw. On a plain thread sched_yield(2).
void yield();
/// The same, but only when somebody needs the processor, or something was raised: for long loops. A
/// few nanoseconds.
void preempt_point();
/// Ends the calling goroutine: its stack is unwound, destructors run, join() returns. It is thrown
/// as an exception that is not a std::exception; who catches (...) must rethrow. std::logic_error
/// on a plain thread.
[[noreturn]] void goexit();

/// The calling goroutine's number; 0 on a plain thread.
std::uint64_t goroutine_id() noexcept;
/// Its name, and labels, for dumps. Up to 31 bytes of a name are kept. No effect on plain threads.
void set_goroutine_name(std::string_view name) noexcept;
std::string goroutine_name();
/// Labels are inherited by the goroutines it starts from then on. An empty value takes one away.
void set_goroutine_label(std::string_view key, std::string_view value);

/// How many goroutines run at the same time: 1 to 256. The first is the environment's
/// SIGRUN_MAX_PROCS, else the number of CPUs that the process may use (sched_getaffinity(2)).
int max_procs() noexcept;
/// Changes it, at any time; returns the number before. std::invalid_argument names a bad one.
int max_procs(int n);
/// How many threads the scheduler may make for goroutines, 10,000 at first; threads are made only
/// for foreign calls and goroutines that do not yield. At the limit goroutines wait. Returns the
/// number before. std::invalid_argument for less than 1.
int max_threads(int n);

/// From here on the calling goroutine runs on its present thread, and nothing else does; for
/// libraries that keep things per thread. As many unlocks as locks release it, or its end does.
/// Each switch to or from it then costs a thread switch. No effect on plain threads.
void lock_os_thread() noexcept;
void unlock_os_thread() noexcept;

/// Runs f() where it may block in the kernel or in a library: on the thread's own stack (8 MiB),
/// and other goroutines take over the processor when it takes longer than some 20 microseconds.
/// Returns what f does; exceptions pass. Within f this is a plain thread: blocking operations of
/// this library block it. On a plain thread just f().
template <class F>
decltype(auto) foreign_call(F&& f) {
  return detail::run_foreign(std::forward<F>(f));
}

/// One goroutine, as a dump shows it.
struct goroutine_info {
  std::uint64_t id = 0;
  std::uint64_t parent_id = 0;  ///< 0: started by a plain thread
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;
  std::string state;               ///< "running", "runnable", or what it waits for: "chan receive"
  const void* waits_on = nullptr;  ///< the channel, lock …; nullptr when it does not wait
  const void* created_at = nullptr;      ///< an address in the function that started it
  std::chrono::nanoseconds in_state{0};  ///< how long, to some 10 ms
  bool locked_to_thread = false;
  signal_set deferred;         ///< raised for it, and not handled yet
  std::size_t stack_size = 0;  ///< what it may use
  /// The most that it has used, in whole pages; what an earlier goroutine used of the same stack
  /// counts too, until the process has been idle for some 100 ms. Swapped-out pages do not.
  std::size_t stack_used = 0;
};

/// All that have not ended, as they were at some moment during the call, by number.
std::vector<goroutine_info> goroutines();
/// Their number, about.
std::size_t goroutine_count() noexcept;
/// The list as text, a line each: "goroutine 7 [chan receive, 2 minutes]: name key=value …".
std::string goroutines_text();

/// Of all goroutines together.
raise_stats raised_stats() noexcept;

/// Figures since the start; each is read by itself.
struct scheduler_statistics {
  int procs = 0;                ///< max_procs()
  int idle_procs = 0;           ///< of these: without work
  int threads = 0;              ///< made for goroutines
  int spinning = 0;             ///< of these: looking for work now
  std::int64_t goroutines = 0;  ///< not ended
  std::uint64_t spawned = 0;    ///< started by goroutines
  std::uint64_t switches = 0;   ///< times a goroutine was run
  std::uint64_t steals = 0;     ///< batches taken from another processor's queue
  std::uint64_t timers_fired = 0;
  std::uint64_t handoffs = 0;          ///< processors taken from goroutines that did not yield
  std::uint64_t foreign_retakes = 0;   ///< processors taken during foreign calls
  std::uint64_t preempt_requests = 0;  ///< goroutines asked to yield after 10 ms
  /// Of these: asked by a signal to stop at once (docs/preemption.md), and what became of it. At
  /// rest the first is the sum of the others.
  std::uint64_t preempt_asked = 0;
  std::uint64_t preempt_injected = 0;  ///< stopped in a SIGRUN_PREEMPTIBLE function
  std::uint64_t preempt_outside = 0;   ///< was in other code
  std::uint64_t preempt_no_room = 0;   ///< its stack, or what the processor held, did not allow it
  std::uint64_t preempt_in_runtime = 0;  ///< was in the scheduler or in a foreign call, or deferred
  std::uint64_t preempt_yielded = 0;     ///< came to a preemption point first
  std::uint64_t preempt_unanswered = 0;  ///< not handled in time
  /// Signals (docs/duty.md): goroutines that were run by the very thread which took their signal,
  /// or which dispatched it, in batches;
  std::uint64_t signal_runs = 0;
  std::uint64_t signal_wakes = 0;     ///< idle threads woken by a handler to dispatch,
  std::uint64_t signal_breaks = 0;    ///< and sleeps in the netpoller that it ended;
  std::uint64_t signal_polls = 0;     ///< deliveries that had the network looked at anew
  std::uint64_t signal_rescues = 0;   ///< times the stand-by thread had to dispatch what lay there
  std::uint64_t monitor_rings = 0;    ///< times sysmon was told to look at once
  std::uint64_t polls = 0;            ///< looks at the network
  std::uint64_t wakes = 0;            ///< idle threads woken for work
  std::uint64_t threads_refused = 0;  ///< not made: the limit, or the system's
  std::uint64_t monitor_looks = 0;    ///< of sysmon
};
scheduler_statistics statistics_of_scheduler() noexcept;

}  // namespace sigrun
