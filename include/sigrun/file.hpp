// SPDX-License-Identifier: Apache-2.0
//
// Regular files. The kernel cannot tell when a disk would block, so each call is a foreign call:
// its thread waits for the disk, and other goroutines go on without it. Nothing cancels one.
// Errors as in <sigrun/net.hpp>.
#pragma once

#include <sigrun/buffer.hpp>
#include <sigrun/detail/io_handle.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

namespace sigrun {

enum class file_mode {
  read,        ///< must exist
  write,       ///< made, or emptied
  append,      ///< made; every write goes to its end
  read_write,  ///< made, and kept as it is
};

/// An open file. Move-only. Threads and goroutines may share one for the calls with an offset;
/// those without move the one position that the file has. Closing while it is used is a mistake.
class file {
 public:
  file() noexcept = default;
  file(file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  file& operator=(file&& other) noexcept;
  ~file();

  /// New files are made with mode 0666 less the umask. Errors of open(2).
  static file open(const std::string& path, file_mode mode = file_mode::read) {
    return detail::or_throw("sigrun: open", [&](auto& error) { return open(path, mode, error); });
  }
  static file open(const std::string& path, file_mode mode, std::error_code& error) noexcept;

  bool is_open() const noexcept { return fd_ >= 0; }
  /// For sendfile() and the rest; -1 when it is not open. It stays ours.
  int fd() const noexcept { return fd_; }

  /// As much as there is, up to the buffer's size; 0 at the end.
  std::size_t read(mutable_buffer into) {
    return detail::or_throw("sigrun: read", [&](auto& error) { return read(into, error); });
  }
  std::size_t read(mutable_buffer into, std::error_code& error) noexcept;
  std::size_t read_at(std::uint64_t offset, mutable_buffer into) {
    return detail::or_throw("sigrun: read_at",
                            [&](auto& error) { return read_at(offset, into, error); });
  }
  std::size_t read_at(std::uint64_t offset, mutable_buffer into, std::error_code& error) noexcept;
  /// All of it; with an error (no_space_on_device, file_too_large) how much was written before.
  std::size_t write_all(const_buffer from) {
    return detail::or_throw("sigrun: write_all",
                            [&](auto& error) { return write_all(from, error); });
  }
  std::size_t write_all(const_buffer from, std::error_code& error) noexcept;

  std::uint64_t size() const {
    return detail::or_throw("sigrun: size", [&](auto& error) { return size(error); });
  }
  std::uint64_t size(std::error_code& error) const noexcept;
  /// Returns when the disk has it. (fsync(2))
  void sync() {
    detail::or_throw("sigrun: sync", [&](auto& error) { sync(error); });
  }
  void sync(std::error_code& error) noexcept;
  /// bad_file_descriptor when it is not open; else what close(2) says, and it is closed anyway.
  void close() {
    detail::or_throw("sigrun: close", [&](auto& error) { close(error); });
  }
  void close(std::error_code& error) noexcept;

 private:
  int fd_ = -1;
};

/// The whole of a file, also of one without a size, as those of /proc. Throws std::bad_alloc.
std::string read_file(const std::string& path, std::error_code& error);
inline std::string read_file(const std::string& path) {
  return detail::or_throw("sigrun: read_file", [&](auto& error) { return read_file(path, error); });
}

}  // namespace sigrun
