// SPDX-License-Identifier: Apache-2.0
//
// All Gs, so that they can be listed: a table of addresses in chunks that stay. A G keeps its slot
// while its memory lasts, also when it is free, so a spawn from a cache does not come here.
#pragma once

#include "sched/g.hpp"
#include "sys/lock.hpp"

#include <cstdint>

namespace sigrun::sched {

class g_registry {
 public:
  static constexpr std::uint32_t chunk_size = 4096;
  static constexpr std::uint32_t chunks_max = 4096;  // 16,777,216 Gs

  /// Gives `gp` a slot; false when there is no memory for one, or no number.
  bool add(g* gp) noexcept;
  void remove(g* gp) noexcept;

  /// Calls visit(gp, arg) for each G that is alive, under the lock: its memory stays meanwhile.
  /// Runs how(gp, arg) under the same lock: for what for_each reads and is no atom.
  void change(g* gp, void (*how)(g*, void*), void* arg);
  void for_each(void (*visit)(const g*, void*), void* arg);

  /// Without the lock, for dumps: the number of slots, and the G of one, alive or not; nullptr for
  /// none. Chunks stay, so it is safe beside add() and remove(), in a handler too.
  SIGRUN_SIGNAL_SAFE std::uint32_t slots() const noexcept {
    return __atomic_load_n(&used_, __ATOMIC_ACQUIRE);
  }
  SIGRUN_SIGNAL_SAFE const g* peek(std::uint32_t slot) const noexcept {
    const std::uintptr_t* const chunk =
        __atomic_load_n(&chunks_[slot / chunk_size], __ATOMIC_ACQUIRE);
    if (chunk == nullptr) return nullptr;
    const std::uintptr_t word = __atomic_load_n(&chunk[slot % chunk_size], __ATOMIC_ACQUIRE);
    return (word & 1) != 0 ? nullptr : reinterpret_cast<const g*>(word);
  }

 private:
  std::uintptr_t& at(std::uint32_t slot) noexcept {
    return chunks_[slot / chunk_size][slot % chunk_size];
  }

  sys::short_lock lock_;
  std::uintptr_t* chunks_[chunks_max] = {};  // an address, or a free slot's successor * 2 + 1
  std::uint32_t used_ = 0;
  std::uint32_t free_ = 0;  // slot + 1
};

g_registry& all_gs() noexcept;

}  // namespace sigrun::sched
