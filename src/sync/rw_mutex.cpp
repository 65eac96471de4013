// SPDX-License-Identifier: Apache-2.0
//
// The slow half of rw_mutex. Its word: writer (somebody has it alone), pending (somebody waits),
// and the number of readers that have it.
//
//          lock                              unlock, or the last unlock_shared
//   free ────────▶ held by a writer ───┬──▶ nobody waits: free
//    └───────────▶ held by readers ────┘    readers wait, after a writer: held by all of them
//      lock_shared                          else: held by the first writer
//
//   (1) pending is set exactly while one of the lists is not empty, and changes under queue_lock_
//       only. While it is set nobody takes the lock but by being granted it.
//   (2) Somebody holds the lock while anybody waits; readers wait only while a writer holds it or
//       waits. So whoever unlocks last finds the waiters, and a writer that gives up lets in the
//       readers it held up.
//   (3) The lock is handed over: waiters are granted it under queue_lock_, in the step in which
//       the word says so.
//   (4) A poisoned one is held by a writer that is gone, and nobody waits for it: those who did
//       were let out without it, and nobody queues any more.
#include <sigrun/sync.hpp>

#include "sync/wait_list.hpp"

#include <stdexcept>

namespace sigrun {

using detail::sync_waiter;

/// With queue_lock_ held: takes out all readers that wait, and counts them.
sync_waiter* rw_mutex::admit_readers(std::uint32_t& count) noexcept {
  sync_waiter* const first = take_all(readers_waiting_);
  for (const sync_waiter* w = first; w != nullptr; w = w->next) ++count;
  return first;
}

void rw_mutex::clear_pending_if_empty() noexcept {
  if (empty(readers_waiting_) && empty(writers_waiting_)) {
    word_.fetch_and(~pending_, std::memory_order_relaxed);
  }
}

namespace {

[[noreturn]] void refuse() {
  throw lock_poisoned("sigrun::rw_mutex: poisoned, because its holder has faulted");
}

}  // namespace

bool rw_mutex::poison(void* lock) noexcept {
  auto& self = *static_cast<rw_mutex*>(lock);
  sync_waiter* readers = nullptr;
  sync_waiter* writers = nullptr;
  {
    const std::lock_guard guard(self.queue_lock_);
    if ((self.word_.load(std::memory_order_relaxed) & writer_) == 0) return false;
    self.word_.store(writer_ | poisoned_, std::memory_order_release);
    readers = take_all(self.readers_waiting_);
    writers = take_all(self.writers_waiting_);
    for (sync_waiter* w = readers; w != nullptr; w = w->next) w->granted = false;
    for (sync_waiter* w = writers; w != nullptr; w = w->next) w->granted = false;
  }
  detail::unpark_all(readers);
  detail::unpark_all(writers);
  return true;
}

// A reader has changed nothing.
bool rw_mutex::let_go(void* lock) noexcept {
  auto& self = *static_cast<rw_mutex*>(lock);
  if (self.word_.load(std::memory_order_relaxed) >= reader_ && !self.poisoned()) {
    self.unlock_shared();
  }
  return false;
}

void rw_mutex::clear_poison() noexcept {
  const std::lock_guard guard(queue_lock_);
  if (poisoned()) word_.store(0, std::memory_order_release);
}

bool rw_mutex::lock_slowly(std::int64_t deadline_ns) {
  if (poisoned()) refuse();
  if (deadline_ns == detail::do_not_wait) return try_take();
  sync_waiter self(sched::wait_reason::rw_mutex_lock, this);
  {
    const std::lock_guard guard(queue_lock_);
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((seen & poisoned_) != 0) refuse();
      const bool take = seen == 0;
      // acquire: as in try_lock.
      if (word_.compare_exchange_weak(seen, take ? writer_ : seen | pending_,
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
        if (take) return true;
        break;
      }
    }
    push_back(writers_waiting_, self);
  }
  sync_waiter* readers = nullptr;
  const auto given_up = [this, &readers] {
    if (empty(writers_waiting_) && (word_.load(std::memory_order_relaxed) & writer_) == 0) {
      std::uint32_t count = 0;
      readers = admit_readers(count);  // (2)
      word_.fetch_add(count * reader_, std::memory_order_relaxed);
    }
    clear_pending_if_empty();
  };
  if (park_linked(queue_lock_, writers_waiting_, self, deadline_ns, given_up)) {
    if (!self.granted) refuse();
    return true;
  }
  detail::unpark_all(readers);
  return false;
}

bool rw_mutex::lock_shared_slowly(std::int64_t deadline_ns) {
  if (poisoned()) refuse();
  if (deadline_ns == detail::do_not_wait) return try_share();
  sync_waiter self(sched::wait_reason::rw_mutex_read_lock, this);
  {
    const std::lock_guard guard(queue_lock_);
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((seen & poisoned_) != 0) refuse();
      const bool take = (seen & (writer_ | pending_)) == 0;
      if (word_.compare_exchange_weak(seen, take ? seen + reader_ : seen | pending_,
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
        if (take) return true;
        break;
      }
    }
    push_back(readers_waiting_, self);
  }
  if (!park_linked(queue_lock_, readers_waiting_, self, deadline_ns,
                   [this] { clear_pending_if_empty(); })) {
    return false;
  }
  if (!self.granted) refuse();
  return true;
}

void rw_mutex::unlock_slowly() {
  for (;;) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if ((seen & poisoned_) != 0) return;
    if ((seen & writer_) == 0) {
      throw std::logic_error("sigrun::rw_mutex: unlock of unlocked rw_mutex");
    }
    if ((seen & pending_) == 0) {
      if (word_.compare_exchange_strong(seen, 0, std::memory_order_release,
                                        std::memory_order_relaxed)) {
        return;
      }
      continue;
    }
    sync_waiter* woken = nullptr;
    {
      const std::lock_guard guard(queue_lock_);
      std::uint32_t holders = 0;
      if (!empty(readers_waiting_)) {
        woken = admit_readers(holders);
        holders *= reader_;
      } else if (!empty(writers_waiting_)) {
        woken = writers_waiting_.first;
        unlink(writers_waiting_, *woken);
        woken->granted = true;
        woken->next = nullptr;
        holders = writer_;
      }
      if (woken != nullptr) {
        const bool more = !empty(readers_waiting_) || !empty(writers_waiting_);
        // release pairs with the acquire of readers that come later; those granted it are unparked.
        word_.store(holders | (more ? pending_ : 0), std::memory_order_release);
      }
    }
    if (woken != nullptr) return detail::unpark_all(woken);
  }
}

