// SPDX-License-Identifier: Apache-2.0
//
// From std::chrono to what the runtime counts in: absolute CLOCK_MONOTONIC nanoseconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <type_traits>

namespace sigrun::detail {

/// A deadline that does not come, and one that allows no wait at all.
inline constexpr std::int64_t wait_for_ever = INT64_MAX;
inline constexpr std::int64_t do_not_wait = INT64_MIN;

/// The runtime's clock: CLOCK_MONOTONIC, or what a test has put in its place.
std::int64_t now_ns() noexcept;

template <class Clock, class Duration>
std::int64_t deadline_at(std::chrono::time_point<Clock, Duration> at) noexcept {
  static_assert(std::is_same_v<Clock, std::chrono::steady_clock>);
  // steady_clock is CLOCK_MONOTONIC. Double has room for every duration; beyond 9e9 s is for ever.
  if (std::chrono::duration<double>(at.time_since_epoch()).count() > 9e9) return wait_for_ever;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
}
template <class Rep, class Period>
std::int64_t deadline_in(std::chrono::duration<Rep, Period> wait) noexcept {
  const std::chrono::duration<double> seconds = wait;
  if (seconds.count() <= 0) return do_not_wait;
  if (seconds.count() > 4e9) return wait_for_ever;
  return now_ns() + std::chrono::ceil<std::chrono::nanoseconds>(wait).count();
}

/// The same for any clock: what is left by that clock now is waited by the steady one, so a clock
/// that is set meanwhile does not move the deadline.
template <class Clock, class Duration>
std::int64_t deadline_by(std::chrono::time_point<Clock, Duration> at) noexcept {
  if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
    return deadline_at(at);
  } else {
    return deadline_in(at - Clock::now());
  }
}

}  // namespace sigrun::detail
