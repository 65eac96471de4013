// SPDX-License-Identifier: Apache-2.0
//
// What streams, listeners and pipe ends have in common. Users include <sigrun/net.hpp> or
// <sigrun/pipe.hpp>; nothing here is for them.
#pragma once

#include <sigrun/buffer.hpp>
#include <sigrun/detail/deadline.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

namespace sigrun {

class context;  // <sigrun/context.hpp>

/// What no kernel error says.
enum class stream_errc {
  end_of_stream = 1,  ///< the peer sends nothing more
};
const std::error_category& stream_category() noexcept;
std::error_code make_error_code(stream_errc error) noexcept;

namespace detail {

class io_fd;

/// Bytes moved, and the error that ended it: 0, an errno value, or end_of_stream.
struct io_result {
  static constexpr int end_of_stream = -1;
  std::size_t count = 0;
  int error = 0;
};

/// `ctx` is what the call was made in, if anything.
std::error_code to_error_code(int error, const context* ctx = nullptr) noexcept;
[[noreturn]] void refuse(const std::error_code& error, const char* what);

/// Calls `f` with an error_code, and throws it when it was set.
template <class F>
decltype(auto) or_throw(const char* what, F&& f) {
  std::error_code error;
  if constexpr (std::is_void_v<decltype(f(error))>) {
    f(error);
    if (error) refuse(error, what);
  } else {
    auto result = f(error);
    if (error) refuse(error, what);
    return result;
  }
}

/// How an error is told to somebody with an error type of his own, Boost's for one.
template <class Error>
struct stream_error {
  static Error from(const std::error_code& error) { return Error(error); }
  static Error end() { return Error(make_error_code(stream_errc::end_of_stream)); }
};

/// A buffer sequence as Asio has it, one buffer or a range of them, as an array of ours. What is
/// beyond the sixteenth buffer is left for the next call.
template <class Buffer>
class gathered {
 public:
  template <class Buffers>
  explicit gathered(const Buffers& buffers) {
    if constexpr (requires { (*std::begin(buffers)).data(); }) {
      for (const auto& one : buffers) {
        if (count_ == max) break;
        add(one);
      }
    } else if constexpr (requires { Buffer(buffers.data(), buffers.size()); }) {
      add(buffers);
    } else {
      list_[count_++] = Buffer(buffers);
    }
  }
  std::span<const Buffer> view() const noexcept { return {list_, count_}; }
  std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (const Buffer& one : view()) sum += one.size();
    return sum;
  }

