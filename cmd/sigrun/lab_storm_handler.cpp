// SPDX-License-Identifier: Apache-2.0
//
// The program's own handler, which lies under the flipped signals. Compiled without a sanitizer's
// instrumentation, as it interrupts the sanitizer too.
#include "lab_storm_run.hpp"

#include "sigsafe/intake.hpp"
#include "sys/signal.hpp"

namespace sigrun::cmd::lab {
namespace {

constinit std::atomic<std::uint64_t> handler_runs{0};

void count_run(int /*signo*/, siginfo_t* /*info*/, void* /*context*/) { handler_runs.fetch_add(1); }

void install(int signo) noexcept {
#if defined(SIGRUN_SANITIZED)
  // ThreadSanitizer's sigaction(3) lets its handlers wait for a convenient moment, and keeps one
  // signal of each number meanwhile: the kernel's does not.
  sys::kernel_sigaction action = sigsafe::our_action();
  action.handler = reinterpret_cast<std::uintptr_t>(&count_run);
  action.flags = SA_SIGINFO | SA_RESTART | (action.flags & sys::flag_restorer);
  action.mask = {};
  sys::rt_sigaction(signo, &action, nullptr);
#else
  struct sigaction action {};
  action.sa_sigaction = count_run;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigaction(signo, &action, nullptr);
#endif
}

}  // namespace

void install_base() noexcept {
  install(traffic::flipped_thread);
  install(traffic::flipped_go);
}

std::uint64_t handed_back_to_program() noexcept { return handler_runs.load(); }

}  // namespace sigrun::cmd::lab
