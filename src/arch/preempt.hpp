// SPDX-License-Identifier: Apache-2.0
//
// A call between two instructions of code that did not ask for it. A handler, on the thread's
// signal stack, edits the interrupted context so that on its return the thread calls
// sigrun_preempted() on the interrupted stack; when that returns, perhaps on another thread, the
// code goes on as if nothing had been, with every register as it was:
//
//   interrupted code ──signal──▶ handler: inject_preemption() ──rt_sigreturn──▶ injected frame
//          ▲                                                                        │ call
//          └──── every register restored ◀──── injected frame ◀──── sigrun_preempted() returns
//
//   (1) amd64: the frame is laid below the red zone (psABI 3.2.2), which is 128 bytes that a
//       function may use below rsp. Flags and the 15 general registers are pushed, and all that
//       XCR0 enables is saved by XSAVE in its standard format, whose size CPUID tells: FXSAVE, or a
//       smaller mask, loses the upper halves of vector registers.
//   (2) arm64 has no register to spare for a jump back to any place, so the kernel's frame itself,
//       with the records for SVE and whatever else it holds, is copied to the interrupted stack,
//       and rt_sigreturn(2) on the copy is the way back. What in it belongs to the thread,
//       alternate stack and signal mask, is made that of the thread it is on by then.
//   (3) Unwinders walk from sigrun_preempted() into the interrupted code: by the tables on amd64,
//       where the injected frame is marked as a signal frame because the address in it is no return
//       address; on arm64 because the way back looks like the end of a handler.
//   (4) The handler must not stand on the stack that is interrupted, or it would write over the
//       frame that the kernel returns by. Who calls makes sure of it.
#pragma once

#include "base/signal_safe.hpp"

#include <ucontext.h>
#include <csignal>
#include <cstddef>

namespace sigrun::arch {

/// Bytes below the interrupted stack pointer that an injected call needs for itself, without those
/// of what it calls. 0: it cannot be done on this machine. The first call, before any injection,
/// asks the processor, which takes microseconds in a virtual machine.
std::size_t preemption_frame() noexcept;

/// Edits `context`. False, and nothing is changed, when what the interrupted code has in use cannot
/// be carried over a call (arm64's streaming mode and ZA). Otherwise the interrupted stack has been
/// written to, preemption_frame() bytes at most (on arm64 more than that if the kernel's frame has
/// an extra_context: `room` says how much there is).
SIGRUN_HANDLER_ONLY bool inject_preemption(siginfo_t& info, ucontext_t& context,
                                           std::size_t room) noexcept;

/// What the injected frame calls: the scheduler's. Returns with the signal mask it was called with.
extern "C" void sigrun_preempted() noexcept;

/// The injected frame. Never called.
extern "C" void sigrun_async_preempt() noexcept;

}  // namespace sigrun::arch
