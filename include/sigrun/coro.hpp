// SPDX-License-Identifier: Apache-2.0
//
// Channels with C++20 co_await and nothing else: a loop on one thread around poll(2), for programs
// that have no event loop of their own.
//
//   sigrun::coro::task<> serve(sigrun::coro::loop& loop, sigrun::signal_chan ch) {
//     while (auto event = co_await loop.recv(ch)) handle(*event);
//   }
//   sigrun::coro::loop loop;
//   loop.spawn(serve(loop, ch));
//   loop.run();
//
// Not part of sigrun.hpp. Header only.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/detail/descriptors.hpp>

#include <poll.h>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <list>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace sigrun::coro {

template <class T = void>
class task;

namespace detail {

struct task_promise_base {
  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      const std::coroutine_handle<> next = ended.promise().continuation;
      return next ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  final_awaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }
  void rethrow() const {
    if (error) std::rethrow_exception(error);
  }

  std::coroutine_handle<> continuation;
  std::exception_ptr error;
};

template <class T>
struct task_promise : task_promise_base {
  task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    rethrow();
    return std::move(*value);
  }
  std::optional<T> value;
};

template <>
struct task_promise<void> : task_promise_base {
  task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const { rethrow(); }
};

}  // namespace detail

/// A coroutine that starts when it is awaited, or spawned on a loop. Move-only; owns its frame.
/// co_await gives its result, or throws what it threw.
template <class T>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;

  task() noexcept = default;
  explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      if (frame_) frame_.destroy();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~task() {
    if (frame_) frame_.destroy();
  }

  auto operator co_await() && noexcept {
    struct awaiter {
      std::coroutine_handle<promise_type> frame;
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
        frame.promise().continuation = caller;
        return frame;
      }
      T await_resume() const { return frame.promise().take(); }
    };
    return awaiter{frame_};
  }

 private:
  friend class loop;
  std::coroutine_handle<promise_type> frame_;
};

template <class T>
task<T> detail::task_promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> detail::task_promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

/// Runs coroutines on the thread that calls run(). Everything here belongs to that thread, but
/// requests to stop may come from any. Must outlive the coroutines that wait on it, which its
/// destructor destroys when they were spawned on it.
class loop {
  class waiter;

 public:
  /// Throws std::system_error when there is no descriptor left.
  loop() : wake_fd_(sigrun::detail::make_bell()) {
    if (wake_fd_ < 0) throw_error(-wake_fd_, "eventfd");
  }
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;
  ~loop() {
    tasks_.clear();  // their awaiters leave waiters_ and use the descriptor
    sigrun::detail::close_descriptor(wake_fd_);
  }

  template <class T>
  class recv_awaiter;

  /// co_await gives the next value; nullopt when the channel is closed and drained, or `stop` was
  /// requested before there was one (a stopped receive has taken no value). Throws, from the
  /// co_await, std::logic_error for an empty handle and std::system_error when there is no
  /// descriptor left. Several coroutines, loops and threads may receive on one channel.
  template <class T>
  recv_awaiter<T> recv(chan<T> ch, std::stop_token stop = {}) {
    return recv_awaiter<T>(*this, std::move(ch), std::move(stop));
  }

  /// Takes the coroutine; run() starts it. May be called from a running one.
  void spawn(task<> coroutine) { tasks_.push_back({std::move(coroutine), false}); }

  /// Runs until every spawned coroutine has ended. Throws what one of them threw: that one is gone
  /// then, the others wait for the next run().
  void run() {
    for (;;) {
      start_and_reap();
      if (tasks_.empty()) return;
      poll_once();
    }
  }

 private:
  struct spawned {
    task<> coroutine;
    bool started;
  };

  // One suspended receive. It lives in its coroutine's frame and takes itself off the list.
  class waiter {
   public:
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;
    virtual ~waiter() { leave(); }

