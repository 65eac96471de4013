// SPDX-License-Identifier: Apache-2.0
//
// The one poller that sockets and pipes are in is the scheduler's, and its Ms wait in it.
#pragma once

#include "poll/poller.hpp"
#include "sched/sched.hpp"

namespace sigrun::detail {

/// The scheduler's poller, being served from the first call on; nullptr and a negated error when
/// the scheduler cannot start.
inline poll::poller* served_poller(long& error) noexcept {
  error = sched::start();
  return error < 0 ? nullptr : &sched::netpoller();
}

}  // namespace sigrun::detail
