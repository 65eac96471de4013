// SPDX-License-Identifier: Apache-2.0
//
// Children that start with the mask and dispositions this process was started with, and are waited
// for through a pidfd, so no other code's status is ever taken.
#pragma once

#include <sigrun/signal_set.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace sigrun::process {

struct spawn_options {
  std::vector<std::string> environment{};  ///< "NAME=value"; with inherit_environment, added to it
  bool inherit_environment = true;
  std::string directory{};  ///< working directory; empty: ours
  bool new_process_group = false;
  bool new_session = false;
  int parent_death_signal = 0;  ///< PR_SET_PDEATHSIG; 0: none
  /// fd in the child is a copy of fd here: {{from, to}, …}. All others close on exec as marked.
  std::vector<std::pair<int, int>> files{};
  bool search_path = true;  ///< look for the program in PATH, as execvp(3)
};

/// How a child ended.
struct exit_status {
  int code = 0;    ///< exit status, when signal is 0
  int signal = 0;  ///< the signal that killed it
  bool core_dumped = false;
  bool success() const noexcept { return code == 0 && signal == 0; }
  /// As a shell reports it: code, or 128 + signal.
  int shell_code() const noexcept { return signal != 0 ? 128 + signal : code; }
};

/// A running child. Move-only. Destroying it neither kills nor waits, but never leaves a zombie:
/// a child that has not been waited for is handed to a reaper thread.
class child {
 public:
  child() noexcept = default;
  child(child&& other) noexcept;
  child& operator=(child&& other) noexcept;
  ~child();

  int pid() const noexcept { return pid_; }
  /// Readable when the child has ended; closes with this object. For poll(2) and event loops.
  int pidfd() const noexcept { return pidfd_; }
  /// Sends through the pidfd: never reaches a later process with the same pid.
  void signal(int signo);
  void signal(int signo, std::error_code& error) noexcept;
  /// Waits for the end; the second call returns the same. No other child's status is touched.
  exit_status wait();
  std::optional<exit_status> wait_for(std::chrono::nanoseconds timeout);

 private:
  friend child spawn(const std::vector<std::string>&, const spawn_options&);
  int pid_ = 0;
  int pidfd_ = -1;
  std::optional<exit_status> status_;
};

/// Starts arguments[0]. Throws std::invalid_argument for an empty list or a NUL inside a string,
/// std::system_error with execve's own error (ENOENT, EACCES, …), fork's EAGAIN, or EMFILE.
child spawn(const std::vector<std::string>& arguments, const spawn_options& options = {});
child spawn(const std::vector<std::string>& arguments, const spawn_options& options,
            std::error_code& error) noexcept;

/// execvp(3) with the original mask and dispositions put back first. Returns only on failure.
std::error_code exec(const std::vector<std::string>& arguments) noexcept;

/// Ends the process by this signal, truly: default disposition, unblocked, sent to itself. Where
/// the kernel ignores it (PID 1, or a signal whose default is not to kill) exits with 128 + signo.
/// May be called in a handler.
[[noreturn]] void die_by(int signo) noexcept;

/// What this process was started with, as far as the runtime has changed it since.
signal_set original_ignored();

}  // namespace sigrun::process
