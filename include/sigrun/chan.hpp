// SPDX-License-Identifier: Apache-2.0
//
// Channels, after Go's: a queue of values between threads that any number of senders and receivers
// share, that can be closed once, and that can be waited for with a deadline, in a range-for, or
// through a descriptor in anybody's event loop.
//
//   sigrun::chan<int> ch(8);
//   std::thread t([ch] { for (int i = 0; i < 3; ++i) ch.send(i); ch.close(); });
//   for (int i : ch) use(i);
//
// Threads: every operation may be called from any thread at any time; none in a signal handler.
// Order: values arrive in the order sent, and callers that block are served first come, first
// served. The value a sender sent happens before its receipt, as with a mutex.
#pragma once

#include <sigrun/detail/chan_core.hpp>
#include <sigrun/detail/chan_state.hpp>
#include <sigrun/detail/deadline.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace sigrun {

template <class T>
class chan;

namespace detail {

/// Calls chan_received(T&), when argument-dependent lookup finds one, on a value on its way to the
/// program. Declare it beside T, or translation units will differ in whether they see it.
template <class T>
void received([[maybe_unused]] T& value) {
  if constexpr (requires { chan_received(value); }) chan_received(value);
}

/// For the modules that feed channels: the state behind a handle, nullptr for an empty one.
struct chan_access {
  template <class T>
  static chan_state<T>* state(const chan<T>& ch) noexcept {
    return ch.state_;
  }
};

}  // namespace detail

/// A handle on a channel of T. Copies are handles on the same channel; when the last handle goes
/// away the channel is closed. A default-constructed handle has no channel, and every operation on
/// it but the comparisons throws std::logic_error.
///
/// T's move constructor must not throw, and must not use the channel, because it runs under the
/// channel's lock.
template <class T>
class chan {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_array_v<T>);
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a value must be able to change hands without failing");

 public:
  using value_type = T;

  chan() noexcept = default;
  /// A channel that holds up to `capacity` values. With 0 a sender waits for a receiver. Throws
  /// std::bad_alloc, and std::length_error naming a capacity that cannot be.
  explicit chan(std::size_t capacity) : state_(new detail::chan_state<T>(capacity)) {}
  chan(const chan& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->add_handle();
  }
  chan(chan&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  chan& operator=(chan other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~chan() {
    if (state_ != nullptr) state_->drop_handle();
  }

  /// Whether this handle has a channel.
  explicit operator bool() const noexcept { return state_ != nullptr; }
  /// Whether both are handles on the same channel, or both empty.
  friend bool operator==(const chan& a, const chan& b) noexcept { return a.state_ == b.state_; }

  // ------------------------------------------------------------------------------------ sending

  /// Puts `value` into the channel, and blocks while it is full. Throws
  /// std::logic_error("send on closed channel"), also when it is closed during the wait.
  void send(T value) const {
    if (need("send").send(value, detail::wait_for_ever) == chan_status::closed) throw_closed();
  }
  /// The same without waiting; false when the channel is full (without a buffer: when no receiver
  /// waits), and `value` is as it was.
  bool try_send(T&& value) const { return sent_now(need("try_send"), value); }
  bool try_send(const T& value) const {
    T copy(value);
    return sent_now(need("try_send"), copy);
  }
  /// Blocks no longer than `wait`. Result ok, timeout, or closed (nothing is thrown); `value` is as
  /// it was unless the result is ok. The rvalue form moves from it.
  template <class Rep, class Period>
  chan_status send_for(T&& value, std::chrono::duration<Rep, Period> wait) const {
    return need("send_for").send(value, detail::deadline_in(wait));
  }
  template <class Rep, class Period>
  chan_status send_for(const T& value, std::chrono::duration<Rep, Period> wait) const {
    T copy(value);
    return need("send_for").send(copy, detail::deadline_in(wait));
  }

  // ---------------------------------------------------------------------------------- receiving

  /// The next value; blocks while there is none. Without a value: the channel is closed and what
  /// was sent before that has been received.
  std::optional<T> recv() const {
    std::optional<T> value;
    receive("recv", value, detail::wait_for_ever);
    return value;
  }
  /// The same, no longer than `wait` or until `deadline`. Result ok, and `out` was assigned;
  /// timeout; or closed, as recv() without a value.
  template <class Rep, class Period>
  chan_status recv_for(std::chrono::duration<Rep, Period> wait, T& out) const {
    return receive_into("recv_for", out, detail::deadline_in(wait));
  }
  template <class Duration>
  chan_status recv_until(std::chrono::time_point<std::chrono::steady_clock, Duration> deadline,
                         T& out) const {
    return receive_into("recv_until", out, detail::deadline_at(deadline));
  }
  /// The next value if there is one now; false when there is none, closed or not.
  bool try_recv(T& out) const {
    return receive_into("try_recv", out, detail::do_not_wait) == chan_status::ok;
  }

  /// Input iterator over recv(): `for (T value : ch)` ends when the channel is closed and drained.
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(const chan& ch) : ch_(&ch), value_(ch.recv()) {}
    T& operator*() const noexcept { return *value_; }
    T* operator->() const noexcept { return &*value_; }
    iterator& operator++() {
      value_.reset();
      ch_->receive("operator++", value_, detail::wait_for_ever);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept {
      return !it.value_.has_value();
    }

   private:
    const chan* ch_ = nullptr;
    mutable std::optional<T> value_;
  };
  /// Receives the first value, so it blocks. The handle must outlive the iterator.
  iterator begin() const { return iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

  // -------------------------------------------------------------------------------------- state

  /// No more values can be sent; every blocked caller is woken; values in the buffer can still be
  /// received. Throws std::logic_error("close of closed channel") the second time.
  void close() const {
    if (!need("close").close()) throw std::logic_error("close of closed channel");
  }
  bool closed() const { return need("closed").closed(); }
  /// Values in the buffer now, and how many it can hold.
  std::size_t size() const { return need("size").size(); }
  std::size_t capacity() const { return need("capacity").capacity(); }

  /// A descriptor for poll(2) and event loops: readable while a receive would not block (values are
  /// there, a sender waits, or the channel is closed), which the receive itself resets; never read
  /// or close it. Level-triggered. It belongs to the channel and is closed with the channel's
  /// memory; a loop that may outlive the handles keeps a handle. Between several receivers another
  /// may be faster, so use try_recv(). Throws std::system_error (EMFILE, ENFILE).
  int fd() const { return need("fd").fd(); }

 private:
  friend struct detail::chan_access;

  detail::chan_state<T>& need(const char* operation) const {
    if (state_ == nullptr) {
      throw std::logic_error(std::string("sigrun::chan::") + operation + " on an empty handle");
    }
    return *state_;
  }
  [[noreturn]] static void throw_closed() { throw std::logic_error("send on closed channel"); }

  static bool sent_now(detail::chan_state<T>& state, T& value) {
    const chan_status status = state.send(value, detail::do_not_wait);
    if (status == chan_status::closed) throw_closed();
    return status == chan_status::ok;
  }
  chan_status receive(const char* operation, std::optional<T>& value,
                      std::int64_t deadline_ns) const {
    const chan_status status = need(operation).receive(value, deadline_ns);
    if (status == chan_status::ok) detail::received(*value);
    return status;
  }
  chan_status receive_into(const char* operation, T& out, std::int64_t deadline_ns) const {
    std::optional<T> value;
    const chan_status status = receive(operation, value, deadline_ns);
    if (status == chan_status::ok) out = std::move(*value);
    return status;
  }

  detail::chan_state<T>* state_ = nullptr;
};

}  // namespace sigrun
