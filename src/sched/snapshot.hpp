// SPDX-License-Identifier: Apache-2.0
//
// What a dump reads of Gs and Ms, beside them, without a lock and perhaps in a handler: the program
// may hold any lock, or have died. snapshot.cpp is compiled like the signal-safe zone.
//
//   (1) The memory of a G stays for ever (stack.hpp (1)), of an M too. What is read of one may be
//       half old and half new, or of a G that has ended: who needs more looks twice, as look_at_g()
//       does with the id.
//   (2) A parked stack may be resumed while it is walked. The walk reads what it finds and takes no
//       harm; still_there() says afterwards whether the G has stayed where it was.
#pragma once

#include "sched/machine.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::sched {

struct g_view {
  const g* self = nullptr;
  std::uint64_t id = 0;
  std::uint64_t parent_id = 0;
  const void* created_at = nullptr;
  g_state state = g_state::free;
  wait_reason why = wait_reason::unknown;
  const void* on = nullptr;
  std::int64_t since_ns = 0;
  bool locked = false;
  std::uint64_t deferred_signals = 0;
  const void* labels = nullptr;  // module go's; may be gone
  const void* parked_at = nullptr;
  std::uint64_t stack_low = 0;
  std::uint64_t stack_top = 0;
  char name[name_room] = {};
};

/// How many slots there are to look at.
SIGRUN_SIGNAL_SAFE std::uint32_t g_slots() noexcept;
/// The G in `slot`; false: there is none that is alive.
SIGRUN_SIGNAL_SAFE bool look_at_g(std::uint32_t slot, g_view& out) noexcept;
/// The same for a G at hand.
SIGRUN_SIGNAL_SAFE bool look_at_g(const g* gp, g_view& out) noexcept;
/// Whether it is parked where it was parked then.
SIGRUN_SIGNAL_SAFE bool still_there(const g_view& seen) noexcept;

/// Whether it has left its stack for good or for now, with its registers saved. Between the mark in
/// its state and that there are some instructions.
SIGRUN_SIGNAL_SAFE bool has_landed(const g* gp) noexcept;
/// "running", "runnable", or what it waits for.
SIGRUN_SIGNAL_SAFE const char* state_text(const g_view& seen) noexcept;

/// The Ms, by `next`.
SIGRUN_SIGNAL_SAFE const machine* first_machine() noexcept;
/// The M that runs `gp` now; nullptr for none. In a foreign call too.
SIGRUN_SIGNAL_SAFE const machine* machine_of(const g* gp) noexcept;
/// The G of the calling thread, in a foreign call too; nullptr: none.
SIGRUN_SIGNAL_SAFE const g* g_of_this_thread() noexcept;

}  // namespace sigrun::sched
