// SPDX-License-Identifier: Apache-2.0
//
// The slow halves of cond, wait_group, once and semaphore. Each has a word with a bit (or a state,
// or a count) that says that the queue is not empty, which changes under queue_lock_ only; so the
// fast paths know without the lock when there is nobody to wake, and give the object up in the one
// operation that does their work. (sync/wait_list.hpp, (4))
#include <sigrun/sync.hpp>

#include "sched/raise.hpp"
#include "sched/sched.hpp"
#include "sync/wait_list.hpp"
#include "sys/signal.hpp"

#include <stdexcept>
#include <string>

namespace sigrun {

using detail::sync_waiter;

// ----------------------------------------------------------------------------------------- cond

bool cond::wait_until_ns(const detail::erased_lock& lock, std::int64_t deadline_ns) {
  sync_waiter self(sched::wait_reason::cond_wait, this);
  {
    const std::lock_guard guard(queue_lock_);
    push_back(queue_, self);
    // Seen by whoever notifies after having had the caller's lock, which is given up below.
    waiting_.fetch_add(1, std::memory_order_relaxed);
  }
  const auto given_up = [this] { waiting_.fetch_sub(1, std::memory_order_relaxed); };
  try {
    lock.unlock(lock.object);
  } catch (...) {
    // Nobody shall find this frame in the queue. A notify that was spent on it goes to another.
    if (park_linked(queue_lock_, queue_, self, detail::do_not_wait, given_up)) notify_one();
    throw;
  }
  const bool notified = park_linked(queue_lock_, queue_, self, deadline_ns, given_up, true);
  lock.lock(lock.object);
  if (!notified) sched::raised_point();
  return notified;
}

void cond::notify(bool all) noexcept {
  sync_waiter* woken = nullptr;
  {
    const std::lock_guard guard(queue_lock_);
    woken = queue_.first;
    if (woken == nullptr) return;
    if (all) {
      woken = take_all(queue_);
      waiting_.store(0, std::memory_order_relaxed);
    } else {
      unlink(queue_, *woken);
      woken->next = nullptr;
      waiting_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  detail::unpark_all(woken);
}

// ----------------------------------------------------------------------------------- wait_group

void wait_group::add_slowly(std::int64_t n) {
  std::int64_t seen = word_.load(std::memory_order_relaxed);
  const auto check = [&seen, n] {
    if (n < -(seen / one_)) throw std::logic_error("sigrun::wait_group: negative counter");
    if (n > max_ - seen / one_) throw std::logic_error("sigrun::wait_group: counter too large");
  };
  check();
  sync_waiter* woken = nullptr;
  bool added = false;
  {
    const std::lock_guard guard(queue_lock_);
    seen = word_.load(std::memory_order_relaxed);
    while (!added && (seen & waiting_) != 0) {
      check();
      const std::int64_t next = seen / one_ + n == 0 ? 0 : seen + n * one_;
      added = word_.compare_exchange_weak(seen, next, std::memory_order_acq_rel,
                                          std::memory_order_relaxed);
      if (added && next == 0) woken = take_all(queue_);
    }
  }
  if (!added) return add(n);  // those that waited gave up: not under the lock then
  detail::unpark_all(woken);
}

bool wait_group::wait_slowly(std::int64_t deadline_ns) {
  sync_waiter self(sched::wait_reason::wait_group_wait, this);
  {
    const std::lock_guard guard(queue_lock_);
    std::int64_t seen = word_.load(std::memory_order_acquire);
    do {
      if (seen / one_ == 0) return true;
    } while (!word_.compare_exchange_weak(seen, seen | waiting_, std::memory_order_acquire));
    push_back(queue_, self);
  }
  const auto given_up = [this] {
    if (empty(queue_)) word_.fetch_and(~waiting_, std::memory_order_relaxed);
  };
  if (park_linked(queue_lock_, queue_, self, deadline_ns, given_up, true)) return true;
  sched::raised_point();
  return false;
}

// ----------------------------------------------------------------------------------------- once

bool once::begin() {
  // A goroutine is known by its address, a thread by its number; no address is that small.
  const sched::g* const gp = sched::current_g();
  const auto self_id = gp != nullptr ? reinterpret_cast<std::uint64_t>(gp)
                                     : static_cast<std::uint64_t>(sys::gettid());
  sync_waiter self(sched::wait_reason::once_wait, this);
  for (;;) {
    {
      const std::lock_guard guard(queue_lock_);
      std::uint32_t seen = word_.load(std::memory_order_acquire);
      if (seen == done_) return false;
      if (seen == idle_) {
        word_.store(running_, std::memory_order_relaxed);
        runner_.store(self_id, std::memory_order_relaxed);
        return true;
      }
      if (runner_.load(std::memory_order_relaxed) == self_id) {
        throw std::logic_error("sigrun::once: called by its own function");
      }
      // Fails when it has just ended well, or changes nothing when others wait already.
      if (seen == running_ && !word_.compare_exchange_strong(seen, awaited_)) continue;
      push_back(queue_, self);
    }
    self.parker.park_until(sys::never);
    self.parker.reset();
  }
}

void once::end(bool success) noexcept {
  std::uint32_t seen = running_;
  // release pairs with done(). Without waiters nothing is touched after this.
  if (success && word_.compare_exchange_strong(seen, done_, std::memory_order_release)) return;
  sync_waiter* woken = nullptr;
  {
    const std::lock_guard guard(queue_lock_);
    runner_.store(0, std::memory_order_relaxed);
    woken = take_all(queue_);
    word_.store(success ? done_ : idle_, std::memory_order_release);
  }
  detail::unpark_all(woken);
}

// ------------------------------------------------------------------------------------ semaphore

semaphore::semaphore(std::int64_t permits) : word_(0) {
  if (permits < 0 || permits > max_) refuse("semaphore", permits);
  word_.store(permits * one_, std::memory_order_relaxed);
}

void semaphore::refuse(const char* operation, std::int64_t n) {
  throw std::invalid_argument(std::string("sigrun::semaphore::") + operation + ": " +
                              std::to_string(n) + " permits");
}

/// With queue_lock_ held: as many waiters as the permits are enough for, in order, as a chain.
sync_waiter* semaphore::grant() noexcept {
  sync_waiter* first = nullptr;
  sync_waiter** end = &first;
  // Only others that hold queue_lock_ change the word while waiting is set.
  std::int64_t count = word_.load(std::memory_order_acquire) / one_;
  while (queue_.first != nullptr && queue_.first->amount <= count) {
    sync_waiter& waiter = *queue_.first;
    unlink(queue_, waiter);
    count -= waiter.amount;
    waiter.granted = true;
    waiter.next = nullptr;
    *end = &waiter;
    end = &waiter.next;
  }
  word_.store(count * one_ | (empty(queue_) ? 0 : waiting_), std::memory_order_release);
  return first;
}

bool semaphore::acquire_slowly(std::int64_t n, std::int64_t deadline_ns) {
  if (n > max_) refuse("acquire", n);
  sync_waiter self(sched::wait_reason::semaphore_wait, this);
  self.amount = n;
  {
    const std::lock_guard guard(queue_lock_);
    std::int64_t seen = word_.load(std::memory_order_relaxed);
    for (;;) {
      const bool take = (seen & waiting_) == 0 && seen / one_ >= n;
      if (!take && deadline_ns == detail::do_not_wait) return false;
      if (word_.compare_exchange_weak(seen, take ? seen - n * one_ : seen | waiting_,
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
        if (take) return true;
        break;
      }
    }
    push_back(queue_, self);
  }
  sync_waiter* behind = nullptr;  // those that only this request held up
  const auto given_up = [this, &behind] { behind = grant(); };
  if (park_linked(queue_lock_, queue_, self, deadline_ns, given_up, true)) return true;
  detail::unpark_all(behind);
  sched::raised_point();
  return false;
}

void semaphore::release_slowly(std::int64_t n) {
  if (n < 0) refuse("release", n);
  if (n > max_ - available()) throw std::logic_error("sigrun::semaphore: too many permits");
  sync_waiter* woken = nullptr;
  bool released = false;
  {
    const std::lock_guard guard(queue_lock_);
    const std::int64_t seen = word_.load(std::memory_order_relaxed);
    if ((seen & waiting_) != 0) {
      if (n > max_ - seen / one_) throw std::logic_error("sigrun::semaphore: too many permits");
      word_.store(seen + n * one_, std::memory_order_relaxed);
      woken = grant();
      released = true;
    }
  }
  if (!released) return release(n);  // those that waited gave up: not under the lock then
  detail::unpark_all(woken);
}

}  // namespace sigrun
