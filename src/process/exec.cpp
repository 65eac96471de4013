// SPDX-License-Identifier: Apache-2.0
//
// The two ways to stop being this program, and what it was started with.
#include "process/program.hpp"
#include "sigsafe/die.hpp"
#include "sigsafe/original.hpp"

#include <sigrun/process.hpp>

#include <array>
#include <new>
#include <stdexcept>

namespace sigrun::process {
namespace {

using action_table = std::array<sys::kernel_sigaction, signal_max + 1>;

long exec_as_original(const program& what) noexcept {
  std::vector<char*> argv = what.argv;
  std::vector<char*> shell_argv = what.shell_argv;
  std::vector<char*> envp = what.envp;
  action_table actions;
  for (int signo = 1; signo <= signal_max; ++signo) {
    sys::rt_sigaction(signo, nullptr, &actions[static_cast<std::size_t>(signo)]);
  }
  // Blocked until the dispositions are what the new program shall see: execve keeps the mask, so
  // it is put back before it, and a signal that comes then is treated as that program would.
  const signal_set before = sys::exchange_mask(signal_set::all());
  sigsafe::restore_dispositions();
  sys::set_mask(sigsafe::original_thread_mask(before));
  const long failure =
      exec_candidates(what.candidate_list.data(), argv.data(), shell_argv.data(), envp.data());
  sys::set_mask(signal_set::all());
  for (int signo = 1; signo <= signal_max; ++signo) {
    sys::kernel_sigaction now;
    const sys::kernel_sigaction& then = actions[static_cast<std::size_t>(signo)];
    if (sys::rt_sigaction(signo, nullptr, &now) == 0 && now != then) {
      sys::rt_sigaction(signo, &then, nullptr);
    }
  }
  sys::set_mask(before);
  return failure;
}

}  // namespace

std::error_code exec(const std::vector<std::string>& arguments) noexcept {
  try {
    const program what{arguments, true, {}, true};
    return {static_cast<int>(-exec_as_original(what)), std::system_category()};
  } catch (const std::invalid_argument&) {
    return std::make_error_code(std::errc::invalid_argument);
  } catch (...) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

void die_by(int signo) noexcept { sigsafe::die_by(signo, nullptr); }

signal_set original_ignored() {
  signal_set ignored;
  for (int signo = 1; signo <= signal_max; ++signo) {
    if (sigsafe::original_action(signo).handler == sys::handler_ignore) {
      ignored |= signal_set::of(signo);
    }
  }
  return ignored;
}

}  // namespace sigrun::process