   protected:
    explicit waiter(loop& l) noexcept : loop_(l) {}
    /// True: the coroutine can go on.
    virtual bool attempt() = 0;
    void enter(std::coroutine_handle<> frame, int fd) {
      frame_ = frame;
      fd_ = fd;
      loop_.waiters_.push_back(this);
    }
    void leave() noexcept {
      if (frame_) loop_.waiters_.remove(this);
      frame_ = nullptr;
    }
    loop& loop_;

   private:
    friend class loop;
    std::coroutine_handle<> frame_;
    int fd_ = -1;
  };

  struct waker {
    int fd;
    void operator()() const noexcept { sigrun::detail::ring_bell(fd); }
  };

  [[noreturn]] static void throw_error(int error, const char* what) {
    throw std::system_error(error, std::system_category(), std::string("sigrun::coro: ") + what);
  }

  void start_and_reap() {
    for (auto it = tasks_.begin(); it != tasks_.end();) {
      if (!it->started) {
        it->started = true;
        it->coroutine.frame_.resume();  // may spawn more: they come at the end of the list
      }
      if (!it->coroutine.frame_.done()) {
        ++it;
        continue;
      }
      const task<> ended = std::move(it->coroutine);
      it = tasks_.erase(it);
      ended.frame_.promise().take();
    }
  }

  void poll_once() {
    if (waiters_.empty()) throw std::logic_error("sigrun::coro::loop::run: nothing to wait for");
    fds_.assign(1, pollfd{wake_fd_, POLLIN, 0});
    polled_.assign(waiters_.begin(), waiters_.end());
    for (const waiter* w : polled_) fds_.push_back(pollfd{w->fd_, POLLIN, 0});
    const int ready = sigrun::detail::wait_for_descriptors(fds_.data(), fds_.size());
    if (ready == -EINTR) return;
    if (ready < 0) throw_error(-ready, "poll");
    const bool told = fds_[0].revents != 0;
    if (told) sigrun::detail::silence_bell(wake_fd_);
    // A resumed coroutine may end others, so each is looked up again before it is touched. Those
    // that began to wait meanwhile have their turn in the next round.
    for (std::size_t i = 0; i < polled_.size(); ++i) {
      waiter* const w = polled_[i];
      if ((!told && fds_[i + 1].revents == 0) || !waits(w) || !w->attempt()) continue;
      const std::coroutine_handle<> frame = w->frame_;
      w->leave();
      frame.resume();
    }
  }

  bool waits(const waiter* wanted) const noexcept {
    for (const waiter* w : waiters_) {
      if (w == wanted) return true;
    }
    return false;
  }

  int wake_fd_;
  std::list<waiter*> waiters_;
  std::list<spawned> tasks_;
  std::vector<pollfd> fds_;      // kept between rounds for their memory
  std::vector<waiter*> polled_;  // the same
};

/// What loop::recv() returns; co_await it at once.
template <class T>
class [[nodiscard]] loop::recv_awaiter final : waiter {
 public:
  recv_awaiter(loop& l, chan<T> ch, std::stop_token stop)
      : waiter(l), ch_(std::move(ch)), stop_(std::move(stop)) {}

  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> frame) {
    enter(frame, ch_.fd());
    // Runs at once when the request has come meanwhile; the loop then finds its descriptor set.
    if (stop_.stop_possible()) on_stop_.emplace(stop_, waker{loop_.wake_fd_});
  }
  std::optional<T> await_resume() { return std::move(value_); }

 private:
  bool attempt() override {
    if (stop_.stop_requested()) return true;
    T value{};
    const chan_status status = ch_.recv_for(std::chrono::nanoseconds{0}, value);
    if (status == chan_status::ok) value_.emplace(std::move(value));
    return status != chan_status::timeout;
  }

  chan<T> ch_;
  std::stop_token stop_;
  std::optional<T> value_;
  std::optional<std::stop_callback<waker>> on_stop_;
};

}  // namespace sigrun::coro
