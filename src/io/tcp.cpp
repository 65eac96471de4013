// SPDX-License-Identifier: Apache-2.0
#include "io/socket.hpp"
#include "io/transfer.hpp"
#include "sched/clock.hpp"
#include "sys/clock.hpp"

#include <sigrun/net.hpp>

#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace sigrun::net {
namespace {

using detail::fd_kind;
using detail::fd_owner;
using detail::io_fd;
using detail::socket_address;

int family_of(const endpoint& at) noexcept { return at.address().is_v4() ? AF_INET : AF_INET6; }

/// Waits for the end of a connect() in progress. The socket has just been put into the poller.
long finish_connect(io_fd& fd, const context* ctx) noexcept {
  detail::operation turn(fd, poll::side::write, ctx);
  if (turn.error() != 0) return turn.error();
  for (;;) {
    const long waited = turn.wait();
    if (waited != 0) return waited;
    const long error = detail::get_option(fd.fd(), SOL_SOCKET, SO_ERROR);
    if (error != 0) return sys::failed(error) ? error : -error;
    // A readiness that was none: only a peer proves that it is connected.
    socket_address peer;
    if (detail::get_name(fd.fd(), true, peer) != -ENOTCONN) return 0;
  }
}

/// On loopback, a connection to a port of the ephemeral range may by chance come from that same
/// port, and then talks to itself: nobody listens there.
bool is_connected_to_itself(int fd) noexcept {
  socket_address here;
  socket_address there;
  return detail::get_name(fd, false, here) == 0 && detail::get_name(fd, true, there) == 0 &&
         here.to_endpoint() == there.to_endpoint();
}

io_fd* connect_once(const endpoint& to, const tcp_connect_options& options, const context* ctx,
                    std::error_code& error) noexcept {
  if (ctx != nullptr && ctx->ended()) {
    error = ctx->err();
    return nullptr;
  }
  const std::int64_t deadline = detail::deadline_at(options.deadline);
  const bool too_late = deadline != sys::never && deadline <= sched::now_ns();
  fd_owner fd(too_late ? -ETIMEDOUT : detail::make_socket(family_of(to)));
  if (detail::failed(fd.get(), error)) return nullptr;
  // As default: a request that is written should leave at once.
  detail::set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  if (options.local != endpoint{} &&
      detail::failed(detail::bind_socket(fd.get(), socket_address(options.local)), error)) {
    return nullptr;
  }
  const socket_address at(to);
  const long begun = sys::call(SYS_connect, fd.get(), &at.any, at.size);
  if (begun != -EINPROGRESS && begun != -EINTR && detail::failed(begun, error)) return nullptr;
  // Only now into the poller, where a socket that was never connected counts as hung up.
  io_fd* const made = detail::open_or_error(fd, fd_kind::tcp, error);
  if (made == nullptr || begun == 0) return made;
  made->preset_deadline(poll::side::write, deadline);
  if (detail::failed(finish_connect(*made, ctx), error, ctx)) {
    made->drop_handle();
    return nullptr;
  }
  made->preset_deadline(poll::side::write, detail::wait_for_ever);
  return made;
}

endpoint name_of(io_fd* state, bool remote, std::error_code& error) noexcept {
  socket_address at;
  const bool none = detail::failed(
      detail::with_fd(state, [&](int fd) { return detail::get_name(fd, remote, at); }), error);
  return none ? endpoint{} : at.to_endpoint();
}

void set_or_throw(io_fd* state, int level, int name, int value, const char* what) {
  std::error_code error;
  const long result =
      detail::with_fd(state, [&](int fd) { return detail::set_option(fd, level, name, value); });
  if (detail::failed(result, error)) detail::refuse(error, what);
}

bool get_or_throw(io_fd* state, int level, int name, const char* what) {
  std::error_code error;
  const long result =
      detail::with_fd(state, [&](int fd) { return detail::get_option(fd, level, name); });
  if (detail::failed(result, error)) detail::refuse(error, what);
  return result != 0;
}

int whole_seconds(std::chrono::seconds wait) noexcept {
  return static_cast<int>(std::clamp<std::int64_t>(wait.count(), INT_MIN, INT_MAX));
}

}  // namespace

// ----------------------------------------------------------------------------------------- stream

tcp_stream tcp_stream::connect_in(const context* ctx, const endpoint& to,
                                  const tcp_connect_options& options,
                                  std::error_code& error) noexcept {
  constexpr int tries = 3;
  for (int i = 0; i < tries; ++i) {
    io_fd* const made = connect_once(to, options, ctx, error);
    if (made == nullptr || !is_connected_to_itself(made->fd())) return tcp_stream(made);
    made->drop_handle();
  }
  error = detail::to_error_code(ECONNREFUSED);
  return {};
}