void rw_mutex::unlock_shared_slowly() {
  for (;;) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if (seen < reader_ || (seen & writer_) != 0) {
      throw std::logic_error("sigrun::rw_mutex: unlock_shared of unlocked rw_mutex");
    }
    if ((seen & pending_) == 0 || seen >= 2 * reader_) {
      if (word_.compare_exchange_strong(seen, seen - reader_, std::memory_order_release,
                                        std::memory_order_relaxed)) {
        return;
      }
      continue;
    }
    sync_waiter* writer = nullptr;
    {
      const std::lock_guard guard(queue_lock_);
      seen = word_.load(std::memory_order_relaxed);
      // Readers come in only by being granted it, under this lock: the last one stays the last.
      if ((seen & pending_) != 0 && seen < 2 * reader_ && !empty(writers_waiting_)) {
        writer = writers_waiting_.first;
        unlink(writers_waiting_, *writer);
        writer->granted = true;
        const bool more = !empty(readers_waiting_) || !empty(writers_waiting_);
        // acquire pairs with the release of every other reader's unlock, for the writer's sake.
        word_.exchange(writer_ | (more ? pending_ : 0), std::memory_order_acq_rel);
      }
    }
    if (writer != nullptr) return writer->parker.unpark();
  }
}

}  // namespace sigrun
