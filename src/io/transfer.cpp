// SPDX-License-Identifier: Apache-2.0
#include "io/transfer.hpp"

#include "io/foreign.hpp"
#include "io/quiet.hpp"
#include "sched/clock.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

namespace sigrun::detail {
namespace {

using poll::side;

// Buffers are handed to the kernel as they are.
static_assert(sizeof(mutable_buffer) == sizeof(iovec) && sizeof(const_buffer) == sizeof(iovec));
static_assert(offsetof(iovec, iov_base) == 0 && offsetof(iovec, iov_len) == sizeof(void*));

constexpr std::size_t iov_max = 1024;  // what Linux takes in one call (UIO_MAXIOV)
// A chunk of sendfile: long enough that the call itself does not count, short enough that a slow
// disk lets a deadline and a close() be seen.
constexpr std::size_t send_file_chunk = std::size_t{1} << 20;

template <class Buffer>
iovec* as_iovec(std::span<const Buffer> list) noexcept {
  return reinterpret_cast<iovec*>(const_cast<Buffer*>(list.data()));
}

template <class Buffer>
std::size_t total(std::span<const Buffer> list) noexcept {
  std::size_t sum = 0;
  for (const Buffer& one : list) sum += one.size();
  return sum;
}

io_result ended(std::size_t count, long result) noexcept {
  return {count, static_cast<int>(-result)};
}

long receive(const io_fd& fd, std::span<const mutable_buffer> into) noexcept {
  if (into.size() != 1) return sys::call(SYS_readv, fd.fd(), as_iovec(into), into.size());
  if (fd.kind() == fd_kind::pipe) return sys::read(fd.fd(), into[0].data(), into[0].size());
  return sys::call(SYS_recvfrom, fd.fd(), into[0].data(), into[0].size(), 0, nullptr, nullptr);
}

long send(const io_fd& fd, std::span<const const_buffer> from) noexcept {
  if (fd.kind() == fd_kind::pipe) {
    return write_quietly(fd.fd(), as_iovec(from), static_cast<int>(from.size()));
  }
  if (from.size() == 1) {
    return sys::call(SYS_sendto, fd.fd(), from[0].data(), from[0].size(), MSG_NOSIGNAL, nullptr, 0);
  }
  msghdr message{};
  message.msg_iov = as_iovec(from);
  message.msg_iovlen = from.size();
  return sys::call(SYS_sendmsg, fd.fd(), &message, MSG_NOSIGNAL);
}

/// Calls `attempt` until it does not say -EAGAIN, and sleeps in between. The side is held.
template <class Attempt>
long until_done(operation& turn, Attempt attempt) noexcept {
  for (;;) {
    const long result = attempt();
    if (result == -EINTR) continue;
    if (result != -EAGAIN) return result;
    const long waited = turn.wait();
    if (waited != 0) return waited;
  }
}

long receive_some(operation& turn, std::span<const mutable_buffer> into) noexcept {
  io_fd& fd = turn.fd();
  if (fd.is_drained()) {
    const long waited = turn.wait();
    if (waited != 0) return waited;
  }
  const long result = until_done(turn, [&] { return receive(fd, into); });
  if (!sys::failed(result)) fd.note_read(total(into), static_cast<std::size_t>(result));
  return result;
}

/// Up to so many buffers at a time, without those that are sent already.
class unsent {
 public:
  explicit unsent(std::span<const const_buffer> from) noexcept : rest_(from) { skip_empty(); }
  bool empty() const noexcept { return rest_.empty(); }
  std::span<const const_buffer> next() noexcept {
    const std::size_t count = std::min(rest_.size(), window_.size());
    std::copy_n(rest_.begin(), count, window_.begin());
    window_[0] = window_[0] + sent_;
    return std::span(window_).first(count);
  }
  void sent(std::size_t count) noexcept {
    sent_ += count;
    while (!rest_.empty() && sent_ >= rest_[0].size()) {
      sent_ -= rest_[0].size();
      rest_ = rest_.subspan(1);
    }
  }

