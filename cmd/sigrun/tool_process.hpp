// SPDX-License-Identifier: Apache-2.0
//
// A process held by a pidfd (pidfd_open(2)): whatever happens to its number, this is the one.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace sigrun::cmd {

class process_handle {
 public:
  /// Throws tool_error: no such process, a thread's id, no permission, no descriptor left.
  explicit process_handle(int pid);
  ~process_handle();
  process_handle(const process_handle&) = delete;
  process_handle& operator=(const process_handle&) = delete;

  int pid() const noexcept { return pid_; }
  int fd() const noexcept { return fd_; }
  /// Whether it ended within `timeout`; no value: waits without end. A negative one does not
  /// happen; zero only asks.
  bool wait_end(std::optional<std::chrono::milliseconds> timeout) const;
  /// How it ended, in words: "exit status 3", "killed by SIGTERM"; empty when the kernel does not
  /// say so to a stranger.
  std::string end() const;

 private:
  int pid_;
  int fd_ = -1;
};

}  // namespace sigrun::cmd
