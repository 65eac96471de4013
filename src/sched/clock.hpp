// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's time. Tests may put a virtual clock in its place, which only they advance.
#pragma once

#include <cstdint>

namespace sigrun::sched {

/// CLOCK_MONOTONIC in nanoseconds, or the virtual clock's.
std::int64_t now_ns() noexcept;

/// Starts the virtual clock at `ns`; sys::never goes back to the real one.
void set_virtual_clock(std::int64_t ns) noexcept;
void advance_virtual_clock(std::int64_t by_ns) noexcept;

}  // namespace sigrun::sched
