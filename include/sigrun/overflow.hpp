// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun {

/// What happens to a signal that finds its channel, or its goroutine's queue, full (contract B3).
/// Each loss moves a counter.
enum class overflow {
  drop_newest,  ///< the event that came is dropped, as in Go
  drop_oldest,  ///< the oldest one that waits is dropped
  coalesce,     ///< merged into the youngest event of the same signal; its `count` grows
  unbounded,    ///< the channel grows, up to notify_options::unbounded_max
};

}  // namespace sigrun
