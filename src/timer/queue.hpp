// SPDX-License-Identifier: Apache-2.0
//
// Pending deadlines: a wheel of wheels that keeps every one to the nanosecond. It knows no clock,
// no lock and no goroutine, and it allocates nothing: nodes are linked through themselves, and the
// queue is 17 KB of slots that are all zero to begin with. Deadlines are nanoseconds of whatever
// clock the caller reads; the namespace is sched's because sigrun::timer is the public class.
//
// Read a deadline as eleven digits of base 64. `cursor` is the time up to which everything has been
// popped. A node whose deadline has its first difference from the cursor in digit k lies in wheel
// k, in the slot that its digit k names:
//
//   wheel 10 ─ … ─▶ wheel 2 (4 µs slots) ──▶ wheel 1 (64 ns) ──▶ wheel 0 (1 ns) ──▶ popped
//             a slot is opened when the cursor enters it: its nodes move to lower wheels
//
//   (1) No node's deadline is before the cursor. add() counts an earlier one as due at the cursor,
//       which no caller has yet to reach, so it is popped by the next pop_expired().
//   (2) A node in wheel k agrees with the cursor in all digits above k, and its digit k is greater
//       (wheel 0: greater or equal). So everything in wheel k is due before everything in wheel
//       k + 1, slots are due in their order, and a slot of wheel 0 has one deadline only.
//   (3) A slot's list is in the order of add(), and opening a slot keeps that order. `opening` is
//       the slot that is being opened: the cursor stands at its begin, which is the one exception
//       from (2), and nodes that would go to wheels below queue up behind its own. So equal
//       deadlines pop in the order of add().
//   (4) A slot's `earliest` is not later than any of its nodes. It may be earlier only after the
//       node that set it was removed.
//   (5) `used` and `wheels` have a bit for each slot, and each wheel, that is not empty.
//
// Why not a heap: a queue full of time-outs is one whose timers are moved and stopped, rarely one
// that lets them expire. Beside a 4-ary heap of {deadline, node}, with 10^6 pending (CPU time on a
// busy AMD EPYC, bench/timer_queue.cpp): add 9 ns against 32 to 42; start and stop of one timer 7
// to 11 against 8 to 13; a new deadline for a random one 125 to 165 against 200 to 225; expiry 490
// to 560 a node against 340 to 510, where the heap is better. The heap also has an array, which
// must grow under the caller's lock and may find no memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sigrun::sched::timer {

class queue;

/// A deadline in a queue. Derive from it; its memory must stay until it is out of the queue.
struct node {
  std::int64_t when() const noexcept { return when_; }
  /// Whether it is in a queue. Under the lock that guards the queue.
  bool queued() const noexcept { return list_ != 0; }

 private:
  friend class queue;
  node* next_ = nullptr;
  node* prev_ = nullptr;
  std::int64_t when_ = 0;
  std::uint32_t list_ = 0;  // 1 + wheel * 64 + slot; 0: in no queue
};

class queue {
 public:
  /// What next() says of an empty queue: sys::never.
  static constexpr std::int64_t none = INT64_MAX;
  /// How many nodes one call of pop_expired() moves at most, which bounds the time that the
  /// caller's lock is held.
  static constexpr int moves_per_call = 256;

  constexpr queue() noexcept = default;
  queue(const queue&) = delete;
  queue& operator=(const queue&) = delete;

  /// Any `when` is good; one in the past, or negative, is due at once. `n` must be in no queue.
  void add(node& n, std::int64_t when) noexcept;

  /// False: it was not in a queue, so it was popped or removed before or never added. A node that
  /// is in a queue must be in this one.
  bool remove(node& n) noexcept;

  /// The earliest deadline; `none` when empty. Never later than that; earlier only when the
  /// earliest node was removed, or when pop_expired() is not done. A sleeper wakes then for
  /// nothing, calls pop_expired(), and the answer is a better one.
  std::int64_t next() const noexcept;

  /// Takes out one node whose deadline is not after `now`: the earliest, of equal ones the one
  /// that was added first. (Nodes that were due already when they were added come before others.)
  /// nullptr: there is none, or there is still work to be done, and next() tells which: it is not
  /// after `now` in the second case, and the caller should release its lock and come again.
  /// `now` must not go backwards from call to call.
  node* pop_expired(std::int64_t now) noexcept;

  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr int bits = 6;  // of a digit
  static constexpr std::uint32_t slots = 1U << bits;
  static constexpr std::uint32_t wheel_count = (63 + bits - 1) / bits;
  static constexpr std::uint32_t no_slot = wheel_count * slots;

  struct slot_list {
    node* first = nullptr;
    node* last = nullptr;
    std::int64_t earliest = 0;  // (4); nothing while the list is empty
  };

  static std::uint32_t wheel_of(std::uint64_t different) noexcept {
    return static_cast<std::uint32_t>(63 - __builtin_clzll(different | 1)) / bits;
  }
  void place(node& n) noexcept;
  void append(std::uint32_t index, node& n) noexcept;
  void unlink(node& n) noexcept;
  node* take(node& n, std::uint64_t at) noexcept;
  bool move_down(int& moves) noexcept;

  slot_list lists_[wheel_count * slots];
  std::uint64_t used_[wheel_count] = {};
  std::uint32_t wheels_ = 0;
  std::uint32_t opening_ = no_slot;
  std::uint64_t cursor_ = 0;
  std::size_t size_ = 0;
};

}  // namespace sigrun::sched::timer
