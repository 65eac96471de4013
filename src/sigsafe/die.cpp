// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/die.hpp"

#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

namespace sigrun::sigsafe {

void die_by(int signo, const siginfo_t* info) noexcept {
  const default_action action = signal_default_action(signo);
  if (action != default_action::terminate && action != default_action::core) {
    // Sending it would stop the process here, or do nothing.
    sys::exit_group(128 + signo);
  }
  const sys::kernel_sigaction by_default{};
  sys::rt_sigaction(signo, &by_default, nullptr);
  const int pid = sys::getpid();
  const int tid = sys::gettid();
  if (info == nullptr || sys::failed(sys::rt_tgsigqueueinfo(pid, tid, signo, info))) {
    sys::tgkill(pid, tid, signo);
  }
  sys::unblock(signal_set::of(signo));
  // Still here: the kernel ignores default actions for PID 1, and some defaults do not kill.
  sys::exit_group(128 + signo);
}

void hand_back(int signo, const siginfo_t& info) noexcept {
  const int pid = sys::getpid();
  if (sys::failed(sys::rt_sigqueueinfo(pid, signo, &info))) sys::kill(pid, signo);
}

}  // namespace sigrun::sigsafe
