// SPDX-License-Identifier: Apache-2.0
//
// Time: sleeping, timers that send on a channel or call a function, and tickers; after Go's package
// time, with the guarantees it has had since Go 1.23.
//
//   sigrun::sleep_for(10ms);
//
//   sigrun::timer idle(30s);
//   switch (sigrun::select(sigrun::recv_case(requests, r), sigrun::recv_case(idle.channel()))) {
//     case 0: serve(r); idle.reset(30s); break;
//     case 1: hang_up(); break;
//   }
//
// Everything counts on std::chrono::steady_clock, to the nanosecond; nothing ends before its time.
// How much later depends on the kernel and on the load: docs/time.md has figures. A duration that
// is too long to count ends never, one of zero or less ends at once.
//
// Threads: everything may be called from goroutines and plain threads, on one object at the same
// time too; nothing in a signal handler. Timers are no threads: the scheduler, which the first one
// starts, looks after all of them.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/detail/deadline.hpp>
#include <sigrun/go.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

namespace sigrun {

namespace detail {

/// A timer or ticker as the scheduler sees it; outlives its handle while it is due.
class timer_state;

/// What after_func() runs. Lies in its timer_state.
class timer_task {
 public:
  virtual ~timer_task() = default;
  /// Starts a goroutine that runs the function; throws what go() does. Without locks.
  virtual void start(timer_state& owner) = 0;
};

/// Keeps a timer_state, and with it the task.
class timer_share {
 public:
  explicit timer_share(timer_state& state) noexcept;
  timer_share(timer_share&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  timer_share& operator=(timer_share&&) = delete;
  ~timer_share() {
    if (state_ != nullptr) drop();
  }

 private:
  void drop() noexcept;
  timer_state* state_;
};

template <class F>
class timer_function final : public timer_task {
 public:
  template <class G>
  explicit timer_function(G&& function) : function_(std::forward<G>(function)) {}
  void start(timer_state& owner) override {
    go([this, share = timer_share(owner)] { std::invoke(function_); });
  }

 private:
  F function_;
};

using timer_channel = chan<std::chrono::steady_clock::time_point>;

/// The program's share in a timer_state. Its end ends a ticker, and a timer that nobody can see.
class timer_handle {
 public:
  timer_handle() noexcept = default;
  timer_handle(timer_handle&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)),
        channel_(std::move(other.channel_)),
        periodic_(other.periodic_) {}
  timer_handle& operator=(timer_handle&& other) noexcept {
    timer_handle moved(std::move(other));
    std::swap(state_, moved.state_);
    std::swap(channel_, moved.channel_);
    std::swap(periodic_, moved.periodic_);
    return *this;
  }
  ~timer_handle() {
    if (state_ != nullptr) drop();
  }
  /// One that sends on a channel, once or every `period_ns`; or one that runs a function.
  static timer_handle sending(std::int64_t wait_ns, std::int64_t period_ns);
  template <class F, class G>
  static timer_handle starting(std::int64_t wait_ns, G&& function) {
    using task = timer_function<F>;
    static_assert(alignof(task) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
                  "over-aligned: hand over a std::unique_ptr in a lambda");
    timer_handle handle(sizeof(task));
    handle.arm(::new (handle.room()) task(std::forward<G>(function)), wait_ns);
    return handle;
  }

  const timer_channel& channel() const noexcept { return channel_; }
  /// Both throw std::logic_error, naming `what`, on an empty handle.
  bool stop(const char* what);
  bool reset(const char* what, std::int64_t wait_ns, std::int64_t period_ns);
  std::uint64_t dropped() const noexcept;

 private:
  /// With room for a task, which arm() gives to the state.
  explicit timer_handle(std::size_t task_size);
  void* room() const noexcept;
  void arm(timer_task* task, std::int64_t wait_ns) noexcept;
  void drop() noexcept;
  timer_state& need(const char* what) const;

  timer_state* state_ = nullptr;
  timer_channel channel_;
  bool periodic_ = false;
};

/// Nanoseconds, rounded up; not more than there are.
template <class Rep, class Period>
constexpr std::int64_t wait_ns(std::chrono::duration<Rep, Period> wait) noexcept {
  const std::chrono::duration<double, std::nano> about = wait;
  if (about.count() >= 9.2e18) return wait_for_ever;
  if (!(about.count() > -9.2e18)) return do_not_wait;  // and not a number
  return std::chrono::ceil<std::chrono::nanoseconds>(wait).count();
}

void sleep_ns(std::int64_t wait_ns);
void sleep_until_ns(std::int64_t deadline_ns);
/// `period_ns` when it can be one. Throws std::invalid_argument naming it.
std::int64_t ticker_period(std::int64_t period_ns);

}  // namespace detail

// ---------------------------------------------------------------------------------------- sleeping

/// Blocks the calling goroutine, or thread, for at least `wait`. Zero or less: returns at once.
/// Throws nothing of its own: what a handler of the goroutine throws (raise.hpp) ends the sleep.
template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> wait) {
  detail::sleep_ns(detail::wait_ns(wait));
}
/// Until `deadline` has come. By another clock than steady_clock: for what is left by it now, so
/// setting that clock does not move the end.
template <class Clock, class Duration>
void sleep_until(std::chrono::time_point<Clock, Duration> deadline) {
  if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
    detail::sleep_until_ns(detail::deadline_at(deadline));
  } else {
    sleep_for(deadline - Clock::now());
  }
}

