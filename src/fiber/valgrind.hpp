// SPDX-License-Identifier: Apache-2.0
//
// Valgrind takes a far jump of the stack pointer for a huge allocation unless it knows the stack.
// Its requests are a few no-op instructions outside Valgrind; without its header there are none.
#pragma once

#include <cstddef>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

namespace sigrun::fiber {

#if defined(VALGRIND_STACK_REGISTER)
inline bool on_valgrind() noexcept { return RUNNING_ON_VALGRIND != 0; }
inline unsigned valgrind_register(const void* low, std::size_t size) noexcept {
  if (!on_valgrind()) return 0;
  // Numbered from 0 by Valgrind, from 1 here: 0 says none.
  return 1 + static_cast<unsigned>(
                 VALGRIND_STACK_REGISTER(low, static_cast<const std::byte*>(low) + size - 1));
}
inline void valgrind_deregister(unsigned stack) noexcept {
  if (stack != 0) VALGRIND_STACK_DEREGISTER(stack - 1);
}
#else
inline bool on_valgrind() noexcept { return false; }
inline unsigned valgrind_register(const void*, std::size_t) noexcept { return 0; }
inline void valgrind_deregister(unsigned) noexcept {}
#endif

}  // namespace sigrun::fiber
