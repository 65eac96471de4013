// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sigsafe/thread_block.hpp"

namespace sigrun::sigsafe {

/// Gives the calling thread, which the runtime made, a signal stack of its own (gsignal): a guard
/// page below AT_MINSIGSTKSZ (getauxval(3): the kernel's frame on this CPU) plus what our handlers
/// need. Returns 0 or a negated errno. A thread that has an alternate stack already keeps it.
long make_signal_stack(thread_block& self) noexcept;

/// Takes it away again: SS_DISABLE first, then the mapping.
void free_signal_stack(thread_block& self) noexcept;

}  // namespace sigrun::sigsafe
