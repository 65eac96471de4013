// SPDX-License-Identifier: Apache-2.0
//
// Pipes, terminals, and whatever else is a stream of bytes and can be polled, as goroutines and
// threads read and write them. Calls, errors and deadlines are those of <sigrun/net.hpp>.
#pragma once

#include <sigrun/detail/io_handle.hpp>

#include <system_error>
#include <utility>

namespace sigrun {

/// The end that is read.
class pipe_reader : public detail::reading<detail::io_handle> {
 public:
  pipe_reader() noexcept = default;
  /// Takes over a descriptor and closes it in the end, also when this fails: a pipe, a FIFO, a
  /// terminal, fd 0. It no longer blocks from then on, and neither do others that share its open
  /// file description. operation_not_permitted for what cannot be polled: a regular file, for which
  /// there is <sigrun/file.hpp>.
  static pipe_reader adopt(int fd) {
    return detail::or_throw("sigrun: adopt", [&](auto& error) { return adopt(fd, error); });
  }
  static pipe_reader adopt(int fd, std::error_code& error) noexcept;

 private:
  friend std::pair<pipe_reader, class pipe_writer> make_pipe(std::error_code& error) noexcept;
  explicit pipe_reader(detail::io_fd* state) noexcept : reading(state) {}
};

/// The end that is written. A pipe that nobody reads any more is std::errc::broken_pipe. SIGPIPE is
/// raised for fd 1 and 2 only, as any program has it whose reader has gone.
class pipe_writer : public detail::writing<detail::io_handle> {
 public:
  pipe_writer() noexcept = default;
  /// As pipe_reader::adopt.
  static pipe_writer adopt(int fd) {
    return detail::or_throw("sigrun: adopt", [&](auto& error) { return adopt(fd, error); });
  }
  static pipe_writer adopt(int fd, std::error_code& error) noexcept;

 private:
  friend std::pair<pipe_reader, pipe_writer> make_pipe(std::error_code& error) noexcept;
  explicit pipe_writer(detail::io_fd* state) noexcept : writing(state) {}
};

/// Both ends of a new pipe, which close on exec. (pipe(7))
std::pair<pipe_reader, pipe_writer> make_pipe(std::error_code& error) noexcept;
inline std::pair<pipe_reader, pipe_writer> make_pipe() {
  return detail::or_throw("sigrun: make_pipe", [](auto& error) { return make_pipe(error); });
}

}  // namespace sigrun
