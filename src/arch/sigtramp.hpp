// SPDX-License-Identifier: Apache-2.0
//
// The way in from the kernel. rt_sigaction(2) is given sigrun_sigtramp as the handler; the kernel
// enters it on the alternate stack with its own frame (siginfo, ucontext) above, and it calls
// sigrun_sighandler() of module sigsafe with the C calling convention. It returns through the
// restorer: ours on amd64, the kernel's vDSO on arm64, which has no other.
#pragma once

#include "base/signal_safe.hpp"

extern "C" {

/// Entry of every handler the runtime installs. Never called by C++.
SIGRUN_HANDLER_ONLY void sigrun_sigtramp(int signo, void* info, void* context) noexcept;

/// amd64 only: rt_sigreturn(2). Its bytes are those that libgcc and gdb know, and gdb also wants
/// "sigaction" in the name; with both a backtrace from a handler reaches the interrupted function.
void sigrun_sigreturn__sigaction() noexcept;

/// What the trampoline calls. `stack_pointer` is the value on entry, where the kernel's frame
/// begins.
SIGRUN_HANDLER_ONLY void sigrun_sighandler(int signo, void* info, void* context,
                                           const void* stack_pointer) noexcept;
}
