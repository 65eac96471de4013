// SPDX-License-Identifier: Apache-2.0
//
// An edge-triggered epoll set with a break. It hands out descriptors (descriptor.hpp has their
// states), and wait() lists the waiters whose side something happened on. It makes no thread and
// takes no lock; who waits in it, and how long, is its user's business.
//
//   (1) Any number of threads may be in wait() with time-out 0, and one more with another.
//   (2) wake() ends that one's wait, or its next when it is not in one. The break's eventfd is
//       level-triggered, and only a wait that may sleep takes it: a look with time-out 0 on another
//       thread leaves it for the one it is meant for. `woken_` is set from the first wake() until
//       that wait has emptied the eventfd, so that further ones cost no system call. What a waker
//       wrote before wake(), the woken sees: he clears `woken_` after emptying and before he looks.
//   (3) An event carries index and generation of its descriptor, never an address. remove() makes
//       the generation another one before anybody can have the descriptor again.
//   (4) The pool grows by mapping, a segment at a time, each as large as all before it, and never
//       shrinks: 4,194,240 descriptors at most. Its free list is a stack of indices whose head
//       counts the changes, so that a head that came back is told from one that stayed.
#pragma once

#include "poll/descriptor.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sigrun::poll {

/// Waiters to wake, in a caller's array of at least 2. wait() takes no more events from the kernel
/// than there is room for.
class ready_list {
 public:
  explicit ready_list(std::span<void*> room) noexcept : room_(room) {}
  void clear() noexcept { size_ = 0; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  void* operator[](std::size_t i) const noexcept { return room_[i]; }
  void* const* begin() const noexcept { return room_.data(); }
  void* const* end() const noexcept { return room_.data() + size_; }

 private:
  friend class poller;
  std::size_t left() const noexcept { return room_.size() - size_; }
  void add(void* waiter) noexcept {
    if (waiter != nullptr) room_[size_++] = waiter;
  }
  std::span<void*> room_;
  std::size_t size_ = 0;
};

struct poll_counters {
  std::uint64_t looks = 0;        ///< wait() with time-out 0
  std::uint64_t waits = 0;        ///< wait() with another
  std::uint64_t events = 0;       ///< from the kernel, the break's not counted
  std::uint64_t late = 0;         ///< of these: for a descriptor that had been removed
  std::uint64_t woken = 0;        ///< waiters listed
  std::uint64_t breaks = 0;       ///< waits that the break ended
  std::uint64_t wakes = 0;        ///< calls of wake()
  std::uint64_t descriptors = 0;  ///< in the set now
};

class poller {
 public:
  /// Events that one wait() takes from the kernel at most.
  static constexpr int events_max = 128;
  /// A list with this much room is never the bound.
  static constexpr std::size_t ready_max = 2 * events_max;
  static constexpr std::int64_t for_ever = -1;

  constexpr poller() noexcept = default;
  ~poller();
  poller(const poller&) = delete;
  poller& operator=(const poller&) = delete;

  /// 0, or the error of epoll_create1 or eventfd (EMFILE, ENFILE, ENOMEM). Once.
  long open() noexcept;
  bool is_open() const noexcept { return epoll_fd_ >= 0; }

  /// A descriptor for one's own; nullptr when there is no memory for more.
  descriptor* acquire() noexcept;
  /// Gives it back, after remove() or when add() failed. Nobody else may use it any more.
  void release(descriptor& which) noexcept;

  /// Puts `fd`, which must not block, into the set; a side that is ready already is an edge. 0, or
  /// -EPERM for what cannot be polled (a regular file), -EEXIST, -ENOMEM, -ENOSPC
  /// (max_user_watches).
  long add(descriptor& which, int fd) noexcept;
  /// Takes it out of the set; before close(fd). Both sides must have been closed. What the kernel
  /// says is returned, but only a wrong fd can make it fail, and the descriptor is out anyway.
  long remove(descriptor& which) noexcept;

  /// Appends to `ready` who is to be woken, and returns how many, or a negated error. Waits at most
  /// `timeout_ns`, 0 for a look, for_ever; others are at least 0. A signal handler that ran ends
  /// the wait like its time-out: 0. There is no other error but that of a poller not open, EBADF.
  /// `ready` needs room for 2.
  int wait(std::int64_t timeout_ns, ready_list& ready) noexcept;

  /// See (2). Any thread, and in handlers too: one eventfd write at most.
  void wake() noexcept;

  poll_counters counters() const noexcept;
  /// How many descriptors are in the set.
  std::uint64_t registered() const noexcept {
    return count_.descriptors.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t first_segment = 64;
  static constexpr std::size_t segments_max = 16;
  static constexpr std::uint32_t descriptors_max = first_segment * ((1U << segments_max) - 1);

  struct place {
    std::size_t segment;
    std::uint32_t offset;
  };
  static place place_of(std::uint32_t index) noexcept;
  descriptor* at(std::uint32_t index) noexcept;
  descriptor* grow() noexcept;
  descriptor* segment(std::size_t number) noexcept;
  long sleep(std::int64_t timeout_ns, void* events, int room) noexcept;
  void empty_break() noexcept;

  int epoll_fd_ = -1;
  int break_fd_ = -1;
  std::atomic<bool> woken_{false};
  std::atomic<bool> no_pwait2_{false};  // the kernel is older than 5.11
  std::atomic<std::uint64_t> free_{0};  // changes << 32 | index + 1
  // Moved by add() before the kernel may tell of the descriptor, and read by wait() after it did:
  // so what add() wrote before is visible to wait(), also as far as the language knows.
  std::atomic<std::uint32_t> adds_{0};
  std::atomic<std::uint32_t> used_{0};  // indices below were given out at least once
  std::atomic<descriptor*> segments_[segments_max] = {};

  // Relaxed: counts, and nothing is concluded from them.
  struct {
    std::atomic<std::uint64_t> looks{0}, waits{0}, events{0}, late{0}, woken{0}, breaks{0},
        wakes{0}, descriptors{0};
  } count_;
};

}  // namespace sigrun::poll
