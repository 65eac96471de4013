// SPDX-License-Identifier: Apache-2.0
//
// --journal FILE: one JSON object a line, appended. docs/runner.md lists the members.
#pragma once

#include "run_report.hpp"

namespace sigrun::cmd {

class run_journal {
 public:
  run_journal() noexcept = default;
  run_journal(const run_journal&) = delete;
  run_journal& operator=(const run_journal&) = delete;
  ~run_journal();

  /// Returns a positive errno, 0 when open.
  int open(const char* path) noexcept;
  bool on() const noexcept { return fd_ >= 0; }

  void start(const run_options& options, int child) noexcept;
  void signal(const passage& signal) noexcept;
  /// `event` is "child", or "adopted" for a process that was not started by the runner.
  void process(std::string_view event, const siginfo_t& child) noexcept;
  void suspended(int signo) noexcept;
  void grace_over(int group) noexcept;
  void end(int exit_code) noexcept;

 private:
  void finish(class text_line& line) noexcept;

  int fd_ = -1;
  bool told_ = false;
};

}  // namespace sigrun::cmd
