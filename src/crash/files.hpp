// SPDX-License-Identifier: Apache-2.0
//
// Descriptors and files that a crash report needs to have ready.
#pragma once

#include "report/crash.hpp"

#include <fcntl.h>

#include <cstddef>
#include <string>
#include <utility>

namespace sigrun::crash {

/// A descriptor that closes itself.
class open_file {
 public:
  open_file() noexcept = default;
  explicit open_file(int fd) noexcept : fd_(fd) {}
  open_file(open_file&& other) noexcept : fd_(other.release()) {}
  open_file& operator=(open_file&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~open_file();
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// Files are made with mode 0600. std::system_error names the path.
open_file open_or_throw(const std::string& path, int flags);
/// Makes it (0700) if it is not there.
open_file open_directory(const std::string& path);
/// Removes the oldest reports, so that one more makes `keep`; and what a process left unfinished
/// that is no longer there.
void remove_old_reports(int directory, std::size_t keep);
void close_old(const report::crash_config& config) noexcept;
/// The calling thread's, for good, if it has none.
void give_this_thread_a_signal_stack();

}  // namespace sigrun::crash
