// SPDX-License-Identifier: Apache-2.0
//
// Where the callers wait that a lock, a condition or a group holds up. Users include
// <sigrun/sync.hpp>; nothing here is for them.
#pragma once

#include <atomic>
#include <cstdint>

namespace sigrun::detail {

/// A futex lock for a few instructions, never held while anybody parks: 0 free, 1 held, 2 held and
/// somebody sleeps. Meets BasicLockable. The unlock is one operation, after which the lock's memory
/// is not touched (its address is woken at most): whoever takes it next may destroy it.
class short_lock {
 public:
  void lock() noexcept {
    std::uint32_t seen = 0;
    // acquire pairs with the release of the unlock before.
    if (!word_.compare_exchange_strong(seen, 1, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      lock_slowly();
    }
  }
  void unlock() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) wake_one();
  }

 private:
  void lock_slowly() noexcept;
  void wake_one() noexcept;

  std::atomic<std::uint32_t> word_{0};
};

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
