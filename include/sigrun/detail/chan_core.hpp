// SPDX-License-Identifier: Apache-2.0
//
// What all channels have in common, whatever they carry: lock, waiters, life time, descriptor.
// Users include <sigrun/chan.hpp>; nothing here is for them.
//
//             last handle goes, or close()               after the hook's closing()
//   open ───────────────────────────────────▶ closing ─────────────────────────────▶ closed
//
//   (1) The channel's lock guards every member without a comment of its own. It is held for a few
//       instructions and one move of a value, never while anybody sleeps or a hook runs. (A
//       goroutine that parks has left it to the one that runs next: sched/park.hpp, (5).)
//   (2) A waiter is linked while it waits, and only under the lock. Who unlinks it decides its
//       fate: a waker fills in `result` and then must unpark it; the owner (on time-out) is gone.
//   (3) The owner of a waiter that a waker has unlinked does not return before it was unparked,
//       even when its deadline has passed. Hence wakers may unpark after the unlock: the waiter,
//       its slot and its parker are all still there (chan_wakes).
//   (4) A waiter with a `claim` belongs to a wait on several channels: a waker that unlinks it must
//       win claim 0 -> 1 before it touches slot or result, and otherwise forgets the waiter.
//   (5) Receivers wait only while nothing can be received, senders only while there is no room; so
//       a value never overtakes one that was sent before, and both wait only when they are the
//       cases of one select (select_core.hpp).
#pragma once

#include <sigrun/detail/deadline.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace sigrun {

/// How an operation on a channel ended.
enum class chan_status : std::uint8_t {
  ok,
  closed,   ///< the channel is closed (and, for a receive, drained)
  timeout,  ///< the deadline passed first
};

namespace detail {

class chan_core;

/// What a feeder of channels may put between a channel and its receivers. The object must live as
/// long as the process, because a receiver may be inside while set_hook() takes it away. Every
/// function is called without the channel's lock, on any thread. Implement it in a final class.
struct chan_hook {
  /// Blocks a receiver in place of parking it. `parker` is a sched::parker*; returns as its
  /// park_until does.
  virtual bool wait(void* parker, std::int64_t deadline_ns) = 0;
  /// Called by each receive that finds nothing, once and before it blocks, while polling is set.
  virtual void poll() = 0;
  /// Called once, by close() or by the last handle's end, before the channel counts as closed.
  virtual void closing(chan_core& channel) = 0;
  /// A descriptor that is readable when poll() would find something; -1 for none. fd() then gives
  /// out an epoll set of it and the channel's own, and the channel polls.
  virtual int direct_fd(chan_core& channel) = 0;

 protected:
  ~chan_hook() = default;
};

/// One blocked caller on one channel; on the caller's stack.
struct chan_waiter {
  chan_waiter* next = nullptr;
  chan_waiter* prev = nullptr;
  bool linked = false;
  chan_status result = chan_status::timeout;
  void* slot = nullptr;                         ///< a receiver's std::optional<T>, a sender's T
  void* parker = nullptr;                       ///< sched::parker
  std::atomic<std::uint32_t>* claim = nullptr;  ///< (4); nullptr: waits on this channel alone
};

/// First come, first served. Guarded by the channel's lock.
class chan_waiters {
 public:
  /// Without the lock: a hint.
  bool empty() const noexcept { return first_.load(std::memory_order_relaxed) == nullptr; }
  void push_back(chan_waiter& waiter) noexcept {
    waiter.linked = true;
    waiter.next = nullptr;
    waiter.prev = last_;
    if (last_ == nullptr) {
      first_.store(&waiter, std::memory_order_relaxed);
    } else {
      last_->next = &waiter;
    }
    last_ = &waiter;
  }
  void unlink(chan_waiter& waiter) noexcept;
  /// Unlinks and claims the first waiter that can be claimed; nullptr when there is none.
  chan_waiter* claim_first() noexcept {
    chan_waiter* const waiter = first_.load(std::memory_order_relaxed);
    if (waiter == nullptr) return nullptr;
    if (waiter->claim != nullptr) return claim_first_there();
    take_first(*waiter);
    return waiter;
  }

