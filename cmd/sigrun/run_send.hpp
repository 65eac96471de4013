// SPDX-License-Identifier: Apache-2.0
//
// Sending a signal on with all it carries.
#pragma once

#include "run_report.hpp"

namespace sigrun::cmd {

/// Where signals go: the program, its process group, or, once the program has ended and the rest
/// is waited for, every child left.
struct signal_target {
  target_kind kind = target_kind::process;
  int pid = 0;     // of the program; also its group's id
  int pidfd = -1;  // opened when first needed
};

/// Sends info's signal as number `signo`. What was queued keeps its value and its first sender's
/// pid and uid. 0 or a negated errno; -EAGAIN: a queue is full, nothing was sent.
long send_on(signal_target& target, int signo, const siginfo_t& info) noexcept;

/// Sends without payload to every direct child (there is no one id for those adopted).
long send_to_children(int signo) noexcept;

}  // namespace sigrun::cmd
