// SPDX-License-Identifier: Apache-2.0
//
// The few things the runtime reads from the interrupted context, per CPU.
#pragma once

#include "base/signal_safe.hpp"

#include <ucontext.h>

#include <cstdint>

namespace sigrun::arch {

struct interrupted {
  std::uint64_t pc;
  std::uint64_t sp;
  std::uint64_t first_argument;  // of a system call: rdi or x0 (x0 is overwritten by the result)
  std::int64_t result;           // of a system call: rax or x0
};

SIGRUN_SIGNAL_SAFE inline interrupted read_context(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  const auto& r = context.uc_mcontext.gregs;
  return {static_cast<std::uint64_t>(r[REG_RIP]), static_cast<std::uint64_t>(r[REG_RSP]),
          static_cast<std::uint64_t>(r[REG_RDI]), r[REG_RAX]};
#else
  const auto& m = context.uc_mcontext;
  return {m.pc, m.sp, m.regs[0], static_cast<std::int64_t>(m.regs[0])};
#endif
}

/// The interrupted thread's signal mask, which rt_sigreturn puts back: a handler that edits it
/// changes what is blocked after its return. One 64-bit word at the head of uc_sigmask.
SIGRUN_HANDLER_ONLY inline std::uint64_t& context_mask(ucontext_t& context) noexcept {
  return *reinterpret_cast<std::uint64_t*>(&context.uc_sigmask);
}

}  // namespace sigrun::arch
