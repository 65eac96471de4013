// SPDX-License-Identifier: Apache-2.0
//
// Pages of stacks: guards, and which of them hold memory.
#pragma once

#include "stack/stack.hpp"

#include <sys/auxv.h>

#include <cstddef>

namespace sigrun::stack {

SIGRUN_SIGNAL_SAFE inline std::size_t page_size() noexcept {
#if defined(__x86_64__)
  return 4096;
#else
  return getauxval(AT_PAGESZ);  // arm64 kernels are built with 4, 16 or 64 KiB
#endif
}

/// Makes the page at `page` fault, by the best means there is; says which. Under the allocator's
/// lock.
guard_kind install_guard(std::byte* page) noexcept;

/// See guard_by(). Under the allocator's lock.
void choose_guard(guard_kind kind, long mapped_max) noexcept;

/// Does the page hold memory?
bool touched(const std::byte* page) noexcept;

/// Start of the lowest page in [low, top) that holds memory; `top` when none does.
const std::byte* lowest_touched(const std::byte* low, const std::byte* top) noexcept;

}  // namespace sigrun::stack
