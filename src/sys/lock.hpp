// SPDX-License-Identifier: Apache-2.0
//
// A lock in one word, for a few instructions: 0 free, 1 held, 2 held and perhaps somebody sleeps.
// Who waits spins a little, then the thread sleeps on a futex; so it is never held across a switch
// of goroutines, and never taken in a handler.
#pragma once

#include "base/pause.hpp"
#include "sys/futex.hpp"

#include <atomic>
#include <cstdint>

namespace sigrun::sys {

// Long enough to outlast the holder's few instructions on another CPU, short enough not to matter
// when the holder was preempted.
inline constexpr int lock_spins = 64;

[[gnu::noinline, gnu::cold]] inline void lock_word_slowly(
    std::atomic<std::uint32_t>& word) noexcept {
  for (int i = 0; i < lock_spins; ++i) {
    std::uint32_t seen = word.load(std::memory_order_relaxed);
    if (seen == 0 &&
        word.compare_exchange_weak(seen, 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    if (seen == 2) break;  // others sleep already, so the wait is a long one
    base::cpu_pause();
  }
  // From here on 2 is left in the word although perhaps nobody else sleeps: one needless wake.
  while (word.exchange(2, std::memory_order_acquire) != 0) futex_wait(word, 2);
}

/// Meets BasicLockable. The unlock is one operation, after which the memory is not touched.
class short_lock {
 public:
  void lock() noexcept {
    std::uint32_t seen = 0;
    // acquire pairs with the release of the unlock before.
    if (!word_.compare_exchange_strong(seen, 1, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      lock_word_slowly(word_);
    }
  }
  void unlock() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) futex_wake(word_, 1);
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

}  // namespace sigrun::sys
