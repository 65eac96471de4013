// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sys/signal.hpp"

#include <ctime>

#include <cstdint>

namespace sigrun::sys {

inline constexpr std::int64_t never = INT64_MAX;  // a deadline that does not come

/// POSIX lists clock_gettime() as async-signal-safe; it goes through the vDSO. In a sanitizer's
/// build it is the sanitizer's own, which writes into its books: a handler that interrupts it in
/// the midst of them would wait for itself, or be taken for another goroutine's code.
SIGRUN_SIGNAL_SAFE inline void read_clock(clockid_t clock, timespec& now) noexcept {
#if defined(SIGRUN_SANITIZED)
  call(SYS_clock_gettime, clock, &now);
#else
  clock_gettime(clock, &now);
#endif
}

/// CLOCK_MONOTONIC in nanoseconds; it cannot fail.
SIGRUN_SIGNAL_SAFE inline std::int64_t now_ns() noexcept {
  timespec now;
  read_clock(CLOCK_MONOTONIC, now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

SIGRUN_SIGNAL_SAFE constexpr timespec64 to_timespec(std::int64_t ns) noexcept {
  return ns <= 0 ? timespec64{0, 0} : timespec64{ns / 1'000'000'000, ns % 1'000'000'000};
}

}  // namespace sigrun::sys
