// SPDX-License-Identifier: Apache-2.0
//
// A fault and who catches it.
//
//   run_guarded ──▶ sigrun_guarded_call ──▶ f ──▶ … ──▶ instruction ──SIGSEGV──▶ handler: judge
//        ▲                 ▲  resumed, nothing in between runs ──── returns ────────────┤
//        │                 └─ unwound, destructors run ◀── injected throw ◀── throws ───┤
//        └── throws fault_error to its caller                                  no ──────┴──▶ dies
//
//   (1) The handler notes what it saw in the guard's frame, or in the injected one, and edits the
//       interrupted context; it changes nothing else. What follows from the fault, exception state,
//       a foreign call that is left, locks, counters, the observer, is done in ordinary code.
//   (2) The innermost guard catches, or nobody. Only its frame is trusted to be there: what lies
//       between it and the instruction may be damaged, and is walked as such (symbol/unwind.hpp).
//   (3) Never caught: a fault on the signal stack, or with a handler's frame between the
//       instruction and the guard; one in a section of the scheduler's or under fault_slot's
//       in_runtime; one at an address of the stack that faulted, which has run over then.
//   (4) A throw is injected only if every frame up to the guard, resp. up to the first handler, can
//       be unwound where it stands (may_throw.hpp), so that a missing flag never ends in
//       std::terminate; and if the handler does not stand on that stack itself (arch/guard.hpp
//       (2)).
//   (5) Guards are linked by their slot, which is a goroutine's own and goes with it from thread to
//       thread.
//
// handler.cpp and may_throw.cpp run in the handler, and are compiled and checked like the
// signal-safe zone.
#pragma once

#include "base/signal_safe.hpp"
#include "fiber/fiber.hpp"
#include "sigsafe/thread_block.hpp"
#include "sync/held.hpp"

#include <sigrun/fault.hpp>

#include <ucontext.h>
#include <atomic>
#include <csignal>
#include <cstdint>

namespace sigrun::fault_detail {

struct guard_frame {
  std::uint64_t stack_pointer;  // of sigrun_guarded_call, in which it returns
  guard_frame* outer;
  sigsafe::fault_slot* slot;     // that it is linked in
  fiber::eh_globals exceptions;  // as they were
  std::uint32_t foreign;         // a foreign call was under way
  fault_way way;
  detail::held_table held;
  union {
    fault what;  // the handler's note; nothing before
  };

  guard_frame() noexcept {}  // NOLINT: filled in by who makes it, and not cleared before
};

struct counters {
  std::atomic<std::uint64_t> returned, thrown, in_handler, in_runtime, overflows, cannot_throw,
      poisoned, locks_missed;
};
SIGRUN_SIGNAL_SAFE counters& the_counters() noexcept;

/// What an injected throw needs below the frame that is injected: the unwinder's own frames.
inline constexpr std::uint64_t throw_need = 12 * 1024;

/// Set as intake::recover; see there.
SIGRUN_HANDLER_ONLY bool recover(const siginfo_t& info, ucontext_t& context) noexcept;

}  // namespace sigrun::fault_detail
