// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sys/syscall.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>

#include <cerrno>

namespace sigrun::sys {

/// When this returns true, every thread of the process has passed a full memory barrier since the
/// call began; registers the process on first use. False where the kernel has no such thing or a
/// filter forbids it. Some microseconds. (membarrier(2))
inline bool barrier_everywhere() noexcept {
  long result = call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  if (result == -EPERM) {
    call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    result = call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  }
  return result == 0;
}

}  // namespace sigrun::sys
