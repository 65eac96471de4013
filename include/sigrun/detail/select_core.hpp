// SPDX-License-Identifier: Apache-2.0
//
// A wait on several channels, whatever they carry. Users include <sigrun/select.hpp>; nothing here
// is for them.
//
//   look ──nothing ready──▶ lock all ──nothing ready──▶ queue in all ──▶ park ──▶ unqueue from all
//     │                        │ ready, or may not wait                    woken, or out of time
//     ▼                        ▼                                                     │
//   done ◀──────────────── unlock all                      done ◀────────────────────┘
//
//   (1) `look` reads hints without a lock, picks one of the cases that look ready, each as likely
//       as the others, and tries it under its channel's lock alone. When somebody was faster it
//       picks another.
//   (2) "Nothing is ready" is said only while all the channels are locked, so there is one moment
//       at which it was true. They are locked in the order of their addresses, each once.
//   (3) All waiters of one wait share a claim. Whoever moves it 0 -> 1 decides how the wait ends: a
//       waker, which holds the lock of one channel and then moves that case's value, or the owner
//       on time-out. So one value moves at most, and the slot of a case that did not win is never
//       touched.
//   (4) A caller queues only after it found nothing ready under the locks, and tries no case while
//       it is queued. So it never meets itself, though it may send and receive on one channel.
//   (5) The owner returns after it has unqueued every waiter under the channel's lock, and, when a
//       waker has the claim, after that waker's unpark.
//   (6) A goroutine without a deadline parks with all the locks held, and whoever runs next on its
//       thread unlocks them: sched/park.hpp (5). The claim makes its waker the only one.
#pragma once

#include <sigrun/detail/chan_core.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace sigrun::detail {

/// One case. The typed part makes it and outlives the wait.
struct select_case {
  /// With the channel's lock held: does it if that needs no wait. ok, closed, or timeout.
  using attempt_function = chan_status(select_case& self, chan_wakes& wakes);

  chan_core* channel = nullptr;  ///< nullptr: an empty handle, never ready
  attempt_function* attempt = nullptr;
  void* slot = nullptr;  ///< as chan_waiter::slot
  chan_status status = chan_status::timeout;
  bool sends = false;
  bool ready = false;  ///< scratch of one look

  bool looks_ready() const noexcept {
    if (channel == nullptr) return false;
    return sends ? channel->looks_sendable() : channel->looks_receivable();
  }
};

/// Room for one waiter, on the stack of whoever waits, and untouched until it blocks.
union select_room {
  select_room() noexcept {}   // NOLINT(modernize-use-equals-default): makes no waiter
  ~select_room() noexcept {}  // NOLINT(modernize-use-equals-default)
  select_room(const select_room&) = delete;
  select_room& operator=(const select_room&) = delete;
  chan_waiter waiter;
};

/// What select() returns when no case won.
inline constexpr int select_none = -1;

/// Waits until one of the cases is done, and returns its index; its status says how. select_none
/// when the deadline passes first. `rooms` and `order` are scratch with as many elements.
int select_on(std::span<select_case* const> cases, select_room* rooms, chan_core** order,
              std::int64_t deadline_ns);

}  // namespace sigrun::detail
