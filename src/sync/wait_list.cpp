// SPDX-License-Identifier: Apache-2.0
#include <sigrun/detail/wait_list.hpp>

#include "base/pause.hpp"
#include "sys/futex.hpp"

namespace sigrun::detail {
namespace {

// Long enough to outlast the holder's few instructions on another CPU, short enough not to matter
// when the holder was preempted.
constexpr int lock_spins = 64;

}  // namespace

void short_lock::lock_slowly() noexcept {
  for (int i = 0; i < lock_spins; ++i) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if (seen == 0 && word_.compare_exchange_weak(seen, 1, std::memory_order_acquire,
                                                 std::memory_order_relaxed)) {
      return;
    }
    if (seen == 2) break;  // others sleep already, so the wait is a long one
    base::cpu_pause();
  }
  // From here on 2 is left in the word although perhaps nobody else sleeps: one needless wake.
  while (word_.exchange(2, std::memory_order_acquire) != 0) sys::futex_wait(word_, 2);
}

void short_lock::wake_one() noexcept { sys::futex_wake(word_, 1); }

}  // namespace sigrun::detail
