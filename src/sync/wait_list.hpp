// SPDX-License-Identifier: Apache-2.0
//
// The waiter that all of sync.hpp shares. It is on the stack of the caller that waits, goroutine or
// thread, and in one list of the object it waits for.
//
//            push, by the owner                 pop, by a waker
//   idle ───────────────────────▶ linked ───────────────────────▶ decided ──▶ unparked
//     ▲                             │                                            │
//     └── unlink, at the deadline ──┘                             reset, owner ──┘
//
//   (1) Every edge but the last two is moved with the object's short_lock held, which is held for
//       a few instructions and never across a park.
//   (2) Who unlinks a waiter decides its fate: a waker fills in `granted` and then must unpark it,
//       once and after the unlock; the owner, at its deadline, is gone without what it waited for.
//   (3) The owner of a decided waiter does not return before it was unparked, even when its
//       deadline has passed: a waiter, its parker and what is granted to it are never lost.
//   (4) A waker does not touch the object after the unlock that follows (2), only the waiters: the
//       woken caller may destroy the object. An unlock by which nobody is woken gives the object
//       up in one atomic operation, and touches neither list nor lock after it.
#pragma once

#include <sigrun/detail/wait_list.hpp>

#include "base/expect.hpp"
#include "sched/park.hpp"
#include "sys/clock.hpp"

#include <cstdint>
#include <mutex>

namespace sigrun::detail {

struct sync_waiter {
  sync_waiter(sched::wait_reason why, const void* on) noexcept : parker(why, on) {}

  sched::parker parker;
  sync_waiter* next = nullptr;
  sync_waiter* prev = nullptr;
  bool linked = false;
  bool granted = false;     ///< by the waker: the caller has what it waited for
  bool starving = false;    ///< mutex: has waited for so long that it is next
  std::int64_t since = 0;   ///< mutex: when it began to wait
  std::int64_t amount = 0;  ///< semaphore: how much it asks for
};

inline bool empty(const wait_list& list) noexcept { return list.first == nullptr; }

inline void push_back(wait_list& list, sync_waiter& waiter) noexcept {
  base::expect(!waiter.linked, "sync: a waiter queued twice");
  waiter.linked = true;
  waiter.next = nullptr;
  waiter.prev = list.last;
  (list.last == nullptr ? list.first : list.last->next) = &waiter;
  list.last = &waiter;
}

inline void push_front(wait_list& list, sync_waiter& waiter) noexcept {
  base::expect(!waiter.linked, "sync: a waiter queued twice");
  waiter.linked = true;
  waiter.prev = nullptr;
  waiter.next = list.first;
  (list.first == nullptr ? list.last : list.first->prev) = &waiter;
  list.first = &waiter;
}

inline void unlink(wait_list& list, sync_waiter& waiter) noexcept {
  base::expect(waiter.linked, "sync: a waiter unlinked twice");
  waiter.linked = false;
  (waiter.prev == nullptr ? list.first : waiter.prev->next) = waiter.next;
  (waiter.next == nullptr ? list.last : waiter.next->prev) = waiter.prev;
}

/// Takes all waiters out, granted, as a chain by `next` for unpark_all().
inline sync_waiter* take_all(wait_list& list) noexcept {
  sync_waiter* const first = list.first;
  for (sync_waiter* w = first; w != nullptr; w = w->next) {
    w->linked = false;
    w->granted = true;
  }
  list = {};
  return first;
}

/// Without the lock, see (4).
inline void unpark_all(sync_waiter* first) noexcept {
  while (first != nullptr) {
    sync_waiter& waiter = *first;
    first = waiter.next;  // before the unpark, after which the waiter may be gone
    waiter.parker.unpark();
  }
}

/// Parks a linked waiter, without the lock. True: it was decided by a waker. False: the deadline
/// came first; then the waiter is unlinked and `given_up` was called with the lock held.
/// `wait` is one of the parker's two ways: wait_until() for those whose callers go on to a
/// raised_point() when it was false.
template <class F>
bool park_linked(short_lock& lock, wait_list& list, sync_waiter& waiter, std::int64_t deadline_ns,
                 F given_up, bool attentively = false) noexcept {
  const bool woken =
      attentively ? waiter.parker.wait_until(deadline_ns) : waiter.parker.park_until(deadline_ns);
  if (woken) return true;
  {
    const std::lock_guard guard(lock);
    if (waiter.linked) {
      unlink(list, waiter);
      given_up();
      return false;
    }
  }
  waiter.parker.park_until(sys::never);  // (3)
  return true;
}

/// How many callers wait on an object now.
struct sync_access {
  template <class T>
  static std::size_t waiting(T& object) {
    const std::lock_guard guard(object.queue_lock_);
    if constexpr (requires { object.queue_; }) {
      return count(object.queue_);
    } else {
      return count(object.readers_waiting_) + count(object.writers_waiting_);
    }
  }

 private:
  static std::size_t count(const wait_list& list) noexcept {
    std::size_t n = 0;
    for (const sync_waiter* w = list.first; w != nullptr; w = w->next) ++n;
    return n;
  }
};

}  // namespace sigrun::detail