// ------------------------------------------------------------------------------------------ timers

/// One event in the future. Its end, when it was made by after_func() or when others have handles
/// on its channel, does not stop it: it goes off without the handle.
class timer {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  timer() noexcept = default;
  /// Sends the time it was due on channel(), once, when `wait` is over. Throws std::bad_alloc, and
  /// std::system_error when the scheduler cannot start.
  template <class Rep, class Period>
  explicit timer(std::chrono::duration<Rep, Period> wait)
      : handle_(detail::timer_handle::sending(detail::wait_ns(wait), 0)) {}

  /// For receiving only; it has room for the one value. Stopping does not close it. An empty handle
  /// for a timer that calls a function. The reference is good as long as the timer.
  const chan<time_point>& channel() const noexcept { return handle_.channel(); }

  /// After stop() nothing is received from the channel and no function is started, until reset().
  /// A value that was sent and not received is taken back. Returns whether that prevented
  /// anything: false when the timer was stopped before, the value received, or the function
  /// started (it may still be running). std::logic_error for an empty timer.
  bool stop() { return handle_.stop("sigrun::timer::stop"); }
  /// stop(), and then as if made anew with `wait`. Returns what stop() would.
  template <class Rep, class Period>
  bool reset(std::chrono::duration<Rep, Period> wait) {
    return handle_.reset("sigrun::timer::reset", detail::wait_ns(wait), 0);
  }

 private:
  template <class Rep, class Period, class F>
  friend timer after_func(std::chrono::duration<Rep, Period>, F&&);
  explicit timer(detail::timer_handle handle) noexcept : handle_(std::move(handle)) {}

  detail::timer_handle handle_;
};

/// A channel that has one value when `wait` is over: `timer(wait).channel()`. There is no stopping
/// it: what it takes, 400 bytes, is given back when the time is over.
template <class Rep, class Period>
chan<std::chrono::steady_clock::time_point> after(std::chrono::duration<Rep, Period> wait) {
  return timer(wait).channel();
}

/// Runs a decayed copy of `f` in a goroutine of its own when `wait` is over; the timer can stop it,
/// and reset() has it run again, perhaps while it still runs. What leaves `f` ends the process, as
/// it does any goroutine without a handle. Without memory for a goroutine it is tried again every
/// 10 ms. Throws as timer(wait) does, and what the copy throws.
template <class Rep, class Period, class F>
timer after_func(std::chrono::duration<Rep, Period> wait, F&& f) {
  return timer(
      detail::timer_handle::starting<std::decay_t<F>>(detail::wait_ns(wait), std::forward<F>(f)));
}

// ----------------------------------------------------------------------------------------- tickers

/// Sends the time on its channel every `period`, for receivers that keep up: the channel has room
/// for one tick, and while that is not received others are dropped and counted. Its end closes the
/// channel.
class ticker {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  ticker() noexcept = default;
  /// The first tick is due after one `period`; later ones are multiples of it after the first,
  /// however late a tick is. Throws std::invalid_argument, naming it, for a period of zero or less;
  /// std::bad_alloc, and std::system_error when the scheduler cannot start.
  template <class Rep, class Period>
  explicit ticker(std::chrono::duration<Rep, Period> period)
      : ticker(detail::ticker_period(detail::wait_ns(period))) {}

  /// For receiving only. A tick is the time it was due. Stopping does not close it.
  const chan<time_point>& channel() const noexcept { return handle_.channel(); }

  /// After stop() no tick is received, until reset(). std::logic_error for an empty ticker.
  void stop() { handle_.stop("sigrun::ticker::stop"); }
  /// stop(), and then as if made anew with `period`.
  template <class Rep, class Period>
  void reset(std::chrono::duration<Rep, Period> period) {
    const std::int64_t ns = detail::ticker_period(detail::wait_ns(period));
    handle_.reset("sigrun::ticker::reset", ns, ns);
  }
  /// Ticks that were due and not sent, because the channel was full or the tick too late for its
  /// period. What stop() and reset() took back is not among them.
  std::uint64_t dropped() const noexcept { return handle_.dropped(); }

 private:
  explicit ticker(std::int64_t ns) : handle_(detail::timer_handle::sending(ns, ns)) {}

  detail::timer_handle handle_;
};

}  // namespace sigrun
