// SPDX-License-Identifier: Apache-2.0
//
// The handlers, and what a thread or goroutine needs to be thrown at.
#pragma once

#include "sigsafe/intake.hpp"
#include "sigsafe/thread_block.hpp"

namespace sigrun::fault_detail {

/// Whether the handlers are there. In a child of fork they may have gone with the runtime.
inline bool is_armed() noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  const std::uint64_t needed = sigsafe::recoverable_faults.bits();
  return (in.installed.load(std::memory_order_acquire) & needed) == needed &&
         in.recover.load(std::memory_order_relaxed) != nullptr;
}

/// Installs what is missing. Throws std::system_error.
void arm();

/// A table for locks and, for a plain thread, a signal stack. Throws std::system_error.
void prepare_to_panic(sigsafe::fault_slot& slot);

}  // namespace sigrun::fault_detail
