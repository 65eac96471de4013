// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's time. Tests may put a virtual clock in its place, which only they advance.
#pragma once

#include <cstdint>

namespace sigrun::sched {

/// CLOCK_MONOTONIC in nanoseconds, or the virtual clock's.
std::int64_t now_ns() noexcept;

/// Puts the virtual clock to `ns`, and has the scheduler see what is due; sys::never goes back to
/// the real one. Timers must not have seen a later time. A plain thread's own waits, which are the
/// kernel's, go by the real clock all the same. One caller at a time.
void set_virtual_clock(std::int64_t ns) noexcept;
void advance_virtual_clock(std::int64_t by_ns) noexcept;

}  // namespace sigrun::sched
