// SPDX-License-Identifier: Apache-2.0
//
// Installs the trampoline by the raw system call, without the rest of the runtime.
#pragma once

#include "arch/sigtramp.hpp"
#include "sys/signal.hpp"

#include <csignal>

namespace sigrun::tests {

inline long install_sigtramp(int signo, unsigned long more_flags = 0) noexcept {
  sys::kernel_sigaction action;
  action.handler = reinterpret_cast<std::uintptr_t>(&sigrun_sigtramp);
  action.flags = SA_SIGINFO | SA_RESTART | more_flags;
#if defined(__x86_64__)
  action.flags |= sys::flag_restorer;
  action.restorer = reinterpret_cast<std::uintptr_t>(&sigrun_sigreturn__sigaction);
#endif
  return sys::rt_sigaction(signo, &action, nullptr);
}

inline long raise_here(int signo) noexcept {
  return sys::tgkill(sys::getpid(), sys::gettid(), signo);
}

}  // namespace sigrun::tests
