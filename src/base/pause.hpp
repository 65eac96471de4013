// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun::base {

/// Tells the CPU that the caller spins.
inline void cpu_pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

}  // namespace sigrun::base
