// SPDX-License-Identifier: Apache-2.0
//
// The slow half of mutex. Its word:
//   locked   somebody has it
//   queued   the queue is not empty; changes under queue_lock_ only
//   woken    a waiter was taken out of the queue to try again, and has not decided yet
//   poisoned its holder is gone; locked stays set, and nobody queues any more
//
//   arrive ──▶ spin ──▶ queue ──▶ parked ──▶ woken: tries; queues again in front, perhaps starving
//                                   └──────▶ granted: has the lock
//
//   (1) While woken is set no unlock wakes anybody: one tries at a time. So whoever has the bit
//       must lose it: by taking the lock, by queueing again, or on its way out (2).
//   (2) A woken waiter whose deadline has passed gives up only while somebody else holds the lock,
//       in the same step in which it clears woken: that holder's unlock then wakes the next.
//   (3) A waiter that has waited for a millisecond and fails again is marked. An unlock that finds
//       a marked one in front hands the lock over: locked stays set, so nobody can overtake.
//   (4) locked is cleared under queue_lock_ only when a waiter is woken, which keeps the mutex
//       alive; else by one compare-exchange. (sync/wait_list.hpp, (4))
#include <sigrun/sync.hpp>

#include "base/pause.hpp"
#include "sync/wait_list.hpp"

#include <cerrno>
#include <stdexcept>

namespace sigrun {

lock_poisoned::lock_poisoned(const char* what)
    : std::system_error(EOWNERDEAD, std::system_category(), what) {}

namespace {

using detail::sync_waiter;

constexpr std::int64_t starving_ns = 1'000'000;
// About a microsecond: longer than a short critical section, shorter than a wake.
constexpr int lock_spins = 24;

}  // namespace

// (1) holds: whoever had the bit loses it here.
void mutex::refuse(std::uint32_t mine) {
  word_.fetch_and(~mine, std::memory_order_relaxed);
  throw lock_poisoned("sigrun::mutex: poisoned, because its holder has faulted");
}

bool mutex::poison(void* lock) noexcept {
  auto& self = *static_cast<mutex*>(lock);
  sync_waiter* waiting = nullptr;
  {
    const std::lock_guard guard(self.queue_lock_);
    if ((self.word_.load(std::memory_order_relaxed) & locked_) == 0) return false;
    self.word_.fetch_or(poisoned_, std::memory_order_release);
    self.word_.fetch_and(~queued_, std::memory_order_relaxed);
    waiting = take_all(self.queue_);
    for (sync_waiter* w = waiting; w != nullptr; w = w->next) w->granted = false;
  }
  detail::unpark_all(waiting);
  return true;
}

void mutex::clear_poison() noexcept {
  const std::lock_guard guard(queue_lock_);
  // Nobody is in the queue. What a woken waiter does with its bit comes before or after.
  if (poisoned()) word_.fetch_and(~(poisoned_ | locked_), std::memory_order_release);
}

bool mutex::lock_slowly(std::int64_t deadline_ns) {
  std::uint32_t seen = 0;
  for (int i = 0; i < lock_spins; ++i) {
    if (try_take()) return true;
    if (poisoned()) refuse(0);
    if (deadline_ns == detail::do_not_wait) return false;
    base::cpu_pause();
  }
  sync_waiter self(sched::wait_reason::mutex_lock, this);
  self.since = sys::now_ns();
  for (std::uint32_t mine = 0;; mine = woken_) {  // the bit of (1), when this caller has it
    {
      const std::lock_guard guard(queue_lock_);
      seen = word_.load(std::memory_order_relaxed);
      for (;;) {
        if ((seen & poisoned_) != 0) refuse(mine);
        const bool take = (seen & locked_) == 0;
        const std::uint32_t next = (seen & ~mine) | (take ? locked_ : queued_);
        // acquire pairs with the release of the unlock, when this takes the lock.
        if (word_.compare_exchange_weak(seen, next, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
          if (take) return true;
          break;
        }
      }
      mine != 0 ? push_front(queue_, self) : push_back(queue_, self);
    }
    const auto given_up = [this] {
      if (empty(queue_)) word_.fetch_and(~queued_, std::memory_order_relaxed);
    };
    if (!park_linked(queue_lock_, queue_, self, deadline_ns, given_up)) return false;
    if (self.granted) return true;
    self.parker.reset();

    seen = word_.load(std::memory_order_relaxed);
    const std::int64_t now = sys::now_ns();
    const bool late = now >= deadline_ns;
    while ((seen & locked_) == 0 || late) {
      if ((seen & poisoned_) != 0) refuse(woken_);
      const bool take = (seen & locked_) == 0;
      const std::uint32_t next = (seen & ~woken_) | locked_;
      if (word_.compare_exchange_weak(seen, next, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return take;  // (2) holds: it is false only when another had it
      }
    }
    self.starving = now - self.since >= starving_ns;
  }
}

void mutex::unlock_slowly() {
  std::uint32_t seen = word_.load(std::memory_order_relaxed);
  for (;;) {
    if ((seen & poisoned_) != 0) return;
    if ((seen & locked_) == 0) throw std::logic_error("sigrun::mutex: unlock of unlocked mutex");
    if ((seen & queued_) == 0 || (seen & woken_) != 0) {
      if (word_.compare_exchange_weak(seen, seen & ~locked_, std::memory_order_release,
                                      std::memory_order_relaxed)) {
        return;
      }
      continue;
    }
    sync_waiter* chosen = nullptr;
    {
      const std::lock_guard guard(queue_lock_);
      chosen = queue_.first;
      if (chosen != nullptr) {
        unlink(queue_, *chosen);
        chosen->granted = chosen->starving;
        if (chosen->granted && !empty(queue_)) {  // (3): as long as the next one is late too
          queue_.first->starving = sys::now_ns() - queue_.first->since >= starving_ns;
        }
        const std::uint32_t cleared =
            (empty(queue_) ? queued_ : 0) | (chosen->granted ? 0 : locked_);
        const std::uint32_t set = chosen->granted ? 0 : woken_;
        seen = word_.load(std::memory_order_relaxed);
        while (!word_.compare_exchange_weak(seen, (seen & ~cleared) | set,
                                            std::memory_order_release, std::memory_order_relaxed)) {
        }
      }
    }
    if (chosen != nullptr) {
      chosen->parker.unpark();
      return;
    }
    seen = word_.load(std::memory_order_relaxed);  // it gave up meanwhile
  }
}

}  // namespace sigrun
