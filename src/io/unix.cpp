// SPDX-License-Identifier: Apache-2.0
#include "io/foreign.hpp"
#include "io/socket.hpp"
#include "io/transfer.hpp"
#include "sys/clock.hpp"

#include <sigrun/net.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace sigrun::net {
namespace {

using detail::fd_kind;
using detail::fd_owner;
using detail::io_fd;
using detail::socket_address;

/// A Unix socket that does not block says EAGAIN when the listener's queue is full, and no event
/// tells when there is room (unix(7)). So this one blocks, in a foreign call, for as long as
/// SO_SNDTIMEO lets it.
/// In a context it looks up every so often whether that has ended.
constexpr std::int64_t connect_slice_ns = 20'000'000;

long connect_blocking(int fd, const socket_address& at, std::int64_t deadline_ns,
                      const context* ctx) noexcept {
  const long opened = detail::set_blocking(fd, true);
  if (sys::failed(opened)) return opened;
  const long result = detail::in_foreign_call([&]() -> long {
    for (;;) {
      sys::timespec64 left{0, 0};  // for ever
      if (ctx != nullptr && ctx->ended()) return -detail::context_ended;
      if (deadline_ns != sys::never || ctx != nullptr) {
        const std::int64_t now = sys::now_ns();
        const std::int64_t slice_end = ctx != nullptr ? now + connect_slice_ns : sys::never;
        const std::int64_t wait_ns = std::min(deadline_ns, slice_end) - now;
        if (wait_ns <= 0) return -ETIMEDOUT;
        // struct timeval; rounded up, since zero would be for ever.
        left = sys::to_timespec(wait_ns);
        left.nanoseconds = left.nanoseconds / 1000 + 1;
        if (left.nanoseconds >= 1'000'000) left = {left.seconds + 1, 0};
        sys::call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
      }
      const long done = sys::call(SYS_connect, fd, &at.any, at.size);
      if (done != -EAGAIN && done != -EINTR) return done;
    }
  });
  const sys::timespec64 for_ever{0, 0};
  sys::call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof for_ever);
  return sys::failed(result) ? result : detail::set_blocking(fd, false);
}

unix_address name_of(io_fd* state, bool remote, const char* what) {
  socket_address at;
  std::error_code error;
  const long result =
      detail::with_fd(state, [&](int fd) { return detail::get_name(fd, remote, at); });
  if (detail::failed(result, error)) detail::refuse(error, what);
  return at.to_unix();
}

io_fd* adopt_socket(int fd, bool listening, std::error_code& error) noexcept {
  fd_owner owned(fd);
  if (detail::failed(detail::check_socket(fd, AF_UNIX, AF_UNIX, listening), error)) return nullptr;
  if (detail::failed(detail::set_blocking(fd, false), error)) return nullptr;
  return detail::open_or_error(owned, listening ? fd_kind::listener : fd_kind::unix_stream, error);
}

}  // namespace

// ----------------------------------------------------------------------------------------- stream

unix_stream unix_stream::connect_in(const context* ctx, const unix_address& to,
                                    const unix_connect_options& options,
                                    std::error_code& error) noexcept {
  if (ctx != nullptr && ctx->ended()) {
    error = ctx->err();
    return {};
  }
  socket_address at;
  if (detail::failed(at.assign(to), error)) return {};
  fd_owner fd(detail::make_socket(AF_UNIX));
  if (detail::failed(fd.get(), error)) return {};
  long result = sys::call(SYS_connect, fd.get(), &at.any, at.size);
  if (result == -EAGAIN || result == -EINTR) {
    result = connect_blocking(fd.get(), at, detail::deadline_at(options.deadline), ctx);
  }
  if (detail::failed(result, error, ctx)) return {};
  return unix_stream(detail::open_or_error(fd, fd_kind::unix_stream, error));
}

std::pair<unix_stream, unix_stream> unix_stream::pair(std::error_code& error) noexcept {
  int fds[2] = {-1, -1};
  const long result =
      sys::call(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
  fd_owner first(fds[0]);
  fd_owner second(fds[1]);
  if (detail::failed(result, error)) return {};
  unix_stream here(detail::open_or_error(first, fd_kind::unix_stream, error));
  if (error) return {};
  unix_stream there(detail::open_or_error(second, fd_kind::unix_stream, error));
  if (error) return {};
  return {std::move(here), std::move(there)};
}

unix_stream unix_stream::adopt(int fd, std::error_code& error) noexcept {
  return unix_stream(adopt_socket(fd, false, error));
}

unix_address unix_stream::local_address() const {
  return name_of(state_, false, "sigrun: local_address");
}

unix_address unix_stream::remote_address() const {
  return name_of(state_, true, "sigrun: remote_address");
}

peer_credentials unix_stream::peer() const {
  ucred found{};
  socklen_t size = sizeof found;
  std::error_code error;
  const long result = detail::with_fd(state_, [&](int fd) {
    return sys::call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &found, &size);
  });
  if (detail::failed(result, error)) detail::refuse(error, "sigrun: peer");
  return {found.pid, found.uid, found.gid};
}

// --------------------------------------------------------------------------------------- listener

unix_listener unix_listener::listen(const unix_address& at, const unix_listen_options& options,
                                    std::error_code& error) noexcept {
  socket_address name;
  if (detail::failed(options.backlog < 0 ? -EINVAL : name.assign(at), error)) return {};
  fd_owner fd(detail::make_socket(AF_UNIX));
  if (detail::failed(fd.get(), error)) return {};
  if (detail::failed(detail::bind_socket(fd.get(), name), error)) return {};
  unix_listener made;
  if (options.unlink_on_close && !at.is_abstract() && !at.is_unnamed()) {
    // At most path_max bytes, and noexcept: without memory for them it is not removed.
    try {
      made.path_ = at.name();
    } catch (const std::bad_alloc&) {
    }
  }
  if (detail::failed(sys::call(SYS_listen, fd.get(), options.backlog), error)) return {};
  made.state_ = detail::open_or_error(fd, fd_kind::listener, error);
  return made;
}

unix_listener unix_listener::adopt(int fd, std::error_code& error) noexcept {
  return unix_listener(adopt_socket(fd, true, error));
}

unix_stream unix_listener::accept_in(const context* ctx, std::error_code& error) noexcept {
  const long taken_fd = state_ == nullptr ? -EBADF : detail::accept_next(*state_, ctx);
  fd_owner taken(taken_fd);
  if (detail::failed(taken_fd, error, ctx)) return {};
  return unix_stream(detail::open_or_error(taken, fd_kind::unix_stream, error));
}

unix_address unix_listener::local_address() const {
  return name_of(state_, false, "sigrun: local_address");
}

void unix_listener::close(std::error_code& error) noexcept {
  io_handle::close(error);
  if (!error) unlink_path();  // of several that close, one
}

unix_listener::~unix_listener() { unlink_path(); }

unix_listener& unix_listener::operator=(unix_listener&& other) noexcept {
  if (this != &other) {
    unlink_path();
    path_ = std::exchange(other.path_, {});
    io_handle::operator=(std::move(other));
  }
  return *this;
}

void unix_listener::unlink_path() noexcept {
  if (path_.empty()) return;
  sys::call(SYS_unlinkat, AT_FDCWD, path_.c_str(), 0);
  path_.clear();
}

}  // namespace sigrun::net
