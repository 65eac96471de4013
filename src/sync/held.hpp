// SPDX-License-Identifier: Apache-2.0
//
// The locks that code under a guard has taken. A table lies in the frame of each guarded(), or
// belongs to a goroutine with panic_on_fault; the slot of the goroutine or thread points to the
// innermost, where locks are noted:
//
//   slot.held ──▶ innermost guard's ──▶ outer guard's ──▶ the goroutine's own ──▶ null
//
//   (1) Only the owner of the slot writes, in ordinary code. The fault handler looks at nothing but
//       fault_slot::in_runtime.
//   (2) A lock may be given up by another than took it. Then the note stays, and says too much; it
//       is checked against the lock when it is used: poisoning a free lock does nothing.
//   (3) Without a table nothing is noted: nobody could be told.
#pragma once

#include <sigrun/detail/held_locks.hpp>

#include <cstdint>

namespace sigrun::detail {

struct held_lock {
  void* lock;
  bool (*poison)(void* lock) noexcept;
};

struct held_table {
  static constexpr std::uint32_t room = 16;

  held_table* outer;
  std::uint32_t count;
  std::uint32_t missed;  // taken while the table was full
  held_lock locks[room];

  void begin(held_table* around) noexcept {
    outer = around;
    count = 0;
    missed = 0;
  }
};

/// Gives what `table` still has to the one around it.
void hand_out(held_table& table) noexcept;

}  // namespace sigrun::detail
