// SPDX-License-Identifier: Apache-2.0
//
// Reading /proc: bounded, and tolerant of processes and threads that end while one looks.
#pragma once

#include "procfs/parse.hpp"

#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

namespace sigrun::procfs {

/// An entry of /proc could not be read or understood. what() is "path: why".
class error : public std::system_error {
 public:
  error(std::string path, int code);
  /// For text that is not what the kernel writes.
  error(std::string path, const std::string& why);
  const std::string& path() const noexcept { return path_; }
  /// The process or the thread is gone: ENOENT before it was opened, ESRCH after.
  bool vanished() const noexcept;

 private:
  std::string path_;
};

/// "/proc/PID/name" and "/proc/PID/task/TID/name".
std::string path_of(int pid, std::string_view name);
std::string path_of(int pid, int tid, std::string_view name);

/// The whole file. Throws error; EFBIG when it has more than `max_bytes`.
std::string read_text(const std::string& path, std::size_t max_bytes = std::size_t{64} << 10);

/// Where a symbolic link leads. Throws error.
std::string read_link(const std::string& path);

/// The entries of a directory that are numbers, in ascending order. Throws error; EFBIG beyond
/// `max_entries`.
std::vector<int> list_numbers(const std::string& path, std::size_t max_entries);

/// One entry, read and parsed. Each throws error, which names the path.
thread_status read_status(int pid, int tid);
process_stat read_stat(int pid);
std::vector<mapping> read_maps(int pid);
std::vector<resource_limit> read_limits(int pid);
syscall_state read_syscall(int pid, int tid);
/// Name of the kernel function in which the thread sleeps; empty when it does not, or when the
/// kernel keeps it to itself.
std::string read_wchan(int pid, int tid);

}  // namespace sigrun::procfs
