// SPDX-License-Identifier: Apache-2.0
//
// Signals as events on channels: the notify family, after Go's os/signal (src/os/signal/signal.go)
// with what that leaves out: payload, order, counters, policies and honest dispositions.
//
// Threads: every function here may be called from any thread, at any time, and none from a signal
// handler except where it says so. User code never runs in a handler.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/overflow.hpp>
#include <sigrun/signal_event.hpp>
#include <sigrun/signal_names.hpp>
#include <sigrun/signal_set.hpp>

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stop_token>
#include <string>
#include <system_error>
#include <vector>

namespace sigrun {

using signal_chan = chan<signal_event>;

// ------------------------------------------------------------------------------ start-up options

/// Which threads have subscribed signals blocked (contract A1).
enum class isolation {
  /// Blocked on every thread that the runtime made, on the thread that calls notify() and on those
  /// that receive signals. Fastest; a child made by raw posix_spawn() from such a thread inherits
  /// the block: use process::spawn() or an original_mask guard.
  strict,
  /// No thread outside the runtime keeps anything blocked. Signals that reach such a thread come
  /// in through a handler.
  shared,
};

/// How the thread with the signal duty takes signals.
enum class way_in {
  wait,     ///< synchronously, in rt_sigtimedwait(2)
  handler,  ///< through the sigtramp handler and the queue
};

struct signal_options {
  isolation isolate = isolation::strict;
  way_in way = way_in::wait;
  /// Slots of the queue between handlers and dispatch; a power of two, 64 to 65536.
  std::uint32_t queue_capacity = 1024;
  /// SIGPIPE without a subscriber: true = kills when fd 1 or 2 was written to, else only EPIPE
  /// (Go's rule); false = POSIX. An inherited SIG_IGN or a foreign handler is left alone.
  bool sigpipe_by_fd = true;
  /// SIGQUIT without a subscriber: true = writes what the runtime knows to fd 2, then dies by it.
  bool sigquit_dumps = true;
};

/// Sets the options, before anything else here was used. Without it the environment decides:
/// SIGRUN_ISOLATION=strict|shared and SIGRUN_WAY_IN=wait|handler.
/// Throws std::logic_error when signals are already running, std::invalid_argument (naming the
/// member and its value) for a value out of range.
void configure_signals(const signal_options& options);

// --------------------------------------------------------------------------------- subscriptions

/// Whether a handler that was installed before ours is called too, in the handler.
enum class chain { none, before, after };

enum class verdict : std::uint8_t { accept, deny, log };

/// One line of a sender policy. Members left empty match everything; the first line that matches
/// decides; no line: accept. `log` accepts and counts.
struct sender_rule {
  verdict then = verdict::accept;
  std::vector<int> pids{};
  std::vector<unsigned> uids{};
  /// Matches only senders whose pid is not visible here (si_pid 0 with a sender's code).
  bool outside_pid_namespace = false;
};

struct rate_limit {
  std::uint32_t events = 0;  ///< at most this many per period; 0: no limit
  std::chrono::nanoseconds per{std::chrono::seconds{1}};
};

struct notify_options {
  overflow full = overflow::drop_newest;
  std::uint32_t unbounded_max = 1U << 20;
  chain previous = chain::none;
  std::vector<sender_rule> senders{};
  rate_limit rate{};
  /// Accept SIGSEGV SIGBUS SIGFPE SIGILL SIGTRAP SIGSYS SIGSTKFLT, for those that are *sent*
  /// (si_code <= 0). Real faults never come through a channel.
  bool allow_sent_faults = false;
  /// Leave a signal alone that was ignored when the program started (nohup, systemd).
  bool respect_inherited_ignore = false;
};

/// Sends each of `signos` to `ch` from now on, in addition to what `ch` has already; an empty set
/// means every signal that can be caught. When it returns, a signal sent from then on is never
/// handled by the default action. Closing the channel, or dropping its last handle, is stop(ch).
///
/// Throws std::invalid_argument: SIGKILL, SIGSTOP, 32, 33, a number that is no signal, a fault
/// signal without allow_sent_faults, an empty or closed channel, a channel without a buffer under
/// a dropping policy. Throws std::system_error when a thread or a stack cannot be had.
void notify(const signal_chan& ch, std::initializer_list<int> signos,
            const notify_options& options = {});
void notify(const signal_chan& ch, signal_set signos, const notify_options& options = {});
template <class... Signos>
requires(std::is_convertible_v<Signos, int>&&...) void notify(const signal_chan& ch,
                                                              Signos... signos) {
  notify(ch, {static_cast<int>(signos)...}, notify_options{});
}

/// Undoes every notify() of `ch`. Signals taken before are delivered first; when it returns, none
/// will be delivered any more. The last stop of a signal restores the exact previous sigaction.
void stop(const signal_chan& ch);

/// Stops all channels for these signals (all signals when none are given) and has the process
/// ignore them (SIG_IGN), resp. restores the disposition found at the start, which undoes
/// ignore(). Neither loses nor doubles a signal: each reaches its channels or its disposition.
void ignore(std::initializer_list<int> signos = {});
void reset(std::initializer_list<int> signos = {});
/// Whether the kernel discards this signal now because of SIG_IGN. Reads the true disposition.
bool ignored(int signo);

/// Requests stop on `source` at the first of `signos`, from a thread of its own, so a slow
/// stop_callback holds up nobody. After that the signal has its previous disposition again: a
/// second Ctrl-C always works. Destroying the object ends the subscription.
class stop_subscription {
 public:
  stop_subscription() noexcept = default;
  stop_subscription(stop_subscription&&) noexcept = default;
  stop_subscription& operator=(stop_subscription&&) noexcept;
  ~stop_subscription();
  /// The signal that caused the stop; nullptr before.
  const signal_event* cause() const noexcept;

