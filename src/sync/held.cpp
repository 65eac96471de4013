// SPDX-License-Identifier: Apache-2.0
#include "sync/held.hpp"

#include "sched/machine.hpp"

namespace sigrun::detail {

constinit std::atomic<bool> locks_are_noted{false};

namespace {

held_table* innermost() noexcept {
  return static_cast<held_table*>(sched::current_fault_slot().held);
}

void add(held_table& table, const held_lock& lock) noexcept {
  if (table.count == held_table::room) {
    ++table.missed;
  } else {
    table.locks[table.count++] = lock;
  }
}

}  // namespace

void note_locked(void* lock, bool (*poison)(void*) noexcept) noexcept {
  if (held_table* const table = innermost()) add(*table, {lock, poison});
}

void note_unlocked(void* lock) noexcept {
  for (held_table* table = innermost(); table != nullptr; table = table->outer) {
    for (std::uint32_t i = table->count; i-- > 0;) {
      if (table->locks[i].lock != lock) continue;
      table->locks[i] = table->locks[--table->count];
      return;
    }
  }
}

void hand_out(held_table& table) noexcept {
  held_table* const to = table.outer;
  if (to == nullptr) return;
  for (std::uint32_t i = 0; i < table.count; ++i) add(*to, table.locks[i]);
  to->missed += table.missed;
}

void runtime_lock_held::note(int change) noexcept {
  sched::current_fault_slot().in_runtime += static_cast<std::uint32_t>(change);
}

}  // namespace sigrun::detail
