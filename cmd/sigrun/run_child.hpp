// SPDX-License-Identifier: Apache-2.0
//
// Starts the program: its own process group or session, the terminal if it is to have it, and the
// mask and dispositions the runner itself was started with.
//
// The child shares the runner's memory until it executes (clone with CLONE_VM and CLONE_VFORK), so
// the runner copies no page tables and, when it goes on, the child's group exists and the program
// runs, or `failure` says why not: no signal can be forwarded to a group that is not there yet.
#pragma once

#include "run_options.hpp"
#include "sys/signal.hpp"

namespace sigrun::cmd {

/// The signal state the runner was started with, as far as it changes it.
struct inherited_signals {
  signal_set mask;
  sys::kernel_sigaction child;   // SIGCHLD; an inherited SIG_IGN would reap behind our back
  sys::kernel_sigaction tty_in;  // tini ignores these two
  sys::kernel_sigaction tty_out;
};

enum class start_step : std::uint8_t { none, fork, group, session, terminal, execute };

struct child_start {
  int pid = 0;                           // 0: there is no child
  start_step failed = start_step::none;  // not none: the child, if any, is ending with exit_code
  int error = 0;                         // the kernel's errno, positive
  int exit_code = 0;
};

/// Starts options.program, once in the life of a process. `take_terminal`: make the child's group
/// the terminal's foreground group; where there is a terminal the child then runs beside the
/// runner, and `failed` and `exit_code` are only sure when it has ended.
const child_start& start_child(const run_options& options, const inherited_signals& inherited,
                               bool take_terminal) noexcept;

}  // namespace sigrun::cmd