 private:
  chan_waiter* claim_first_there() noexcept;
  void take_first(chan_waiter& first) noexcept {
    first.linked = false;
    first_.store(first.next, std::memory_order_relaxed);
    (first.next == nullptr ? last_ : first.next->prev) = nullptr;
  }

  std::atomic<chan_waiter*> first_{nullptr};  // relaxed: written under the lock; else see empty()
  chan_waiter* last_ = nullptr;
};

/// Waiters that were given their result and are still to be unparked. Declared before the guard
/// of the lock, so that it does so after the unlock; see (3). Links through the waiters, so it
/// holds any number of them and never allocates.
class chan_wakes {
 public:
  chan_wakes() noexcept = default;
  chan_wakes(const chan_wakes&) = delete;
  chan_wakes& operator=(const chan_wakes&) = delete;
  ~chan_wakes() {
    if (first_ != nullptr) wake_all();
  }
  void add(chan_waiter& waiter, chan_status result) noexcept {
    waiter.result = result;
    waiter.next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = &waiter;
    last_ = &waiter;
  }
  bool empty() const noexcept { return first_ == nullptr; }
  void wake_all() noexcept;

 private:
  chan_waiter* first_ = nullptr;
  chan_waiter* last_ = nullptr;
};

class alignas(64) chan_core {
 public:
  /// A lock whose unlock is a plain store and a look: half the price of two atomic exchanges.
  /// Meets BasicLockable. `word_` says whether it is held, `sleepers_` how many may sleep. Between
  /// an unlocker's store and its look nothing keeps the processor from looking first. Hence a
  /// sleeper announces itself, then has every thread pass a barrier (membarrier(2)), and only then
  /// takes its last look: an unlocker either stored before that look, or looks after the
  /// announcement. tests/models/chan_lock.pml checks that nobody sleeps on a free lock.
  class mutex {
   public:
    void lock() noexcept {
      // acquire pairs with the release of the unlock before.
      if (word_.exchange(1, std::memory_order_acquire) != 0) lock_slowly();
    }
    void unlock() noexcept {
      word_.store(0, std::memory_order_release);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // for the compiler; see above
      if (sleepers_.load(std::memory_order_relaxed) != 0) wake_one();
    }

   private:
    void lock_slowly() noexcept;
    void wake_one() noexcept;
    std::atomic<std::uint32_t> word_{0};
    std::atomic<std::uint32_t> sleepers_{0};
  };

  chan_core(const chan_core&) = delete;
  chan_core& operator=(const chan_core&) = delete;

  mutex& lock() noexcept { return mutex_; }

  // For select. Without the lock these are hints: what they say may change at any moment.
  bool looks_receivable() const noexcept {
    return buffered() != 0 || !senders_.empty() || closed();
  }
  bool looks_sendable() const noexcept {
    return buffered() < capacity_ || !receivers_.empty() || closed();
  }
  /// A number below `n`, each as likely as the others. Threads that ask at once may get the same.
  std::uint32_t random_below(std::uint32_t n) noexcept {
    // A counter that steps by the golden ratio, finished by a mixer: the SplitMix64 generator.
    std::uint64_t z = random_.load(std::memory_order_relaxed) + golden_gamma;
    random_.store(z, std::memory_order_relaxed);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    // Multiplying and keeping the high half is as uniform as a remainder, and needs no division.
    return static_cast<std::uint32_t>(((z >> 32) * n) >> 32);
  }
  /// From here on the numbers are those that follow from `seed`.
  void set_random_seed(std::uint64_t seed) noexcept {
    random_.store(seed, std::memory_order_relaxed);
  }

  // Two counts. The handles' end closes the channel; the memory's end deletes it. All handles
  // together own one unit of memory; a feeder that must not keep the channel open owns memory only.
  void add_handle() noexcept { handles_.fetch_add(1, std::memory_order_relaxed); }
  void drop_handle() noexcept;
  void add_memory() noexcept { memory_.fetch_add(1, std::memory_order_relaxed); }
  void drop_memory() noexcept;

