// SPDX-License-Identifier: Apache-2.0
//
// Socket calls by name, and our addresses in the kernel's shape. As all of sys: a negated error
// number on failure.
#pragma once

#include "io/io_fd.hpp"
#include "sys/file.hpp"

#include <sigrun/address.hpp>
#include <sigrun/detail/io_handle.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <system_error>
#include <utility>

namespace sigrun::detail {

struct socket_address {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
    sockaddr_storage room;
  };
  socklen_t size = 0;

  socket_address() noexcept : room{} {}
  explicit socket_address(const net::endpoint& from) noexcept;
  net::endpoint to_endpoint() const noexcept;
  /// -ENAMETOOLONG, or -EINVAL for a path with a NUL in it.
  long assign(const net::unix_address& from) noexcept;
  net::unix_address to_unix() const;
};

/// A socket that does not block and closes on exec.
long make_socket(int family) noexcept;
long bind_socket(int fd, const socket_address& at) noexcept;
long set_option(int fd, int level, int name, int value) noexcept;
/// The value of an int option, which is never negative for those we use; or a negated error.
long get_option(int fd, int level, int name) noexcept;
long get_name(int fd, bool remote, socket_address& at) noexcept;
long set_blocking(int fd, bool blocking) noexcept;
/// -EINVAL unless it is a stream socket of one of these families; -EINVAL too when `listening` does
/// not fit.
long check_socket(int fd, int family, int other_family, bool listening) noexcept;

/// Owns a descriptor until it is released.
class fd_owner {
 public:
  explicit fd_owner(long fd) noexcept : fd_(static_cast<int>(fd)) {}
  ~fd_owner() {
    if (fd_ >= 0) sys::close(fd_);
  }
  fd_owner(const fd_owner&) = delete;
  fd_owner& operator=(const fd_owner&) = delete;
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Puts an adopted or new descriptor into the poller; nullptr with `error` set.
io_fd* open_or_error(fd_owner& fd, fd_kind kind, std::error_code& error) noexcept;

/// Sets `error` and returns whether there was one; context_ended is the error of `ctx`.
inline bool failed(long result, std::error_code& error, const context* ctx = nullptr) noexcept {
  error = sys::failed(result) ? to_error_code(static_cast<int>(-result), ctx) : std::error_code{};
  return sys::failed(result);
}

/// Runs f(fd) while the descriptor cannot be given back; -EBADF when it is closed, or none.
template <class F>
long with_fd(io_fd* state, F&& f) noexcept {
  const long held = state == nullptr ? -EBADF : state->hold();
  if (held != 0) return held;
  const long result = f(state->fd());
  state->let_go();
  return result;
}

}  // namespace sigrun::detail
