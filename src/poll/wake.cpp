// SPDX-License-Identifier: Apache-2.0
//
// Apart, because handlers call it: compiled like the signal-safe zone.
#include "poll/poller.hpp"

#include "sys/file.hpp"

namespace sigrun::poll {

void poller::wake() noexcept {
  count_.wakes.fetch_add(1, std::memory_order_relaxed);
  if (woken_.exchange(true)) return;
  const std::uint64_t one = 1;
  sys::write(break_fd_, &one, sizeof one);  // fails only when it rings as loud as it can
}

}  // namespace sigrun::poll
