// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sys/signal.hpp"

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

namespace sigrun::sys {

/// Sleeps while *word == seen. `deadline` is absolute CLOCK_MONOTONIC, nullptr for none. Returns 0
/// or -EAGAIN -EINTR -ETIMEDOUT; every return may be spurious. Private to the process. (futex(2))
SIGRUN_SIGNAL_SAFE inline long futex_wait(const std::atomic<std::uint32_t>& word,
                                          std::uint32_t seen,
                                          const timespec64* deadline = nullptr) noexcept {
  return call(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen, deadline, nullptr,
              FUTEX_BITSET_MATCH_ANY);
}
/// The low half of a 64-bit word (both CPUs are little-endian): for words that say more than the
/// futex compares.
SIGRUN_SIGNAL_SAFE inline long futex_wait(const std::atomic<std::uint64_t>& word,
                                          std::uint32_t seen_low) noexcept {
  return call(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen_low, nullptr, nullptr,
              FUTEX_BITSET_MATCH_ANY);
}
SIGRUN_SIGNAL_SAFE inline long futex_wake(const std::atomic<std::uint64_t>& word,
                                          int count) noexcept {
  return call(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, nullptr, nullptr, 0);
}
SIGRUN_SIGNAL_SAFE inline long futex_wake(const std::atomic<std::uint32_t>& word,
                                          int count) noexcept {
  return call(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, nullptr, nullptr, 0);
}

}  // namespace sigrun::sys
