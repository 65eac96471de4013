// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/signal_safe.hpp"

/// The one door to the kernel: runs system call `number` and returns what the kernel returned, a
/// value in -4095..-1 being a negated errno. Never touches errno. Tests link another definition
/// to make calls fail. (syscall(2), "Architecture calling conventions")
SIGRUN_SIGNAL_SAFE extern "C" long sigrun_syscall6(long number, long a, long b, long c, long d,
                                                   long e, long f) noexcept;
