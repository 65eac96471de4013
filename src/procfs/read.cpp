// SPDX-License-Identifier: Apache-2.0
#include "procfs/read.hpp"

#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace sigrun::procfs {
namespace {

// Closes on every way out; sys:: leaves ownership to its callers.
class file {
 public:
  file(const std::string& path, int flags) : path_(path) {
    const long result = sys::call(SYS_openat, AT_FDCWD, path.c_str(), flags | O_CLOEXEC);
    if (sys::failed(result)) throw error(path, static_cast<int>(-result));
    fd_ = static_cast<int>(result);
  }
  ~file() { sys::close(fd_); }
  file(const file&) = delete;
  file& operator=(const file&) = delete;

  // Bytes read, 0 at the end.
  template <class... Rest>
  std::size_t call(long number, void* bytes, std::size_t size, Rest... rest) const {
    for (;;) {
      const long result = sys::call(number, fd_, bytes, size, rest...);
      if (result == -EINTR) continue;
      if (sys::failed(result)) throw error(path_, static_cast<int>(-result));
      return static_cast<std::size_t>(result);
    }
  }

 private:
  const std::string& path_;
  int fd_ = -1;
};

int entry_number(const char* name) {
  int value = 0;
  const char* const end = name + std::strlen(name);
  const auto [stop, problem] = std::from_chars(name, end, value);
  return problem == std::errc{} && stop == end ? value : -1;
}

// What linux_dirent64 of getdents64(2) looks like, up to its name.
constexpr std::size_t dirent_length_at = 16;
constexpr std::size_t dirent_name_at = 19;

template <class Parse>
auto parsed(const std::string& path, std::size_t max_bytes, Parse parse) {
  const std::string text = read_text(path, max_bytes);
  try {
    return parse(text);
  } catch (const std::invalid_argument& problem) {
    throw error(path, problem.what());
  }
}

constexpr std::size_t kib = 1024;

}  // namespace

error::error(std::string path, int code)
    : std::system_error(code, std::generic_category(), path), path_(std::move(path)) {}

error::error(std::string path, const std::string& why)
    : std::system_error(EBADMSG, std::generic_category(), path + ": " + why),
      path_(std::move(path)) {}

bool error::vanished() const noexcept {
  return code().value() == ENOENT || code().value() == ESRCH;
}

std::string path_of(int pid, std::string_view name) {
  return "/proc/" + std::to_string(pid) + "/" + std::string{name};
}

std::string path_of(int pid, int tid, std::string_view name) {
  return path_of(pid, "task/" + std::to_string(tid) + "/" + std::string{name});
}

std::string read_text(const std::string& path, std::size_t max_bytes) {
  const file in(path, O_RDONLY);
  std::string text;
  std::size_t used = 0;
  for (;;) {
    if (used > max_bytes) throw error(path, EFBIG);
    text.resize(std::min(std::max(2 * used, 4 * kib), max_bytes + 1));
    const std::size_t got = in.call(SYS_read, text.data() + used, text.size() - used);
    if (got == 0) break;
    used += got;
  }
  text.resize(used);
  return text;
}

std::string read_link(const std::string& path) {
  char target[512];
  const long result = sys::call(SYS_readlinkat, AT_FDCWD, path.c_str(), target, sizeof target);
  if (sys::failed(result)) throw error(path, static_cast<int>(-result));
  return {target, static_cast<std::size_t>(result)};
}

std::vector<int> list_numbers(const std::string& path, std::size_t max_entries) {
  const file directory(path, O_RDONLY | O_DIRECTORY);
  std::vector<int> numbers;
  alignas(8) char bytes[8 * kib];
  while (const std::size_t got = directory.call(SYS_getdents64, bytes, sizeof bytes)) {
    for (std::size_t at = 0; at < got;) {
      std::uint16_t length = 0;
      std::memcpy(&length, bytes + at + dirent_length_at, sizeof length);
      const int value = entry_number(bytes + at + dirent_name_at);
      if (value >= 0) numbers.push_back(value);
      if (numbers.size() > max_entries) throw error(path, EFBIG);
      at += length;
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

thread_status read_status(int pid, int tid) {
  return parsed(path_of(pid, tid, "status"), 64 * kib, parse_status);
}

process_stat read_stat(int pid) { return parsed(path_of(pid, "stat"), 8 * kib, parse_stat); }

std::vector<mapping> read_maps(int pid) {
  return parsed(path_of(pid, "maps"), 64 * kib * kib, parse_maps);
}

std::vector<resource_limit> read_limits(int pid) {
  return parsed(path_of(pid, "limits"), 16 * kib, parse_limits);
}

syscall_state read_syscall(int pid, int tid) {
  return parsed(path_of(pid, tid, "syscall"), 4 * kib, parse_syscall);
}

std::string read_wchan(int pid, int tid) {
  std::string name = parsed(path_of(pid, tid, "wchan"), 4 * kib, parse_comm);
  return name == "0" ? std::string{} : name;
}

}  // namespace sigrun::procfs
