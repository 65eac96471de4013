// SPDX-License-Identifier: Apache-2.0
//
// Locks and meeting points after Go's package sync, for goroutines and plain threads together: a
// goroutine that waits leaves its thread to others, a thread that waits sleeps.
//
//   sigrun::mutex lock;
//   const std::lock_guard hold(lock);   // std's guards, locks and std::lock work
//
// Threads: every operation may be called from any goroutine and any thread at any time; none in a
// signal handler. Waits end as soon as what they wait for is there; a deadline that has passed, or
// a duration of zero or less, means: now or not at all.
// Nothing here knows its owner: a lock may be released by another goroutine than the one that took
// it. An object may be destroyed as soon as no caller waits on it and none will use it again, also
// by the caller that has just locked it after somebody's unlock.
// A lock is poisoned when the code that held it has faulted and its frames are gone (fault.hpp):
// what it guards may be half changed. Then lock() and the try_lock…() that wait throw
// lock_poisoned, also in those who wait already, and try_lock() is false; unlock() does nothing. A
// shared lock that was held so is released. Happens-before is as with std's: what was done before
// an unlock, a done(), a release() or the end of a once is seen after the lock, wait() or acquire()
// that it lets in.
#pragma once

#include <sigrun/detail/deadline.hpp>
#include <sigrun/detail/held_locks.hpp>
#include <sigrun/detail/wait_list.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

