// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/signal_safe.hpp"
#include "sys/signal.hpp"

namespace sigrun::sigsafe {

/// Ends the process by `signo`, with `info` as its siginfo when given: default disposition,
/// unblocked, sent to this thread. Where that does not kill (PID 1; a signal whose default is not
/// to kill) exits with 128 + signo.
[[noreturn]] SIGRUN_SIGNAL_SAFE void die_by(int signo, const siginfo_t* info) noexcept;

/// Hands a signal that the runtime took, and nobody wants any more, back to the process with its
/// own siginfo, to be treated as the disposition of now says.
SIGRUN_SIGNAL_SAFE void hand_back(int signo, const siginfo_t& info) noexcept;

}  // namespace sigrun::sigsafe
