// SPDX-License-Identifier: Apache-2.0
//
// What the process had before the runtime changed it, for children and for restoring.
#pragma once

#include "sys/signal.hpp"

namespace sigrun::sigsafe {

/// `current` (this thread's mask) without what the runtime blocked here.
SIGRUN_SIGNAL_SAFE signal_set original_thread_mask(signal_set current) noexcept;

/// The disposition that was there before ours; the present one where ours is not installed.
SIGRUN_SIGNAL_SAFE sys::kernel_sigaction original_action(int signo) noexcept;

/// In a child: puts back every sigaction that the runtime replaced and that is still ours.
SIGRUN_SIGNAL_SAFE void restore_dispositions() noexcept;

/// In a child that goes on without exec: forgets the parent's runtime altogether.
void forget_runtime() noexcept;

}  // namespace sigrun::sigsafe
