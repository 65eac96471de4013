// SPDX-License-Identifier: Apache-2.0
#include <sigrun/pipe.hpp>

#include "io/socket.hpp"

#include <fcntl.h>

namespace sigrun {
namespace {

detail::io_fd* adopt_end(int fd, std::error_code& error) noexcept {
  detail::fd_owner owned(fd);
  if (detail::failed(detail::set_blocking(fd, false), error)) return nullptr;
  return detail::open_or_error(owned, detail::fd_kind::pipe, error);
}

}  // namespace

pipe_reader pipe_reader::adopt(int fd, std::error_code& error) noexcept {
  return pipe_reader(adopt_end(fd, error));
}

pipe_writer pipe_writer::adopt(int fd, std::error_code& error) noexcept {
  return pipe_writer(adopt_end(fd, error));
}

std::pair<pipe_reader, pipe_writer> make_pipe(std::error_code& error) noexcept {
  int fds[2] = {-1, -1};
  const long result = sys::call(SYS_pipe2, fds, O_NONBLOCK | O_CLOEXEC);
  detail::fd_owner first(fds[0]);
  detail::fd_owner second(fds[1]);
  if (detail::failed(result, error)) return {};
  pipe_reader reader(detail::open_or_error(first, detail::fd_kind::pipe, error));
  if (error) return {};
  pipe_writer writer(detail::open_or_error(second, detail::fd_kind::pipe, error));
  if (error) return {};
  return {std::move(reader), std::move(writer)};
}

}  // namespace sigrun