 private:
  friend stop_subscription notify_stop(std::stop_source&, std::initializer_list<int>,
                                       const notify_options&);
  struct state;
  std::shared_ptr<state> state_;
};
[[nodiscard]] stop_subscription notify_stop(std::stop_source& source,
                                            std::initializer_list<int> signos,
                                            const notify_options& options = {});

// --------------------------------------------------------------------------------------- sending

/// Puts an event into this process's queue as if a handler had (sigsend in Go's runtime), with
/// origin `runtime` or `simulated`. May be called in a handler. False: nobody subscribes, or the
/// queue is full and the event was counted as merged or dropped.
bool inject(int signo, std::uint64_t value = 0,
            signal_origin origin = signal_origin::runtime) noexcept;

/// sigqueue(3) to a process and rt_tgsigqueueinfo(2) to one thread of this process. May be called
/// in a handler (the error_code forms). EAGAIN: RLIMIT_SIGPENDING is used up.
void send(int pid, int signo, std::uint64_t value);
void send(int pid, int signo, std::uint64_t value, std::error_code& error) noexcept;
void send_thread(int tid, int signo, std::uint64_t value);
void send_thread(int tid, int signo, std::uint64_t value, std::error_code& error) noexcept;

// ----------------------------------------------------------------------------------- the threads

/// Closes or opens the calling thread, or another of this process, for all subscribed signals.
/// Another thread does it in a handler, at once unless it blocks SIGURG. ESRCH: no such thread.
void close_thread();
void open_thread();
void close_thread(int tid, std::error_code& error) noexcept;
void open_thread(int tid, std::error_code& error) noexcept;

/// While it lives, the calling thread has the mask it would have without the runtime: for third
/// party code that spawns children. Nests; must be destroyed by the thread that made it.
class original_mask {
 public:
  original_mask() noexcept;
  ~original_mask();
  original_mask(const original_mask&) = delete;
  original_mask& operator=(const original_mask&) = delete;

 private:
  std::uint64_t own_;   // what the program itself has blocked
  std::uint64_t ours_;  // where the runtime does not know the thread: what else was
  bool met_;
};

/// Gives the calling thread, which must be the process's initial one, to the signal duty while
/// `main` runs on another thread; returns what it returns. The kernel prefers the initial thread,
/// so this is the fast arrangement for isolation::shared. Throws std::logic_error elsewhere.
int run_with_signals(int (*main)(void*), void* argument);

// ------------------------------------------------------------------------------ counters, doctor

/// Counters of one channel's subscription. All only grow; zero for a channel that has none (any
/// more).
struct channel_stats {
  std::uint64_t delivered = 0;  ///< events put into the channel or given to a receiver
  std::uint64_t merged = 0;     ///< signals that were merged into a waiting event
  std::uint64_t dropped = 0;    ///< by the overflow policy
  std::uint64_t denied = 0;     ///< by the sender policy
  std::uint64_t logged = 0;     ///< accepted by a rule that says log
  std::uint64_t limited = 0;    ///< by the rate limit
};
channel_stats stats(const signal_chan& ch);
/// The last events (at most 16, oldest first) that the sender policy denied or logged.
std::vector<signal_event> policy_log(const signal_chan& ch);

/// Process-wide counters. received = dispatched + merged + dropped + unclaimed + still queued.
struct signal_stats {
  std::uint64_t received = 0;    ///< signals taken from the kernel or injected
  std::uint64_t by_wait = 0;     ///< of them, taken in rt_sigtimedwait
  std::uint64_t by_handler = 0;  ///< of them, through sigtramp
  std::uint64_t dispatched = 0;
  std::uint64_t merged = 0;   ///< into an earlier one, because the queue was full
  std::uint64_t dropped = 0;  ///< because the queue was full and the kernel would not keep it
  std::uint64_t held_back =
      0;  ///< times a thread left its real-time signals in the kernel (back-pressure)
  std::uint64_t unclaimed = 0;  ///< nobody subscribed any more: given to the disposition
  std::uint64_t queue_high_water = 0;
  std::uint64_t queue_capacity = 0;
  std::uint64_t foreign_child = 0;  ///< handlers that found themselves in a forked child
};
signal_stats stats() noexcept;

/// One thing that is wrong with the process's signal set-up, in words.
struct finding {
  enum class kind {
    thread_steals,       ///< has a subscribed signal open and is not the runtime's
    thread_blocks,       ///< blocks a subscribed signal that is sent to it alone
    handler_replaced,    ///< somebody installed another handler for a subscribed signal
    no_alternate_stack,  ///< a handler of somebody else lacks SA_ONSTACK
  };
  kind what;
  int signo;
  int tid;
  std::string thread_name;
  std::string object;  ///< file that holds the foreign handler's code, from /proc/self/maps
  std::string text;
};
std::vector<finding> doctor();
/// Installs our handler again for every signal that handler_replaced names, keeping the foreign
/// one to be chained when `previous` says so. Returns how many were re-armed.
int rearm(chain previous = chain::after);

}  // namespace sigrun
