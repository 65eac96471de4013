// SPDX-License-Identifier: Apache-2.0
//
// What the sender puts into a signal's 64-bit payload: a number, from 0, in the upper 20 bits, and
// below it the lower 44 bits of its clock (which come round every five hours).
#pragma once

#include <cstdint>

namespace example {

inline constexpr int clock_bits = 44;
inline constexpr std::uint64_t clock_mask = (std::uint64_t{1} << clock_bits) - 1;
inline constexpr std::uint64_t number_max = (std::uint64_t{1} << (64 - clock_bits)) - 1;

constexpr std::uint64_t payload(std::uint64_t number, std::int64_t now_ns) {
  return (number << clock_bits) | (static_cast<std::uint64_t>(now_ns) & clock_mask);
}
constexpr std::uint64_t number_of(std::uint64_t payload_bits) { return payload_bits >> clock_bits; }

/// How long before `at_ns` the payload was made.
constexpr std::int64_t age_ns(std::uint64_t payload_bits, std::int64_t at_ns) {
  return static_cast<std::int64_t>((static_cast<std::uint64_t>(at_ns) - payload_bits) & clock_mask);
}

}  // namespace example
