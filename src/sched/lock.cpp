// SPDX-License-Identifier: Apache-2.0
#include "sched/lock.hpp"

#include "base/pause.hpp"
#include "sys/futex.hpp"

namespace sigrun::sched {
namespace {

constexpr int spins = 100;

}  // namespace

void short_lock::lock_slowly() noexcept {
  for (int i = 0; i < spins; ++i) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if (seen == 0 && word_.compare_exchange_weak(seen, 1, std::memory_order_acquire)) return;
    base::cpu_pause();
  }
  // From here on 2 is left in the word although perhaps nobody else sleeps: one needless wake.
  while (word_.exchange(2, std::memory_order_acquire) != 0) sys::futex_wait(word_, 2);
}

void short_lock::wake_one() noexcept { sys::futex_wake(word_, 1); }

}  // namespace sigrun::sched
