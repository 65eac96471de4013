// SPDX-License-Identifier: Apache-2.0
//
// What the runner says on stdout and stderr, in the words of the name it was called by. Each
// function is one moment of a run and prints what that style prints there, which may be nothing.
#pragma once

#include "run_options.hpp"

#include <csignal>

#include <string_view>

namespace sigrun::cmd {

struct child_start;

/// What became of a signal. `waiting`: the target's queue is full and the signal is kept until it
/// has room.
enum class disposal : std::uint8_t {
  forwarded,
  rewritten,
  dropped,
  ignored,
  ignored_self,
  waiting,
  failed
};
std::string_view to_string(disposal done) noexcept;

enum class target_kind : std::uint8_t { none, process, group, children };
std::string_view to_string(target_kind kind) noexcept;

/// One signal on its way through the runner.
struct passage {
  siginfo_t info;
  int sent = 0;  // number sent on; 0: none
  disposal done = disposal::forwarded;
  target_kind kind = target_kind::none;
  int target = 0;
  int error = 0;  // positive errno, for `failed`
};

/// "No such file or directory"; never null.
const char* error_text(int error) noexcept;

void report_started(const run_options& options, int pid) noexcept;
void report_not_reaper(const run_options& options) noexcept;
void report_subreaper(const run_options& options, long result) noexcept;
void report_detached(const run_options& options, long result, bool was_leader) noexcept;
void report_session(const run_options& options, long attach_result) noexcept;
void report_no_terminal(const run_options& options, long result) noexcept;
/// Returns the exit code that goes with it.
int report_failed_start(const run_options& options, const child_start& start) noexcept;
void report_taken(const run_options& options, const siginfo_t& info) noexcept;
void report_passed(const run_options& options, const passage& signal) noexcept;
void report_reaped(const run_options& options, const siginfo_t& child, bool is_main) noexcept;
void report_nothing_to_reap(const run_options& options, bool any_child) noexcept;
void report_child_stopped(const run_options& options, int signo) noexcept;
void report_suspending(const run_options& options, int signo) noexcept;
void report_grace_over(const run_options& options, int group) noexcept;
void report_leaving(const run_options& options, int exit_code) noexcept;

}  // namespace sigrun::cmd
