// SPDX-License-Identifier: Apache-2.0
//
// Signals for one goroutine: raised by anybody in ordinary code, handled by the goroutine itself at
// its preemption points. What lies between is the goroutine's inbox.
//
//             raise()                   take(), at a preemption point
//   (nothing) ───────▶ waiting ───────────────────────────────────────▶ handled
//       │                 └─────────── end(), at the exit ──────▶ dropped by the exit
//       └── no room: merged into one that waits, or dropped
//
//   inbox:  none ──▶ open (first raise, handler or share) ──▶ ended (owner gone; shares may remain)
//
//   (1) g::raised says what the points look at, in one byte: `due`, something waits that has a
//       handler, or an exception of one waits to be thrown; `attentive`, there are handlers at all.
//       It is written under the inbox's lock.
//   (2) Only the goroutine takes, in ordinary code of its own: never in a handler of the kernel's,
//       never on another's stack, and never after it has ended its inbox, with its last
//       instructions.
//   (3) Who raises under the lock and finds an owner knows that the owner has not ended, so it may
//       touch its G: whoever ends takes the lock to say so.
//   (4) A goroutine that waits attentively leaves its parker in the inbox, and takes it out under
//       the lock before the wait returns. Who raises pokes it there (park.hpp), so it runs its
//       handlers, and waits on: what it waits for, its place in the queue and its parker are as
//       before, and a wake that comes meanwhile is seen after the handlers.
//   (5) While g::deferrals is above 0 nothing is taken, and no one is woken. Handlers count as one,
//       so they do not nest.
//   (6) A G keeps its inbox until it is used anew, so whoever holds a handle finds it. It looks for
//       one the last time before it is over; what is raised between is counted as dropped by the
//       exit by the next raise, which finds it over, or when the handle goes.
//   (7) At rest raised == handled + merged + dropped + dropped_by_exit + waiting.
//
// tests/models/raise.pml checks (2) to (7).
#pragma once

#include "sched/g.hpp"
#include "sys/lock.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigrun::sched {

class parker;

/// What is raised: everything about it that the event shows.
struct raised_record {
  std::int32_t signo = 0;
  std::uint32_t count = 1;  // how many signals it stands for
  std::uint64_t value = 0;
  std::uint64_t from = 0;      // the goroutine that raised it; 0: a plain thread
  std::uint64_t sequence = 0;  // of this goroutine's inbox, from 1
  std::int64_t at_ns = 0;
};

enum class inbox_full : std::uint8_t { drop_newest, drop_oldest, coalesce };

struct inbox_counts {
  std::uint64_t raised = 0;
  std::uint64_t handled = 0;
  std::uint64_t merged = 0;
  std::uint64_t dropped = 0;
  std::uint64_t dropped_by_exit = 0;
  std::uint64_t waiting = 0;
};

inline constexpr std::uint32_t inbox_room = 64;
inline constexpr std::uint32_t inbox_room_max = 65'536;

class inbox {
 public:
  explicit inbox(g* owner) noexcept : owner_(owner) {}
  inbox(const inbox&) = delete;
  inbox& operator=(const inbox&) = delete;

  void share() noexcept { shares_.fetch_add(1, std::memory_order_relaxed); }
  void drop() noexcept;

  /// 0: it will be handled, or is counted as merged, or another was dropped for it. -EAGAIN: it was
  /// dropped, for want of room. -ESRCH: the goroutine has ended. -ENOMEM. Any thread.
  long raise(const raised_record& what) noexcept;
  inbox_counts counts() noexcept;
  std::uint64_t owner_id() const noexcept { return id_; }

  // ------------------------------------------------------------------------ by the owner alone

  /// The oldest that has a handler; false: there is none.
  bool take(raised_record& out) noexcept;
  /// Which signals have handlers from now on.
  void set_handled(std::uint64_t bits) noexcept;
  /// -EBUSY: more are waiting than would have room. -ENOMEM.
  long resize(std::uint32_t room, inbox_full full) noexcept;
  /// An exception of a handler that is to be thrown at the next point; module go's.
  void keep_error(void* error) noexcept;
  void* take_error() noexcept;
  bool has_error() const noexcept { return error_ != nullptr; }
  void* handlers = nullptr;  // module go's

  /// (4). False: something is due, so do not park. With an error kept back, that does not count.
  bool begin_wait(parker& waiting) noexcept;
  void end_wait() noexcept;
  /// (3): from here on it takes nothing more.
  void end() noexcept;

 private:
  ~inbox() { delete[] records_; }
  raised_record& at(std::uint32_t i) noexcept { return records_[(first_ + i) % room_]; }
  void add(const raised_record& what) noexcept;
  void remove(std::uint32_t i) noexcept;
  bool merge(const raised_record& what) noexcept;
  void publish() noexcept;
  void end_locked() noexcept;

  sys::short_lock lock_;
  std::atomic<std::uint32_t> shares_{1};
  g* owner_;  // nullptr: it has ended
  const std::uint64_t id_ = owner_ != nullptr ? std::uint64_t{owner_->id} : 0;
  parker* parked_ = nullptr;
  void* error_ = nullptr;
  std::uint64_t handled_ = 0;  // bit n-1: signal n has a handler
  std::uint64_t waiting_ = 0;  // bit n-1: one of signal n is in the ring
  raised_record* records_ = nullptr;
  std::uint32_t room_ = inbox_room;
  std::uint32_t first_ = 0;
  std::uint32_t size_ = 0;
  inbox_full full_ = inbox_full::drop_newest;
  std::uint64_t next_sequence_ = 1;
  inbox_counts counts_;
  std::uint32_t per_signal_[64] = {};  // in the ring
};

/// The G's, made when it has none. nullptr: no memory. The caller is the G, or holds its handle.
inbox* inbox_of(g* gp) noexcept;
/// inbox::raise() to a G whose handle the caller holds.
long raise_to(g* gp, const raised_record& what) noexcept;
/// Fills in who raises, and when.
void sign(raised_record& what) noexcept;
/// (6): the G is about to be used anew.
void forget_inbox(g* gp) noexcept;

/// The goroutine, which is the caller, defers from here on; and no longer. They nest.
void begin_deferral(g* gp) noexcept;
void end_deferral(g* gp) noexcept;

/// Runs what is due by its handlers, on the calling goroutine. With `keep`, an exception is kept
/// for the next point; else it is thrown, and the first one is what was kept. Set once, by module
/// go, before there is any handler.
void set_raised_runner(void (*run)(bool keep)) noexcept;
void run_raised(bool keep);
/// Whether something is due on the calling goroutine.
bool raised_is_due() noexcept;
/// A preemption point of an operation that has changed nothing, or whose wait has ended without
/// what it was for: runs what is due, and throws what a handler throws.
inline void raised_point() {
  if (raised_is_due()) [[unlikely]]
    run_raised(false);
}

/// Of the process.
inbox_counts read_raised_counts() noexcept;

}  // namespace sigrun::sched
