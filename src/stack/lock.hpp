// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sys/futex.hpp"

#include <atomic>

namespace sigrun::stack {

/// 0 free, 1 held, 2 held and somebody sleeps. Held for a few instructions, rarely for a system
/// call, never across a switch.
class stack_lock {
 public:
  void lock() noexcept {
    std::uint32_t seen = 0;
    // acquire pairs with the release of the unlock before.
    if (word_.compare_exchange_strong(seen, 1, std::memory_order_acquire)) return;
    while (word_.exchange(2, std::memory_order_acquire) != 0) sys::futex_wait(word_, 2);
  }
  void unlock() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) sys::futex_wake(word_, 1);
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

}  // namespace sigrun::stack
