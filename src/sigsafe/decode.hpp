// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sys/signal.hpp"

#include <sigrun/signal_event.hpp>

namespace sigrun::sigsafe {

/// Which member of the union is valid, by the kernel's own rule: the code's range, then the signal
/// (linux kernel/signal.c, siginfo_layout).
SIGRUN_SIGNAL_SAFE signal_cause cause_of(int signo, int code) noexcept;

/// Fills everything of `event` that siginfo_t tells. Leaves sequence, tid and stamps alone.
SIGRUN_SIGNAL_SAFE void decode(const siginfo_t& info, signal_event& event) noexcept;

/// The inverse, for handing a signal back to the kernel.
SIGRUN_SIGNAL_SAFE void encode(const signal_event& event, siginfo_t& info) noexcept;

}  // namespace sigrun::sigsafe
