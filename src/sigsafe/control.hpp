// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace sigrun::sigsafe {

/// The signal by which threads of the runtime wake each other out of rt_sigtimedwait, and its
/// si_code. Above zero, because the kernel lets only the process itself send such a code
/// (rt_tgsigqueueinfo(2)) and then delivers it whatever RLIMIT_SIGPENDING says (linux
/// kernel/signal.c, __send_signal_locked); outside the kernel's own ranges of SIGURG.
inline constexpr int control_signal = SIGURG;
inline constexpr int control_code = 0x5347;

}  // namespace sigrun::sigsafe
