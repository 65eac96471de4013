// SPDX-License-Identifier: Apache-2.0
//
// Instructions that fault. In assembly, so that no sanitizer and no optimizer knows.
#pragma once

#include <cstdint>

namespace sigrun::test {

[[gnu::noinline]] inline std::uint64_t load(std::uint64_t address) {
  std::uint64_t value = 0;
#if defined(__x86_64__)
  asm volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
#else
  asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
#endif
  return value;
}

[[gnu::noinline]] inline void store(std::uint64_t address, std::uint64_t value) {
#if defined(__x86_64__)
  asm volatile("movq %1, (%0)" : : "r"(address), "r"(value) : "memory");
#else
  asm volatile("str %1, [%0]" : : "r"(address), "r"(value) : "memory");
#endif
}

/// In the page that is never mapped, and told apart from others.
inline constexpr std::uint64_t near_null = 0x18;

}  // namespace sigrun::test
