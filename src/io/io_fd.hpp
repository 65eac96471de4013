// SPDX-License-Identifier: Apache-2.0
//
// An open descriptor that goroutines and threads share: who may use which side, for how long, and
// when it is really closed. What is read and written is transfer.hpp's.
//
//            close(), once                 the last operation ends
//   open ─────────────────────▶ closed ─────────────────────────────▶ shut, fd given back
//
// The word `state_` says it all: `closed`, and for each side `busy` (an operation holds it) and
// `queued` (others wait for their turn), and above them the references.
//   (1) `open` itself is one reference, each operation, also one that queues, is another. The last
//       to go shuts: so an fd's number is never given back while a system call may still use it.
//   (2) A side belongs to one operation at a time, first come, first served, so that what two
//       writers write is not mixed. end() hands it to the first in the queue without letting go of
//       it: `busy` stays set while `queued` is.
//   (3) The queues belong to the lock, and a waiter of a queue is unparked under it. So whoever
//       holds the lock knows that nobody else has his parker, and may reset it or leave.
//   (4) A deadline is stored first, and then those who wait are told to look again; who waits
//       first makes himself known (arms, or queues), and then reads the deadline. All seq_cst: one
//       of the two sees the other.
//   (5) The object outlives both its handle and the shutting, whichever is later.
#pragma once

#include "io/within.hpp"
#include "poll/poller.hpp"
#include "sched/park.hpp"

#include <sigrun/detail/chan_core.hpp>
#include <sigrun/detail/deadline.hpp>

#include <atomic>
#include <cstdint>

namespace sigrun::detail {

enum class fd_kind : std::uint8_t { tcp, unix_stream, listener, pipe };

class io_fd {
 public:
  using side = poll::side;

  /// Takes `fd`, which must not block, and puts it into the poller. nullptr, with `fd` closed and
  /// `error` negated: -ENOMEM, or what poller::add() says.
  static io_fd* open(int fd, fd_kind kind, long& error) noexcept;

  /// For the handle: it is gone. Closes first when that was not done.
  void drop_handle() noexcept;

  /// 0, or -EBADF when it was closed before. Whoever waits is woken with -ECANCELED.
  long close() noexcept;
  bool is_closed() const noexcept { return (state_.load() & closed) != 0; }

  /// Takes one side for an operation. -EBADF when closed; -ECANCELED when closed while queueing,
  /// -ETIMEDOUT when the side's deadline passed before or meanwhile. What is `inside` a context may
  /// also fail with -context_ended, or -ENOMEM when it has to wait.
  long begin(side which, within* inside = nullptr) noexcept;
  void end(side which) noexcept;

  /// Takes a reference, so that fd() stays what it is; -EBADF when closed.
  long hold() noexcept;
  void let_go() noexcept;

  /// Sleeps until something happens on the side that one holds. 0: try again; -ETIMEDOUT,
  /// -ECANCELED. With `until_ns` before the side's deadline: -EAGAIN when that comes first.
  long wait(side which, std::int64_t until_ns = wait_for_ever, within* inside = nullptr) noexcept;
  /// Has all who wait at the side, or for their turn there, look again whether they still may.
  void look_again(side which) noexcept;

  /// For operations that begin and end from now on, and those that wait now. -EBADF when closed.
  long set_deadline(bool read, bool write, std::int64_t deadline_ns) noexcept;
  /// Without telling anybody: for an fd that nobody else has yet.
  void preset_deadline(side which, std::int64_t deadline_ns) noexcept {
    deadline_of(which).store(deadline_ns);
  }

  /// Whether an operation sleeps on the side, and whether others wait for their turn.
  bool is_waited_for(side which) const noexcept { return descriptor_->is_waited_for(which); }
  bool is_queued_for(side which) const noexcept { return (state_.load() & queued(which)) != 0; }

  /// A share in the object itself, which says nothing of the descriptor.
  void add_memory() noexcept { memory_.fetch_add(1, std::memory_order_relaxed); }
  void drop_memory() noexcept;

  int fd() const noexcept { return fd_; }
  fd_kind kind() const noexcept { return kind_; }

  /// After a read that brought less than was asked for, whether the next would find nothing, so
  /// that it can wait without trying. TCP only: others stop short for other reasons too. Edges and
  /// hang-ups that come later, or that have not been seen yet, are events still to come. (epoll(7))
  void note_read(std::size_t asked, std::size_t got) noexcept {
    drained_ = kind_ == fd_kind::tcp && got < asked && got != 0;
  }
  bool is_drained() noexcept {
    if (!drained_) return false;
    drained_ = false;
    return !descriptor_->hung_up() && !descriptor_->urgent();
  }

  /// How long accept() stands back after it failed for want of descriptors; the read side's.
  std::int64_t backoff_ns = 0;

 private:
  struct turn {
    sched::parker parker;
    enum : std::uint8_t { waits, granted, refused } state = waits;
    turn* next = nullptr;
  };
  struct turns {
    turn* first = nullptr;
    turn* last = nullptr;
  };

  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t reference = 256;
  static constexpr std::uint64_t busy(side which) noexcept { return which == side::read ? 2 : 4; }
  static constexpr std::uint64_t queued(side which) noexcept {
    return which == side::read ? 8 : 16;
  }

  io_fd(int fd, fd_kind kind, poll::descriptor& which) noexcept
      : descriptor_(&which), fd_(fd), kind_(kind) {}
  ~io_fd() = default;

  long take(side which) noexcept;
  long queue_for(side which, within* inside) noexcept;
  bool hand_over(side which) noexcept;
  void tell(side which) noexcept;
  void unlink(side which, turn& mine) noexcept;
  void shut() noexcept;
  std::atomic<std::int64_t>& deadline_of(side which) noexcept {
    return deadlines_[static_cast<std::size_t>(which)];
  }
  turns& queue(side which) noexcept { return queues_[static_cast<std::size_t>(which)]; }

  std::atomic<std::uint64_t> state_{reference};
  std::atomic<std::int64_t> deadlines_[2] = {wait_for_ever, wait_for_ever};
  poll::descriptor* const descriptor_;
  const int fd_;
  const fd_kind kind_;
  bool drained_ = false;  // the read side's
  // The handle's, that of what is not shut yet, and those of contexts that may still end.
  std::atomic<std::uint32_t> memory_{2};
  chan_core::mutex lock_;
  turns queues_[2];  // under the lock
};

/// One operation on one side, from its construction on.
class operation {
 public:
  operation(io_fd& fd, poll::side which, const context* ctx = nullptr) noexcept
      : fd_(fd), which_(which), inside_(ctx), error_(fd.begin(which, &inside_)) {}
  ~operation() {
    if (error_ == 0) fd_.end(which_);
  }
  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;
  long error() const noexcept { return error_; }
  io_fd& fd() const noexcept { return fd_; }
  /// io_fd::wait() on its side.
  long wait(std::int64_t until_ns = wait_for_ever) noexcept {
    return fd_.wait(which_, until_ns, &inside_);
  }

 private:
  io_fd& fd_;
  const poll::side which_;
  within inside_;
  const long error_;
};

}  // namespace sigrun::detail
