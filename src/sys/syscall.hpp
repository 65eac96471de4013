// SPDX-License-Identifier: Apache-2.0
//
// System calls by name. Each returns the kernel's value: a negated errno in -4095..-1 on failure.
// errno is never touched. All may be called in a handler.
#pragma once

#include "arch/syscall.hpp"

#include <cstddef>

namespace sigrun::sys {

template <class T>
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline long word(T value) noexcept {
  if constexpr (requires { static_cast<long>(value); }) {
    return static_cast<long>(value);
  } else {
    return reinterpret_cast<long>(value);
  }
}

// Inlined always, as every template of the zone: a weak copy in another module, built with other
// flags, must never be the one the linker keeps.
template <class... Args>
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline long call(long number, Args... args) noexcept {
  static_assert(sizeof...(Args) <= 6);
  const long a[7] = {word(args)..., 0};
  return sigrun_syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

SIGRUN_SIGNAL_SAFE constexpr bool failed(long result) noexcept {
  return result < 0 && result >= -4095;
}

}  // namespace sigrun::sys