  /// False when the channel was closed already, or is being closed.
  bool close() noexcept;
  /// Whether it counts as closed, without the lock. Once true, always true.
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  /// Sets the hook, or with nullptr takes it away. False, and nothing is done, when a hook is to be
  /// set and closing has begun: then closing() would never be called. Takes the lock.
  bool set_hook(chan_hook* hook) noexcept;
  chan_hook* hook() const noexcept { return hook_.load(std::memory_order_acquire); }
  /// Whether receives that find nothing call the hook's poll().
  void set_polling(bool on) noexcept { polling_.store(on, std::memory_order_release); }
  bool wants_poll() const noexcept { return polling_.load(std::memory_order_acquire); }
  /// Asks the hook to poll. Without the lock.
  void poll_hook();

  /// A descriptor that is readable while a receive would not block. Made by the first call; stays
  /// the channel's. Throws std::system_error.
  int fd();
  /// Puts the hook's descriptor (which must stay open until the hook is taken off) into the set
  /// that fd() gave out, when it has.
  void attach_direct(int direct) noexcept;

 protected:
  explicit chan_core(std::size_t capacity) noexcept;
  virtual ~chan_core();

  /// With the lock held: queues the caller in `list`, unlocks, waits, and returns its result. The
  /// lock is not held on return.
  chan_status wait_and_unlock(chan_waiter& waiter, chan_waiters& list, std::int64_t deadline_ns);

  /// With the lock held: makes the descriptor, if there is one, say whether `readable`.
  void update_fd(bool readable) noexcept {
    if (fd_ >= 0 && held_ == 0 && readable != fd_readable_) write_fd(readable);
  }
  /// The same, after a waiter has come or gone.
  void update_fd() noexcept {
    if (fd_ >= 0) update_fd(readable());
  }
  /// With the lock held: whether a receive would not block.
  bool readable() const noexcept { return looks_receivable(); }

  /// Values in the buffer. Written with the lock held; without it, a hint.
  std::size_t buffered() const noexcept { return buffered_.load(std::memory_order_relaxed); }
  void set_buffered(std::size_t n) noexcept { buffered_.store(n, std::memory_order_relaxed); }

  /// With the lock held: whether an operation that finds room or a value has nobody to tell.
  bool nobody_watches() const noexcept { return fd_ < 0; }

 private:
  friend class select_wait;
  static constexpr std::uint64_t golden_gamma = 0x9e3779b97f4a7c15;

  void write_fd(bool readable) noexcept;
  void detach_direct() noexcept;

  // What every operation looks at comes first and shares a cache line.
  mutex mutex_;

 protected:
  chan_waiters receivers_;
  chan_waiters senders_;
  const std::size_t capacity_;

 private:
  std::atomic<std::size_t> buffered_{0};  // relaxed: written under the lock, a hint without it
  std::atomic<bool> closed_{false};       // written under the lock
  std::atomic<bool> polling_{false};      // no lock; release in set_polling, acquire in wants_poll
  bool closing_ = false;
  bool fd_readable_ = false;
  int fd_ = -1;

 protected:
  /// Receivers inside the hook's poll(): what it brings they take themselves, so the descriptor
  /// keeps still meanwhile. Under the lock.
  int held_ = 0;

 private:
  int poll_fd_ = -1;  // epoll set of fd_ and direct_; what fd() gives out once it exists
  int direct_ = -1;   // the hook's, while it is in the set
  std::atomic<std::uint64_t> random_;      // relaxed: no lock, and a lost step does no harm
  std::atomic<chan_hook*> hook_{nullptr};  // written under the lock
  std::atomic<std::uint32_t> handles_{1};  // no lock
  std::atomic<std::uint32_t> memory_{1};   // no lock
};

}  // namespace detail
}  // namespace sigrun
