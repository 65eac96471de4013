// SPDX-License-Identifier: Apache-2.0
//
// Two ways on from an instruction that faulted, for a handler that edits the interrupted context:
//
//   resume_guard   sigrun_guarded_call(f, arg, …) returns true: everything above it on the stack is
//                  dropped, the callee-saved registers are what they were when it was called.
//   inject_throw   the thread calls sigrun_throw_fault(record) as if the faulting instruction had,
//                  so that an exception thrown there is unwound from that instruction.
//
//   (1) Whoever calls sigrun_guarded_call() sees an ordinary function that returns. So compilers
//       keep nothing in registers that is not there again, whatever their flags: which is what
//       setjmp(3) cannot say of itself.
//   (2) inject_throw writes to the interrupted stack, below the red zone, `throw_frame` bytes; the
//       handler must not stand on that stack.
//   (3) What would trap again is taken out of the context: alignment checks (EFLAGS.AC), the
//       direction flag, exceptions that the x87 unit holds pending.
#pragma once

#include "base/signal_safe.hpp"

#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace sigrun::arch {

/// Calls f(arg). `*stack_pointer` is set before, for resume_guard(). False: f returned. True: it
/// was resumed. An exception that f throws passes through.
extern "C" bool sigrun_guarded_call(void (*f)(void*), void* arg, std::uint64_t* stack_pointer);
/// Where f returns to: a walk that comes to this pc with that stack pointer is at the guard.
extern "C" const char sigrun_guarded_return[];
extern "C" const char sigrun_guard_resumed[];

/// The injected frame. Never called.
extern "C" void sigrun_fault_thrown() noexcept;
/// What it calls, in ordinary code; never returns.
extern "C" void sigrun_throw_fault(void* record);

/// Room for the record in the injected frame.
inline constexpr std::size_t throw_record_room = 1024;

#if defined(__x86_64__)
/// Red zone, pc, record; pinned in amd64/guard.S.
inline constexpr std::size_t throw_frame = 128 + 8 + throw_record_room;
#else
/// Record, pc and x30; pinned in arm64/guard.S.
inline constexpr std::size_t throw_frame = throw_record_room + 32;
#endif

/// (3); and the handler itself may read what is not aligned from here on.
SIGRUN_HANDLER_ONLY inline void settle_after_fault([[maybe_unused]] ucontext_t& context) noexcept {
#if defined(__x86_64__)
  constexpr greg_t alignment_check = greg_t{1} << 18;
  constexpr greg_t direction = greg_t{1} << 10;
  constexpr std::uint16_t x87_pending = 0x80ff;
  context.uc_mcontext.gregs[REG_EFL] &= ~(alignment_check | direction);
  if (context.uc_mcontext.fpregs != nullptr) {
    auto& status = context.uc_mcontext.fpregs->swd;
    status = static_cast<std::uint16_t>(status & ~x87_pending);
  }
#else
  constexpr std::uint64_t btype = 3U << 10;
  context.uc_mcontext.pstate &= ~btype;
#endif
}

/// In the handler: lets code that was compiled without regard to alignment run.
SIGRUN_HANDLER_ONLY inline void allow_unaligned() noexcept {
#if defined(__x86_64__)
  asm volatile("pushfq\n\tandl $0xfffbffff, (%%rsp)\n\tpopfq" : : : "cc", "memory");
#endif
}

SIGRUN_HANDLER_ONLY inline void resume_guard(ucontext_t& context,
                                             std::uint64_t stack_pointer) noexcept {
#if defined(__x86_64__)
  context.uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(stack_pointer);
  context.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&sigrun_guard_resumed[0]);
#else
  context.uc_mcontext.sp = stack_pointer;
  context.uc_mcontext.pc = reinterpret_cast<std::uint64_t>(&sigrun_guard_resumed[0]);
#endif
}

/// `pc` and `sp` are where the exception shall seem to come from. Returns where the record is to be
/// put.
SIGRUN_HANDLER_ONLY inline void* inject_throw(ucontext_t& context, std::uint64_t pc,
                                              std::uint64_t sp) noexcept {
#if defined(__x86_64__)
  const std::uint64_t low = sp - throw_frame;
  *reinterpret_cast<std::uint64_t*>(sp - 136) = pc;
  context.uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(low);
  context.uc_mcontext.gregs[REG_RDI] = static_cast<greg_t>(low);
  context.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&sigrun_fault_thrown);
#else
  const std::uint64_t low = sp - throw_frame;
  auto* const saved = reinterpret_cast<std::uint64_t*>(low + throw_record_room);
  saved[0] = pc;
  saved[1] = context.uc_mcontext.regs[30];
  context.uc_mcontext.sp = low;
  context.uc_mcontext.regs[0] = low;
  context.uc_mcontext.pc = reinterpret_cast<std::uint64_t>(&sigrun_fault_thrown);
#endif
  return reinterpret_cast<void*>(low);
}

}  // namespace sigrun::arch
