// SPDX-License-Identifier: Apache-2.0
#include "io/socket.hpp"
#include "io/transfer.hpp"

#include <sigrun/net.hpp>

#include <cerrno>

namespace sigrun::net {
namespace {

void set_or_throw(detail::io_fd* state, int name, int value, const char* what) {
  std::error_code error;
  if (detail::failed(
          detail::with_fd(state,
                          [&](int fd) { return detail::set_option(fd, SOL_SOCKET, name, value); }),
          error)) {
    detail::refuse(error, what);
  }
}

}  // namespace

void stream::shutdown_write(std::error_code& error) noexcept {
  detail::failed(
      detail::with_fd(state_, [](int fd) { return sys::call(SYS_shutdown, fd, SHUT_WR); }), error);
}

void stream::shutdown_read(std::error_code& error) noexcept {
  detail::failed(
      detail::with_fd(state_, [](int fd) { return sys::call(SYS_shutdown, fd, SHUT_RD); }), error);
}

std::size_t stream::sendfile(int file, std::uint64_t offset, std::size_t count,
                             std::error_code& error) noexcept {
  if (state_ == nullptr || offset > INT64_MAX) {
    error = detail::to_error_code(state_ == nullptr ? EBADF : EINVAL);
    return 0;
  }
  const detail::io_result result =
      detail::send_file(*state_, file, static_cast<std::int64_t>(offset), count);
  error = detail::to_error_code(result.error);
  return result.count;
}

void stream::set_send_buffer(int bytes) {
  set_or_throw(state_, SO_SNDBUF, bytes, "sigrun: set_send_buffer");
}

void stream::set_receive_buffer(int bytes) {
  set_or_throw(state_, SO_RCVBUF, bytes, "sigrun: set_receive_buffer");
}

}  // namespace sigrun::net
