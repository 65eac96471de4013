// SPDX-License-Identifier: Apache-2.0
//
// Where the callers wait that a lock, a condition or a group holds up. Users include
// <sigrun/sync.hpp>; nothing here is for them.
#pragma once

#include <sigrun/detail/chan_core.hpp>

namespace sigrun::detail {

/// A lock for a few instructions, never held while anybody parks.
using short_lock = chan_core::mutex;

/// One blocked caller, on its own stack. Defined in src/sync/wait_list.hpp.
struct sync_waiter;

/// What tests and dumps see of the objects. Defined in src/sync/wait_list.hpp.
struct sync_access;

/// A list of them. Guarded by the short_lock of the object it is a member of.
struct wait_list {
  sync_waiter* first = nullptr;
  sync_waiter* last = nullptr;
};

}  // namespace sigrun::detail