namespace sigrun {

/// Thrown by who asks for a lock that is poisoned. Its code is EOWNERDEAD.
class lock_poisoned : public std::system_error {
 public:
  /// `what` names the lock's type.
  explicit lock_poisoned(const char* what);
};

/// Mutual exclusion; meets TimedLockable, so std::lock_guard, unique_lock and scoped_lock take it.
/// Not recursive: who locks it twice waits for itself.
///
/// A caller that finds it taken spins briefly, then waits in line. Others may overtake a waiter
/// until it has waited for a millisecond; from then on the lock is handed over in order, so nobody
/// starves. One that is constant-initialized can be a global: it has no destructor to speak of.
class mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  /// Throws lock_poisoned.
  void lock() {
    std::uint32_t seen = 0;
    // acquire pairs with the release in unlock() and unlock_slowly().
    if (!word_.compare_exchange_strong(seen, locked_, std::memory_order_acquire,
                                       std::memory_order_relaxed)) [[unlikely]] {
      lock_slowly(detail::wait_for_ever);
    }
    note_taken();
  }
  /// True: it is locked by the caller now.
  [[nodiscard]] bool try_lock() noexcept { return try_take() && note_taken(); }
  /// The same, after waiting until a deadline at most. Throws lock_poisoned.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> wait) {
    return (try_take() || lock_slowly(detail::deadline_in(wait))) && note_taken();
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> deadline) {
    return (try_take() || lock_slowly(detail::deadline_by(deadline))) && note_taken();
  }
  /// Throws std::logic_error("unlock of unlocked mutex"), and nothing has changed, when it is not
  /// locked. (In a guard's destructor that ends the program, which is meant.)
  void unlock() {
    if (detail::noting_locks()) [[unlikely]]
      detail::note_unlocked(this);
    std::uint32_t seen = locked_;
    // release pairs with the acquire of whoever locks next.
    if (!word_.compare_exchange_strong(seen, 0, std::memory_order_release,
                                       std::memory_order_relaxed)) [[unlikely]] {
      unlock_slowly();
    }
  }

  bool poisoned() const noexcept {
    return (word_.load(std::memory_order_acquire) & poisoned_) != 0;
  }
  /// For who has put right what it guards: a poisoned one is free again; any other is as before.
  void clear_poison() noexcept;

 private:
  friend struct detail::sync_access;

  static constexpr std::uint32_t locked_ = 1;
  static constexpr std::uint32_t queued_ = 2;
  static constexpr std::uint32_t woken_ = 4;
  static constexpr std::uint32_t poisoned_ = 8;

  bool try_take() noexcept {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    while ((seen & locked_) == 0) {
      if (word_.compare_exchange_weak(seen, seen | locked_, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }
  bool note_taken() noexcept {
    if (detail::noting_locks()) [[unlikely]]
      detail::note_locked(this, &mutex::poison);
    return true;
  }
  static bool poison(void* lock) noexcept;
  [[noreturn]] void refuse(std::uint32_t mine);
  bool lock_slowly(std::int64_t deadline_ns);
  void unlock_slowly();

  std::atomic<std::uint32_t> word_{0};
  detail::short_lock queue_lock_;
  detail::wait_list queue_;
};

/// Many readers or one writer; meets SharedTimedMutex, so std::shared_lock takes it too.
///
/// A writer that waits keeps new readers out; when a writer is done, the readers that wait are
/// let in before the next writer. So neither starves. For the same reason a reader must not take
/// the lock a second time while it holds it: a writer in between blocks both for ever.
/// At most 2^29 readers at once.
class rw_mutex {
 public:
  constexpr rw_mutex() noexcept = default;
  rw_mutex(const rw_mutex&) = delete;
  rw_mutex& operator=(const rw_mutex&) = delete;

  /// Throws lock_poisoned, as all that wait.
  void lock() {
    if (!try_take()) [[unlikely]]
      lock_slowly(detail::wait_for_ever);
    note_taken();
  }
  [[nodiscard]] bool try_lock() noexcept { return try_take() && note_taken(); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> wait) {
    return (try_take() || lock_slowly(detail::deadline_in(wait))) && note_taken();
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> deadline) {
    return (try_take() || lock_slowly(detail::deadline_by(deadline))) && note_taken();
  }
  /// Throws std::logic_error("unlock of unlocked rw_mutex") when no writer holds it.
  void unlock() {
    if (detail::noting_locks()) [[unlikely]]
      detail::note_unlocked(this);
    std::uint32_t seen = writer_;
    if (!word_.compare_exchange_strong(seen, 0, std::memory_order_release,
                                       std::memory_order_relaxed)) [[unlikely]] {
      unlock_slowly();
    }
  }

  void lock_shared() {
    if (!try_share()) [[unlikely]]
      lock_shared_slowly(detail::wait_for_ever);
    note_shared();
  }
  /// False while a writer holds it or waits for it.
  [[nodiscard]] bool try_lock_shared() noexcept { return try_share() && note_shared(); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(std::chrono::duration<Rep, Period> wait) {
    return (try_share() || lock_shared_slowly(detail::deadline_in(wait))) && note_shared();
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(std::chrono::time_point<Clock, Duration> deadline) {
    return (try_share() || lock_shared_slowly(detail::deadline_by(deadline))) && note_shared();
  }
  /// Throws std::logic_error("unlock_shared of unlocked rw_mutex") when no reader holds it.
  void unlock_shared() {
    if (detail::noting_locks()) [[unlikely]]
      detail::note_unlocked(this);
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    while (seen >= reader_ && (seen & writer_) == 0 &&
           ((seen & pending_) == 0 || seen >= 2 * reader_)) {
      // release pairs with the acquire of the writer that comes next.
      if (word_.compare_exchange_weak(seen, seen - reader_, std::memory_order_release,
                                      std::memory_order_relaxed)) {
        return;
      }
    }
    unlock_shared_slowly();
  }

  bool poisoned() const noexcept {
    return (word_.load(std::memory_order_acquire) & poisoned_) != 0;
  }
  /// As mutex's.
  void clear_poison() noexcept;

 private:
  friend struct detail::sync_access;

  static constexpr std::uint32_t writer_ = 1;
  static constexpr std::uint32_t pending_ = 2;
  static constexpr std::uint32_t reader_ = 4;
  static constexpr std::uint32_t poisoned_ = std::uint32_t{1} << 31;  // with writer_ alone

  bool try_take() noexcept {
    std::uint32_t seen = 0;
    // acquire pairs with every release of the word: the writer's and each reader's unlock.
    return word_.compare_exchange_strong(seen, writer_, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }
  bool try_share() noexcept {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    while ((seen & (writer_ | pending_)) == 0) {
      // acquire pairs with the writer's release.
      if (word_.compare_exchange_weak(seen, seen + reader_, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }
  bool note_taken() noexcept {
    if (detail::noting_locks()) [[unlikely]]
      detail::note_locked(this, &rw_mutex::poison);
    return true;
  }
  bool note_shared() noexcept {
    if (detail::noting_locks()) [[unlikely]]
      detail::note_locked(this, &rw_mutex::let_go);
    return true;
  }
  static bool poison(void* lock) noexcept;
  static bool let_go(void* lock) noexcept;
  bool lock_slowly(std::int64_t deadline_ns);
  bool lock_shared_slowly(std::int64_t deadline_ns);
  void unlock_slowly();
  void unlock_shared_slowly();
  void clear_pending_if_empty() noexcept;
  detail::sync_waiter* admit_readers(std::uint32_t& count) noexcept;

  std::atomic<std::uint32_t> word_{0};
  detail::short_lock queue_lock_;
  detail::wait_list writers_waiting_;
  detail::wait_list readers_waiting_;
};

namespace detail {

/// A lock of any type, as cond sees it.
struct erased_lock {
  void* object;
  void (*lock)(void*);
  void (*unlock)(void*);
};
template <class Lock>
erased_lock erase(Lock& lock) noexcept {
  return {std::addressof(lock), [](void* l) { static_cast<Lock*>(l)->lock(); },
          [](void* l) { static_cast<Lock*>(l)->unlock(); }};
}

}  // namespace detail

/// Where callers wait, under a lock of their own, for a change that others announce. Works with
/// every BasicLockable: std::unique_lock<sigrun::mutex>, std::shared_lock<sigrun::rw_mutex>, ours
/// themselves. (With a std::mutex a goroutine's thread would sleep for the lock.)
///
/// Waiters are woken in the order in which they began to wait. There are no spurious wakes: a wait
/// without a deadline returns after a notify and only then; others may still have been faster
/// under the lock, so use the forms with a predicate. A notify_one() is never spent on a waiter
/// that reports a time-out.
class cond {
 public:
  constexpr cond() noexcept = default;
  cond(const cond&) = delete;
  cond& operator=(const cond&) = delete;

  /// Releases `lock`, which the caller holds, waits for a notify, and locks it again. Whoever
  /// changes something under the lock after that release and then notifies wakes this caller.
  template <class Lock>
  void wait(Lock& lock) {
    wait_until_ns(detail::erase(lock), detail::wait_for_ever);
  }
  template <class Lock, class Predicate>
  void wait(Lock& lock, Predicate ready) {
    while (!ready()) wait(lock);
  }
  /// no_timeout when it was notified, though the deadline may have passed by now.
  template <class Lock, class Rep, class Period>
  std::cv_status wait_for(Lock& lock, std::chrono::duration<Rep, Period> wait) {
    return wait_status(lock, detail::deadline_in(wait));
  }
  template <class Lock, class Clock, class Duration>
  std::cv_status wait_until(Lock& lock, std::chrono::time_point<Clock, Duration> deadline) {
    return wait_status(lock, detail::deadline_by(deadline));
  }
  /// What `ready` says in the end.
  template <class Lock, class Rep, class Period, class Predicate>
  bool wait_for(Lock& lock, std::chrono::duration<Rep, Period> wait, Predicate ready) {
    return wait_ready(lock, detail::deadline_in(wait), ready);
  }
  template <class Lock, class Clock, class Duration, class Predicate>
  bool wait_until(Lock& lock, std::chrono::time_point<Clock, Duration> deadline, Predicate ready) {
    return wait_ready(lock, detail::deadline_by(deadline), ready);
  }

  /// Wakes the caller that has waited longest, resp. all that wait now; with or without the lock.
  void notify_one() noexcept {
    // acquire: a waiter that released the lock before the caller took it is counted.
    if (waiting_.load(std::memory_order_acquire) != 0) notify(false);
  }
  void notify_all() noexcept {
    if (waiting_.load(std::memory_order_acquire) != 0) notify(true);
  }

 private:
  friend struct detail::sync_access;

  template <class Lock>
  std::cv_status wait_status(Lock& lock, std::int64_t deadline_ns) {
    return wait_until_ns(detail::erase(lock), deadline_ns) ? std::cv_status::no_timeout
                                                           : std::cv_status::timeout;
  }
  template <class Lock, class Predicate>
  bool wait_ready(Lock& lock, std::int64_t deadline_ns, Predicate& ready) {
    while (!ready()) {
      if (!wait_until_ns(detail::erase(lock), deadline_ns)) return ready();
    }
    return true;
  }
  bool wait_until_ns(const detail::erased_lock& lock, std::int64_t deadline_ns);
  void notify(bool all) noexcept;

  std::atomic<std::uint32_t> waiting_{0};
  detail::short_lock queue_lock_;
  detail::wait_list queue_;
};

/// Counts what is under way, and lets callers wait until all of it is done.
///
/// An add() that is to be waited for must happen before the wait(), or while the counter is above
/// zero. It can be used again at any time: a wait() returns when the counter is or was zero at
/// some moment after it began.
class wait_group {
 public:
  constexpr wait_group() noexcept = default;
  constexpr explicit wait_group(std::uint32_t count) noexcept : word_(std::int64_t{count} * one_) {}
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  /// Adds `n`, which may be negative. Throws std::logic_error, and nothing has changed, when the
  /// counter would become negative or exceed 2^62.
  void add(std::int64_t n = 1) {
    std::int64_t seen = word_.load(std::memory_order_relaxed);
    do {
      if (!adds_fast(seen, n)) [[unlikely]]
        return add_slowly(n);
      // release and acquire pair among those that count down, and with wait()'s acquire.
    } while (!word_.compare_exchange_weak(seen, seen + n * one_, std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
  }
  void done() { add(-1); }
  std::int64_t count() const noexcept { return word_.load(std::memory_order_acquire) / one_; }

  /// Until the counter is zero.
  void wait() {
    if (count() != 0) wait_slowly(detail::wait_for_ever);
  }
  /// The same, until a deadline at most; whether the counter was zero.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> wait) {
    return count() == 0 || wait_slowly(detail::deadline_in(wait));
  }
  template <class Clock, class Duration>
  bool wait_until(std::chrono::time_point<Clock, Duration> deadline) {
    return count() == 0 || wait_slowly(detail::deadline_by(deadline));
  }

 private:
  friend struct detail::sync_access;

  // Bit 0 says that somebody waits; the rest is the counter.
  static constexpr std::int64_t waiting_ = 1;
  static constexpr std::int64_t one_ = 2;
  static constexpr std::int64_t max_ = INT64_MAX / one_;

  static bool adds_fast(std::int64_t seen, std::int64_t n) noexcept {
    const std::int64_t count = seen / one_;
    const bool fits = n <= max_ - count && n >= -count;
    return fits && (n != -count || (seen & waiting_) == 0);
  }
  void add_slowly(std::int64_t n);
  bool wait_slowly(std::int64_t deadline_ns);

  std::atomic<std::int64_t> word_{0};
  detail::short_lock queue_lock_;
  detail::wait_list queue_;
};

/// Runs a function at most once with success.
class once {
 public:
  constexpr once() noexcept = default;
  once(const once&) = delete;
  once& operator=(const once&) = delete;

  /// Calls `f` unless a call has ended with success before; callers that come meanwhile wait for
  /// its end. What `f` throws goes to its caller, and does not count: one of those that wait, or
  /// the next that comes, calls its own function (as std::call_once, not as Go's Do). Calling it
  /// from within `f` throws std::logic_error, where that can be told.
  template <class F, class... Args>
  void call(F&& f, Args&&... args) {
    if (done()) [[likely]]
      return;
    if (!begin()) return;
    try {
      std::forward<F>(f)(std::forward<Args>(args)...);
    } catch (...) {
      end(false);
      throw;
    }
    end(true);
  }
  /// Whether a call has ended with success.
  bool done() const noexcept {
    return word_.load(std::memory_order_acquire) == done_;  // pairs with end()
  }

 private:
  friend struct detail::sync_access;

  static constexpr std::uint32_t idle_ = 0;
  static constexpr std::uint32_t running_ = 1;
  static constexpr std::uint32_t awaited_ = 2;  // running, and somebody waits
  static constexpr std::uint32_t done_ = 3;

  bool begin();
  void end(bool success) noexcept;

  std::atomic<std::uint32_t> word_{idle_};
  detail::short_lock queue_lock_;
  detail::wait_list queue_;
  std::atomic<std::uint64_t> runner_{0};
};

/// A number of permits. Callers are served in the order in which they came, large requests too:
/// one that waits for many is not overtaken by those that want few.
class semaphore {
 public:
  /// Throws std::invalid_argument, naming it, for a negative number.
  explicit semaphore(std::int64_t permits);
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;

  /// Takes `n` permits, and waits while there are not so many. Throws std::invalid_argument, naming
  /// it, when n is negative.
  void acquire(std::int64_t n = 1) {
    if (!try_acquire(n)) acquire_slowly(n, detail::wait_for_ever);
  }
  [[nodiscard]] bool try_acquire(std::int64_t n = 1) {
    if (n < 0) refuse("acquire", n);
    std::int64_t seen = word_.load(std::memory_order_relaxed);
    while ((seen & waiting_) == 0 && seen / one_ >= n) {
      // acquire pairs with the release in release().
      if (word_.compare_exchange_weak(seen, seen - n * one_, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> wait, std::int64_t n = 1) {
    return try_acquire(n) || acquire_slowly(n, detail::deadline_in(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(std::chrono::time_point<Clock, Duration> deadline,
                                       std::int64_t n = 1) {
    return try_acquire(n) || acquire_slowly(n, detail::deadline_by(deadline));
  }
  /// Gives `n` permits (back). Throws std::invalid_argument for a negative number, and
  /// std::logic_error when there would be more than 2^62.
  void release(std::int64_t n = 1) {
    std::int64_t seen = word_.load(std::memory_order_relaxed);
    do {
      if (n < 0 || (seen & waiting_) != 0 || n > max_ - seen / one_) [[unlikely]]
        return release_slowly(n);
    } while (!word_.compare_exchange_weak(seen, seen + n * one_, std::memory_order_release,
                                          std::memory_order_relaxed));
  }
  /// Permits that nobody has now.
  std::int64_t available() const noexcept { return word_.load(std::memory_order_relaxed) / one_; }

 private:
  friend struct detail::sync_access;

  static constexpr std::int64_t waiting_ = 1;
  static constexpr std::int64_t one_ = 2;
  static constexpr std::int64_t max_ = INT64_MAX / one_;

  [[noreturn]] static void refuse(const char* operation, std::int64_t n);
  bool acquire_slowly(std::int64_t n, std::int64_t deadline_ns);
  void release_slowly(std::int64_t n);
  detail::sync_waiter* grant() noexcept;

  std::atomic<std::int64_t> word_;
  detail::short_lock queue_lock_;
  detail::wait_list queue_;
};

}  // namespace sigrun