tcp_stream tcp_stream::connect_in(const context* ctx, std::string_view host,
                                  std::string_view service, const tcp_connect_options& options,
                                  std::error_code& error) {
  std::error_code first;
  const std::vector<endpoint> found = resolve(host, service, first);
  for (const endpoint& to : found) {
    tcp_stream made = connect_in(ctx, to, options, error);
    if (!error || (ctx != nullptr && ctx->ended())) return made;
    if (!first) first = error;
    if (error == std::errc::timed_out && options.deadline <= std::chrono::steady_clock::now()) {
      break;
    }
  }
  error = first;
  return {};
}

tcp_stream tcp_stream::adopt(int fd, std::error_code& error) noexcept {
  fd_owner owned(fd);
  if (detail::failed(detail::check_socket(fd, AF_INET, AF_INET6, false), error)) return {};
  if (detail::failed(detail::set_blocking(fd, false), error)) return {};
  return tcp_stream(detail::open_or_error(owned, fd_kind::tcp, error));
}

endpoint tcp_stream::local_endpoint(std::error_code& error) const noexcept {
  return name_of(state_, false, error);
}

endpoint tcp_stream::remote_endpoint(std::error_code& error) const noexcept {
  return name_of(state_, true, error);
}

void tcp_stream::set_nodelay(bool on) {
  set_or_throw(state_, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0, "sigrun: set_nodelay");
}

bool tcp_stream::nodelay() const {
  return get_or_throw(state_, IPPROTO_TCP, TCP_NODELAY, "sigrun: nodelay");
}

void tcp_stream::set_keep_alive(const keep_alive& how) {
  constexpr const char* what = "sigrun: set_keep_alive";
  set_or_throw(state_, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(how.idle), what);
  set_or_throw(state_, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(how.interval), what);
  set_or_throw(state_, IPPROTO_TCP, TCP_KEEPCNT, how.count, what);
  set_keep_alive(true);
}

void tcp_stream::set_keep_alive(bool on) {
  set_or_throw(state_, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0, "sigrun: set_keep_alive");
}

bool tcp_stream::is_kept_alive() const {
  return get_or_throw(state_, SOL_SOCKET, SO_KEEPALIVE, "sigrun: is_kept_alive");
}

void tcp_stream::set_linger(std::chrono::seconds wait) {
  const linger how{wait.count() < 0 ? 0 : 1, std::max(0, whole_seconds(wait))};
  std::error_code error;
  const long result = detail::with_fd(state_, [&](int fd) {
    return sys::call(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, &how, sizeof how);
  });
  if (detail::failed(result, error)) detail::refuse(error, "sigrun: set_linger");
}

// --------------------------------------------------------------------------------------- listener

tcp_listener tcp_listener::listen(const endpoint& at, const tcp_listen_options& options,
                                  std::error_code& error) noexcept {
  fd_owner fd(options.backlog < 0 ? -EINVAL : detail::make_socket(family_of(at)));
  if (detail::failed(fd.get(), error)) return {};
  const int socket = fd.get();
  const auto set = [&](int level, int name, bool on) {
    return detail::failed(detail::set_option(socket, level, name, on ? 1 : 0), error);
  };
  if (set(SOL_SOCKET, SO_REUSEADDR, options.reuse_address)) return {};
  if (set(SOL_SOCKET, SO_REUSEPORT, options.reuse_port)) return {};
  if (at.address().is_v6() && set(IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only)) return {};
  // Accepted sockets have it from their listener, without a system call each.
  if (set(IPPROTO_TCP, TCP_NODELAY, true)) return {};
  if (detail::failed(detail::bind_socket(socket, socket_address(at)), error)) return {};
  if (detail::failed(sys::call(SYS_listen, socket, options.backlog), error)) return {};
  return tcp_listener(detail::open_or_error(fd, fd_kind::listener, error));
}

tcp_listener tcp_listener::adopt(int fd, std::error_code& error) noexcept {
  fd_owner owned(fd);
  if (detail::failed(detail::check_socket(fd, AF_INET, AF_INET6, true), error)) return {};
  if (detail::failed(detail::set_blocking(fd, false), error)) return {};
  return tcp_listener(detail::open_or_error(owned, fd_kind::listener, error));
}

tcp_stream tcp_listener::accept_in(const context* ctx, std::error_code& error) noexcept {
  const long taken_fd = state_ == nullptr ? -EBADF : detail::accept_next(*state_, ctx);
  fd_owner taken(taken_fd);
  if (detail::failed(taken_fd, error, ctx)) return {};
  return tcp_stream(detail::open_or_error(taken, fd_kind::tcp, error));
}

endpoint tcp_listener::local_endpoint(std::error_code& error) const noexcept {
  return name_of(state_, false, error);
}

}  // namespace sigrun::net
