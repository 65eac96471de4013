// SPDX-License-Identifier: Apache-2.0
//
// Which locks a caller has taken, so that those of code which faulted can be poisoned. Nothing is
// noted, and locking costs one look at a flag, until the program first asks to catch faults.
// Users include <sigrun/sync.hpp>; nothing here is for them.
#pragma once

#include <atomic>

namespace sigrun::detail {

/// Never goes back to false.
extern constinit std::atomic<bool> locks_are_noted;

inline bool noting_locks() noexcept { return locks_are_noted.load(std::memory_order_relaxed); }

/// The calling goroutine or thread has taken `lock`, resp. gives it up. `poison` makes it unusable,
/// and returns whether it did.
void note_locked(void* lock, bool (*poison)(void* lock) noexcept) noexcept;
void note_unlocked(void* lock) noexcept;

/// While it lives, a lock of the runtime's is held around code of the user's: a fault in that is
/// not recovered from.
class runtime_lock_held {
 public:
  runtime_lock_held() noexcept : noted_(noting_locks()) {
    if (noted_) [[unlikely]]
      note(1);
  }
  ~runtime_lock_held() {
    if (noted_) [[unlikely]]
      note(-1);
  }
  runtime_lock_held(const runtime_lock_held&) = delete;
  runtime_lock_held& operator=(const runtime_lock_held&) = delete;

 private:
  static void note(int change) noexcept;
  bool noted_;
};

}  // namespace sigrun::detail
