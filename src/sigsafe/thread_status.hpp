// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/signal_safe.hpp"

#include <sigrun/signal_set.hpp>

#include <string_view>

namespace sigrun::sigsafe {

/// What proc_pid_status(5) says of one thread, and of its signals.
struct thread_status {
  char name[64] = {};  // as the kernel shows it, with its escapes; ends with a zero
  char state = '\0';   // R, S, D, T, t, Z, X or I
  signal_set blocked;
  signal_set pending;  // for this thread alone, which no system call tells
};

/// Of thread `tid` of this process, 0 for the caller, without allocation. False: there is none, or
/// no /proc.
SIGRUN_SIGNAL_SAFE bool read_thread_status(int tid, thread_status& out) noexcept;

/// Takes it from the text of such a file. A line that is cut off, or of no other use, is left out.
SIGRUN_SIGNAL_SAFE void parse_thread_status(std::string_view text, thread_status& out) noexcept;

}  // namespace sigrun::sigsafe
