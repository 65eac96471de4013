// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace sigrun::sigsafe {

/// The signal by which threads of the runtime wake each other out of rt_sigtimedwait, and its
/// si_code. Below zero, because a thread may send codes above zero to itself only
/// (rt_tgsigqueueinfo(2)), and far from the SI_… codes of signal(7). With RLIMIT_SIGPENDING used
/// up the kernel still delivers the signal, but without its siginfo: see is_control().
inline constexpr int control_signal = SIGURG;
inline constexpr int control_code = -0x5347;

}  // namespace sigrun::sigsafe
