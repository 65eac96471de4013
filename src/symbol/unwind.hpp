// SPDX-License-Identifier: Apache-2.0
//
// Walks a stack by the call frame information of the code on it, so that nothing needs a frame
// pointer or a flag. Own code, because the walk happens in handlers, over stacks that may be
// damaged, and over stacks that nobody stands on: docs/decisions/0007 has the choice.
//
//   (1) Every read of a stack is asked for first (memory.hpp) or lies in a stack that is known to
//       be mapped; every read of a table lies in its segment. Loops are bounded by `frames_max` and
//       by what the tables hold.
//   (2) The walk ends at a frame without a caller (return address 0 or undefined), without rules,
//       and where it would stand still.
//   (3) It crosses signal frames, the runtime's injected ones and foreign calls' change of stack.
#pragma once

#include "arch/context.hpp"
#include "symbol/cfi.hpp"
#include "symbol/memory.hpp"

#include <ucontext.h>
#include <csignal>

#include <cstddef>
#include <cstdint>

namespace sigrun::symbol {

struct registers {
  std::uint64_t pc = 0;
  std::uint64_t r[register_count] = {};
  /// pc is where execution stands, not where a call will return to.
  bool exact = true;

  std::uint64_t sp() const noexcept { return r[sp_register]; }
};

SIGRUN_SIGNAL_SAFE registers interrupted_registers(const ucontext_t& context) noexcept;
SIGRUN_SIGNAL_SAFE registers parked_stack_registers(const arch::context& parked) noexcept;
/// Of the caller, as after the return of the function this is called from.
[[gnu::noinline]] SIGRUN_SIGNAL_SAFE registers registers_here() noexcept;

/// A place in the code. `exact`: the instruction itself; else the one after a call, and what is
/// looked up in tables is the byte before it.
struct frame {
  std::uint64_t pc = 0;
  bool exact = false;

  std::uint64_t lookup() const noexcept { return exact || pc == 0 ? pc : pc - 1; }
};

/// What step() has seen of the frame that it left.
struct seen_frame {
  bool of_signal = false;      // a handler's way back, or a frame that is marked as a signal frame
  bool has_tables = false;     // the rest is known
  std::uint64_t function = 0;  // see frame_rules
  std::uint64_t lsda = 0;
  std::uint64_t tables_begin = 0;  // what may be read of the image's tables
  std::uint64_t tables_end = 0;
};

/// The caller's registers in place of the callee's. False: there is no caller to be found.
SIGRUN_SIGNAL_SAFE bool step(registers& at, memory& from) noexcept;
SIGRUN_SIGNAL_SAFE bool step(registers& at, memory& from, seen_frame& seen) noexcept;

/// Fills `out` from `at` outwards and returns how many. `more` says that the walk had not ended.
SIGRUN_SIGNAL_SAFE std::size_t walk(registers at, memory from, frame* out, std::size_t out_max,
                                    bool& more) noexcept;

}  // namespace sigrun::symbol
