// SPDX-License-Identifier: Apache-2.0
//
// What a function's exception table says of one place in it (Itanium C++ ABI: Exception Handling,
// 2.5, as gcc's personality routine reads it). In handlers: compiled like the signal-safe zone.
#pragma once

#include "base/signal_safe.hpp"
#include "symbol/unwind.hpp"

#include <cstdint>

namespace sigrun::fault_detail {

enum class landing : std::uint8_t {
  none,     // nothing to be run here: an exception passes
  cleanup,  // destructors, then it goes on
  handler,  // a catch clause, which may take it
  never,    // the place is not in the table: an exception would end in std::terminate
};

/// `at` is the instruction, resp. a byte of the call.
SIGRUN_SIGNAL_SAFE landing landing_at(const symbol::seen_frame& frame, std::uint64_t at) noexcept;

}  // namespace sigrun::fault_detail