 private:
  static constexpr std::size_t max = 16;
  template <class One>
  void add(const One& one) {
    if (one.size() != 0) list_[count_++] = Buffer(one.data(), one.size());
  }
  Buffer list_[max];
  std::size_t count_ = 0;
};

/// A descriptor that does not block. Move-only; one object may be used by many goroutines and
/// threads at once, but must not be moved or destroyed while they are.
class io_handle {
 public:
  io_handle(io_handle&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  io_handle& operator=(io_handle&& other) noexcept {
    if (this != &other) {
      drop();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }

  /// Whether it was opened and not closed yet.
  bool is_open() const noexcept;
  explicit operator bool() const noexcept { return is_open(); }
  /// The descriptor, for options that are not here; -1 when it is not open. It stays ours.
  int fd() const noexcept;

  /// Wakes all who are blocked on it with std::errc::operation_canceled; later calls, and a second
  /// close(), are std::errc::bad_file_descriptor. The descriptor itself is closed by the last
  /// operation that leaves, so right after close() its port may still be taken for a moment.
  void close() {
    or_throw("sigrun: close", [this](std::error_code& error) { close(error); });
  }
  void close(std::error_code& error) noexcept;

 protected:
  io_handle() noexcept = default;
  explicit io_handle(io_fd* state) noexcept : state_(state) {}
  ~io_handle() { drop(); }

  std::size_t do_read(std::span<const mutable_buffer> into, std::error_code& error,
                      const context* ctx = nullptr) noexcept;
  std::size_t do_read_full(mutable_buffer into, std::error_code& error,
                           const context* ctx = nullptr) noexcept;
  std::size_t do_write(std::span<const const_buffer> from, std::error_code& error,
                       const context* ctx = nullptr) noexcept;
  std::size_t do_write_all(std::span<const const_buffer> from, std::error_code& error,
                           const context* ctx = nullptr) noexcept;
  void do_set_deadline(bool read, bool write, std::int64_t at_ns, std::error_code& error) noexcept;

  io_fd* state_ = nullptr;

 private:
  friend struct io_access;
  void drop() noexcept;
};

/// For modules that build on streams, and tests.
struct io_access {
  static io_fd* state(const io_handle& handle) noexcept { return handle.state_; }
};

/// How reading is offered; Base is an io_handle.
template <class Base>
class reading : public Base {
 public:
  /// Waits until there is something, and takes what is there: at least one byte, 0 at the end of
  /// the stream, or when there is room for none.
  std::size_t read(mutable_buffer into, std::error_code& error) noexcept {
    return this->do_read({&into, 1}, error);
  }
  std::size_t read(mutable_buffer into) {
    return or_throw("sigrun: read", [&](std::error_code& error) { return read(into, error); });
  }
  /// The same into several buffers, one after the other; of more than 1,024 into the first 1,024.
  std::size_t readv(std::span<const mutable_buffer> into, std::error_code& error) noexcept {
    return this->do_read(into, error);
  }
  std::size_t readv(std::span<const mutable_buffer> into) {
    return or_throw("sigrun: readv", [&](std::error_code& error) { return readv(into, error); });
  }
  /// Fills the buffer. When the stream ends before, stream_errc::end_of_stream; whatever the error,
  /// the overload with `error` returns how much there is.
  std::size_t read_full(mutable_buffer into, std::error_code& error) noexcept {
    return this->do_read_full(into, error);
  }
  std::size_t read_full(mutable_buffer into) {
    return or_throw("sigrun: read_full",
                    [&](std::error_code& error) { return read_full(into, error); });
  }
  /// The same in a context: when that ends first, or has ended, the error is the context's, which
  /// equals operation_canceled or timed_out.
  std::size_t read(const context& ctx, mutable_buffer into, std::error_code& error) noexcept {
    return this->do_read({&into, 1}, error, &ctx);
  }
  std::size_t read(const context& ctx, mutable_buffer into) {
    return or_throw("sigrun: read", [&](std::error_code& error) { return read(ctx, into, error); });
  }
  std::size_t read_full(const context& ctx, mutable_buffer into, std::error_code& error) noexcept {
    return this->do_read_full(into, error, &ctx);
  }
  std::size_t read_full(const context& ctx, mutable_buffer into) {
    return or_throw("sigrun: read_full",
                    [&](std::error_code& error) { return read_full(ctx, into, error); });
  }
  /// As Asio's streams have it, and with its buffer sequences: the end of the stream is an error.
  template <class Buffers, class Error>
  std::size_t read_some(const Buffers& buffers, Error& error) {
    const gathered<mutable_buffer> into(buffers);
    std::error_code plain;
    const std::size_t count = this->do_read(into.view(), plain);
    error = plain                            ? stream_error<Error>::from(plain)
            : count == 0 && into.size() != 0 ? stream_error<Error>::end()
                                             : Error{};
    return count;
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers) {
    return or_throw("sigrun: read_some",
                    [&](std::error_code& error) { return read_some(buffers, error); });
  }

  /// From then on reads fail with std::errc::timed_out, also those that wait already, and also when
  /// there is something to read, until another deadline is set. time_point::max(): none, which is
  /// how a stream begins. A deadline that has passed fails them at once.
  void set_read_deadline(std::chrono::steady_clock::time_point at,
                         std::error_code& error) noexcept {
    this->do_set_deadline(true, false, deadline_at(at), error);
  }
  void set_read_deadline(std::chrono::steady_clock::time_point at) {
    or_throw("sigrun: set_read_deadline",
             [&](std::error_code& error) { set_read_deadline(at, error); });
  }
  /// That long from now; a negative duration, and zero, have passed already.
  void set_read_deadline_in(std::chrono::nanoseconds wait, std::error_code& error) noexcept {
    this->do_set_deadline(true, false, deadline_in(wait), error);
  }
  void set_read_deadline_in(std::chrono::nanoseconds wait) {
    or_throw("sigrun: set_read_deadline_in",
             [&](std::error_code& error) { set_read_deadline_in(wait, error); });
  }

 protected:
  using Base::Base;
};

/// How writing is offered.
template <class Base>
class writing : public Base {
 public:
  /// Waits until there is room, and sends what fits: at least one byte, unless there is none. A
  /// peer that is gone is std::errc::broken_pipe or connection_reset, never SIGPIPE.
  std::size_t write(const_buffer from, std::error_code& error) noexcept {
    return this->do_write({&from, 1}, error);
  }
  std::size_t write(const_buffer from) {
    return or_throw("sigrun: write", [&](std::error_code& error) { return write(from, error); });
  }
  /// The same from several buffers; of more than 1,024 the first 1,024.
  std::size_t writev(std::span<const const_buffer> from, std::error_code& error) noexcept {
    return this->do_write(from, error);
  }
  std::size_t writev(std::span<const const_buffer> from) {
    return or_throw("sigrun: writev", [&](std::error_code& error) { return writev(from, error); });
  }
  /// Sends everything. No other writer's bytes come in between. Whatever the error, the overload
  /// with `error` returns how much was sent.
  std::size_t write_all(const_buffer from, std::error_code& error) noexcept {
    return this->do_write_all({&from, 1}, error);
  }
  std::size_t write_all(const_buffer from) {
    return or_throw("sigrun: write_all",
                    [&](std::error_code& error) { return write_all(from, error); });
  }
  std::size_t writev_all(std::span<const const_buffer> from, std::error_code& error) noexcept {
    return this->do_write_all(from, error);
  }
  std::size_t writev_all(std::span<const const_buffer> from) {
    return or_throw("sigrun: writev_all",
                    [&](std::error_code& error) { return writev_all(from, error); });
  }
  /// The same in a context, as reading has it.
  std::size_t write(const context& ctx, const_buffer from, std::error_code& error) noexcept {
    return this->do_write({&from, 1}, error, &ctx);
  }
  std::size_t write(const context& ctx, const_buffer from) {
    return or_throw("sigrun: write",
                    [&](std::error_code& error) { return write(ctx, from, error); });
  }
  std::size_t write_all(const context& ctx, const_buffer from, std::error_code& error) noexcept {
    return this->do_write_all({&from, 1}, error, &ctx);
  }
  std::size_t write_all(const context& ctx, const_buffer from) {
    return or_throw("sigrun: write_all",
                    [&](std::error_code& error) { return write_all(ctx, from, error); });
  }
  /// As Asio's streams have it, and with its buffer sequences.
  template <class Buffers, class Error>
  std::size_t write_some(const Buffers& buffers, Error& error) {
    const gathered<const_buffer> from(buffers);
    std::error_code plain;
    const std::size_t count = this->do_write(from.view(), plain);
    error = plain ? stream_error<Error>::from(plain) : Error{};
    return count;
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers) {
    return or_throw("sigrun: write_some",
                    [&](std::error_code& error) { return write_some(buffers, error); });
  }

  /// As set_read_deadline, for writes.
  void set_write_deadline(std::chrono::steady_clock::time_point at,
                          std::error_code& error) noexcept {
    this->do_set_deadline(false, true, deadline_at(at), error);
  }
  void set_write_deadline(std::chrono::steady_clock::time_point at) {
    or_throw("sigrun: set_write_deadline",
             [&](std::error_code& error) { set_write_deadline(at, error); });
  }
  void set_write_deadline_in(std::chrono::nanoseconds wait, std::error_code& error) noexcept {
    this->do_set_deadline(false, true, deadline_in(wait), error);
  }
  void set_write_deadline_in(std::chrono::nanoseconds wait) {
    or_throw("sigrun: set_write_deadline_in",
             [&](std::error_code& error) { set_write_deadline_in(wait, error); });
  }

 protected:
  using Base::Base;
};

}  // namespace detail
}  // namespace sigrun

template <>
struct std::is_error_code_enum<sigrun::stream_errc> : std::true_type {};