 private:
  void skip_empty() noexcept { sent(0); }
  std::span<const const_buffer> rest_;
  std::size_t sent_ = 0;  // of rest_[0]
  std::array<const_buffer, 16> window_;
};

}  // namespace

io_result read_some(io_fd& fd, std::span<const mutable_buffer> into, const context* ctx) noexcept {
  operation turn(fd, side::read, ctx);
  if (turn.error() != 0) return ended(0, turn.error());
  into = into.first(std::min(into.size(), iov_max));
  if (total(into) == 0) return {};
  const long result = receive_some(turn, into);
  return sys::failed(result) ? ended(0, result) : io_result{static_cast<std::size_t>(result), 0};
}

io_result read_full(io_fd& fd, mutable_buffer into, const context* ctx) noexcept {
  operation turn(fd, side::read, ctx);
  if (turn.error() != 0) return ended(0, turn.error());
  std::size_t count = 0;
  while (count < into.size()) {
    const mutable_buffer rest = into + count;
    const long result = receive_some(turn, {&rest, 1});
    if (sys::failed(result)) return ended(count, result);
    if (result == 0) return {count, io_result::end_of_stream};
    count += static_cast<std::size_t>(result);
  }
  return {count, 0};
}

io_result write_some(io_fd& fd, std::span<const const_buffer> from, const context* ctx) noexcept {
  operation turn(fd, side::write, ctx);
  if (turn.error() != 0) return ended(0, turn.error());
  from = from.first(std::min(from.size(), iov_max));
  if (total(from) == 0) return {};
  const long result = until_done(turn, [&] { return send(fd, from); });
  return sys::failed(result) ? ended(0, result) : io_result{static_cast<std::size_t>(result), 0};
}

io_result write_all(io_fd& fd, std::span<const const_buffer> from, const context* ctx) noexcept {
  operation turn(fd, side::write, ctx);
  if (turn.error() != 0) return ended(0, turn.error());
  std::size_t count = 0;
  for (unsent rest(from); !rest.empty();) {
    const long result = until_done(turn, [&] { return send(fd, rest.next()); });
    if (sys::failed(result)) return ended(count, result);
    rest.sent(static_cast<std::size_t>(result));
    count += static_cast<std::size_t>(result);
  }
  return {count, 0};
}

io_result send_file(io_fd& fd, int file, std::int64_t offset, std::size_t count) noexcept {
  operation turn(fd, side::write);
  if (turn.error() != 0) return ended(0, turn.error());
  std::size_t sent = 0;
  while (sent < count) {
    const std::size_t chunk = std::min(count - sent, send_file_chunk);
    const long result = until_done(turn, [&] {
      // The disk may be slow, so this is foreign; and there is no MSG_NOSIGNAL here.
      return in_foreign_call([&] {
        sigpipe_guard guard;
        const long done = sys::call(SYS_sendfile, fd.fd(), file, &offset, chunk);
        if (done == -EPIPE) guard.raised();
        return done;
      });
    });
    if (sys::failed(result)) return ended(sent, result);
    if (result == 0) break;  // the file's end
    sent += static_cast<std::size_t>(result);
  }
  return {sent, 0};
}

// ----------------------------------------------------------------------------------------- accept

namespace {

constexpr std::int64_t backoff_first_ns = 5'000'000;
constexpr std::int64_t backoff_max_ns = 1'000'000'000;

bool is_shortage(long error) noexcept {
  return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/// Errors of the connection that was to be accepted, not of the listener: the next may be well.
/// (accept(2), "Error handling")
bool is_the_connections(long error) noexcept {
  switch (error) {
    case -ECONNABORTED:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENONET:
      return true;
    default:
      return false;
  }
}

/// After a shortage the caller's next try stands back, so that a loop that only reports the error
/// does not spin while the connection that could not be accepted waits in the kernel's queue.
long stand_back(operation& turn) noexcept {
  if (turn.fd().backoff_ns == 0) return 0;
  const std::int64_t until = sched::now_ns() + turn.fd().backoff_ns;
  for (;;) {
    const long waited = turn.wait(until);
    if (waited == -EAGAIN) return 0;
    if (waited != 0) return waited;
    if (sched::now_ns() >= until) return 0;  // connections come meanwhile: not yet
  }
}

}  // namespace

long accept_next(io_fd& listener, const context* ctx) noexcept {
  operation turn(listener, side::read, ctx);
  if (turn.error() != 0) return turn.error();
  const long waited = stand_back(turn);
  if (waited != 0) return waited;
  const long result = until_done(turn, [&] {
    const long taken =
        sys::call(SYS_accept4, listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return is_the_connections(taken) ? -EINTR : taken;
  });
  listener.backoff_ns = !is_shortage(result)
                            ? 0
                            : std::clamp(2 * listener.backoff_ns, backoff_first_ns, backoff_max_ns);
  return result;
}

}  // namespace sigrun::detail
