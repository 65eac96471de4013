// SPDX-License-Identifier: Apache-2.0
//
// Two locks for a few instructions. Who waits spins a little, then the thread sleeps on a futex; so
// neither is held across a switch of goroutines, and neither is taken in a handler.
//
// short_lock is one word: 0 free, 1 held, 2 held and perhaps somebody sleeps.
//
// quick_lock has a second word and an unlock that is a plain store and a look: half the price.
// `word` says whether it is held, `sleepers` how many may sleep. Between an unlocker's store and
// its look nothing keeps the processor from looking first. Hence a sleeper announces itself, then
// has every thread pass a barrier (membarrier(2)), and only then takes its last look: an unlocker
// either stored before that look, or looks after the announcement. tests/models/chan_lock.pml
// checks that nobody sleeps on a free lock. The unlock looks at the lock's memory after it was
// given up, so that must stay; and a wait that spinning does not end costs microseconds.
#pragma once

#include "base/pause.hpp"
#include "sys/clock.hpp"
#include "sys/futex.hpp"
#include "sys/membarrier.hpp"

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

[[gnu::noinline, gnu::cold]] inline void lock_quick_slowly(
    std::atomic<std::uint32_t>& word, std::atomic<std::uint32_t>& sleepers) noexcept {
  constexpr std::int64_t relook_ns = 200'000;
  const auto try_lock = [&] { return word.exchange(1, std::memory_order_acquire) == 0; };
  for (int i = 0; i < lock_spins; ++i) {
    if (word.load(std::memory_order_relaxed) == 0 && try_lock()) return;
    if (sleepers.load(std::memory_order_relaxed) != 0) break;  // the wait is a long one
    base::cpu_pause();
  }
  sleepers.fetch_add(1);
  const bool ordered = barrier_everywhere();
  while (!try_lock()) {
    // Where there is no such barrier an unlocker may miss us. Then we look again soon.
    const timespec64 soon = to_timespec(ordered ? 0 : now_ns() + relook_ns);
    futex_wait(word, 1, ordered ? nullptr : &soon);
  }
  sleepers.fetch_sub(1);
}

/// Meets BasicLockable.
class quick_lock {
 public:
  void lock() noexcept {
    // acquire pairs with the release of the unlock before.
    if (word_.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
      lock_quick_slowly(word_, sleepers_);
  }
  void unlock() noexcept {
    word_.store(0, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // for the compiler; see above
    if (sleepers_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      futex_wake(word_, 1);
  }

 private:
  std::atomic<std::uint32_t> word_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

}  // namespace sigrun::sys
