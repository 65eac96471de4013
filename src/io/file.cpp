// SPDX-License-Identifier: Apache-2.0
#include <sigrun/file.hpp>

#include "io/foreign.hpp"
#include "io/quiet.hpp"
#include "io/socket.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace sigrun {
namespace {

using detail::in_foreign_call;

int flags_of(file_mode mode) noexcept {
  switch (mode) {
    case file_mode::write:
      return O_WRONLY | O_CREAT | O_TRUNC;
    case file_mode::append:
      return O_WRONLY | O_CREAT | O_APPEND;
    case file_mode::read_write:
      return O_RDWR | O_CREAT;
    case file_mode::read:
      break;
  }
  return O_RDONLY;
}

/// In a foreign call, again as long as a handler interrupts it.
template <class Call>
long uninterrupted(Call call) noexcept {
  return in_foreign_call([&] {
    for (;;) {
      const long result = call();
      if (result != -EINTR) return result;
    }
  });
}

std::size_t count_of(long result, std::error_code& error) noexcept {
  return detail::failed(result, error) ? 0 : static_cast<std::size_t>(result);
}

}  // namespace

file& file::operator=(file&& other) noexcept {
  if (this != &other) {
    const file old(std::move(*this));
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

file::~file() {
  std::error_code ignored;
  if (is_open()) close(ignored);
}

file file::open(const std::string& path, file_mode mode, std::error_code& error) noexcept {
  constexpr int permissions = 0666;
  file made;
  if (path.find('\0') != path.npos) {
    error = detail::to_error_code(EINVAL);
    return made;
  }
  const long result = uninterrupted([&] {
    return sys::call(SYS_openat, AT_FDCWD, path.c_str(), flags_of(mode) | O_CLOEXEC, permissions);
  });
  if (!detail::failed(result, error)) made.fd_ = static_cast<int>(result);
  return made;
}

std::size_t file::read(mutable_buffer into, std::error_code& error) noexcept {
  return count_of(uninterrupted([&] { return sys::read(fd_, into.data(), into.size()); }), error);
}

std::size_t file::read_at(std::uint64_t offset, mutable_buffer into,
                          std::error_code& error) noexcept {
  return count_of(
      uninterrupted([&] { return sys::call(SYS_pread64, fd_, into.data(), into.size(), offset); }),
      error);
}

std::size_t file::write_all(const_buffer from, std::error_code& error) noexcept {
  error.clear();
  std::size_t count = 0;
  while (count < from.size()) {
    const const_buffer rest = from + count;
    const long result = uninterrupted([&] {
      const iovec one{const_cast<void*>(rest.data()), rest.size()};
      return detail::write_quietly(fd_, &one, 1);  // the path may be a FIFO's
    });
    if (detail::failed(result, error)) break;
    count += static_cast<std::size_t>(result);
  }
  return count;
}

std::uint64_t file::size(std::error_code& error) const noexcept {
  struct stat found {};
  const long result = uninterrupted([&] { return sys::call(SYS_fstat, fd_, &found); });
  return detail::failed(result, error) ? 0 : static_cast<std::uint64_t>(found.st_size);
}

void file::sync(std::error_code& error) noexcept {
  detail::failed(uninterrupted([&] { return sys::call(SYS_fsync, fd_); }), error);
}

void file::close(std::error_code& error) noexcept {
  // Never again after EINTR: Linux has closed it then. (close(2))
  const int fd = std::exchange(fd_, -1);
  detail::failed(in_foreign_call([fd] { return sys::close(fd); }), error);
}

std::string read_file(const std::string& path, std::error_code& error) {
  file from = file::open(path, file_mode::read, error);
  std::string text;
  if (error) return text;
  constexpr std::size_t room_min = 4096;
  text.resize(std::max<std::size_t>(room_min, from.size(error) + 1));
  std::size_t length = 0;
  while (!error) {
    const std::size_t count = from.read(mutable_buffer(text) + length, error);
    if (count == 0) break;
    length += count;
    if (length == text.size()) text.resize(2 * length);
  }
  text.resize(error ? 0 : length);
  return text;
}

}  // namespace sigrun
