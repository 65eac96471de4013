// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's own lock, for a few instructions: spins a little, then sleeps on a futex. The M
// sleeps, not the G, so it is never held across a switch.
#pragma once

#include <atomic>
#include <cstdint>

namespace sigrun::sched {

/// 0 free, 1 held, 2 held and somebody sleeps. Meets BasicLockable.
class short_lock {
 public:
  void lock() noexcept {
    std::uint32_t seen = 0;
    // acquire pairs with the release of the unlock before.
    if (!word_.compare_exchange_strong(seen, 1, std::memory_order_acquire)) lock_slowly();
  }
  void unlock() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) wake_one();
  }

 private:
  void lock_slowly() noexcept;
  void wake_one() noexcept;
  std::atomic<std::uint32_t> word_{0};
};

}  // namespace sigrun::sched
