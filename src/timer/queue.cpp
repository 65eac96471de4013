// SPDX-License-Identifier: Apache-2.0
#include "timer/queue.hpp"

#include "base/expect.hpp"

#include <algorithm>

namespace sigrun::sched::timer {

void queue::append(std::uint32_t index, node& n) noexcept {
  slot_list& to = lists_[index];
  n.list_ = index + 1;
  n.next_ = nullptr;
  n.prev_ = to.last;
  if (to.last != nullptr) {
    to.last->next_ = &n;
    to.earliest = std::min(to.earliest, n.when_);
  } else {
    to.first = &n;
    to.earliest = n.when_;
    used_[index / slots] |= std::uint64_t{1} << (index % slots);
    wheels_ |= 1U << (index / slots);
  }
  to.last = &n;
}

void queue::unlink(node& n) noexcept {
  const std::uint32_t index = n.list_ - 1;
  slot_list& from = lists_[index];
  (n.prev_ == nullptr ? from.first : n.prev_->next_) = n.next_;
  (n.next_ == nullptr ? from.last : n.next_->prev_) = n.prev_;
  n.list_ = 0;
  if (from.first != nullptr) return;
  const std::uint32_t wheel = index / slots;
  used_[wheel] &= ~(std::uint64_t{1} << (index % slots));
  if (used_[wheel] == 0) wheels_ &= ~(1U << wheel);
  if (index == opening_) opening_ = no_slot;
}

// (1) and (2) hold: the slot is chosen by the deadline as seen from the cursor.
void queue::place(node& n) noexcept {
  const auto when =
      static_cast<std::uint64_t>(std::max(n.when_, static_cast<std::int64_t>(cursor_)));
  const std::uint32_t wheel = wheel_of(when ^ cursor_);
  append(wheel * slots + static_cast<std::uint32_t>(when >> (wheel * bits)) % slots, n);
}

void queue::add(node& n, std::int64_t when) noexcept {
  base::expect(n.list_ == 0, "timer: a node added twice");
  n.when_ = when;
  ++size_;
  if (opening_ != no_slot) {
    const auto at = static_cast<std::uint64_t>(std::max(when, static_cast<std::int64_t>(cursor_)));
    if (wheel_of(at ^ cursor_) < opening_ / slots) return append(opening_, n);  // (3)
  }
  place(n);
}

bool queue::remove(node& n) noexcept {
  if (n.list_ == 0) return false;
  unlink(n);
  --size_;
  return true;
}

std::int64_t queue::next() const noexcept {
  if (opening_ != no_slot) return static_cast<std::int64_t>(cursor_);
  if (wheels_ == 0) return none;
  const auto wheel = static_cast<std::uint32_t>(__builtin_ctz(wheels_));
  const auto slot = static_cast<std::uint32_t>(__builtin_ctzll(used_[wheel]));
  return lists_[wheel * slots + slot].earliest;
}

node* queue::take(node& n, std::uint64_t at) noexcept {
  unlink(n);
  --size_;
  cursor_ = at;
  return &n;
}

// Moves the nodes of `opening` to the wheels below. False: `moves` are used up before it is empty.
bool queue::move_down(int& moves) noexcept {
  while (opening_ != no_slot) {
    if (moves-- == 0) return false;
    node& n = *lists_[opening_].first;
    // The list is in no order of memory: begin to fetch what the next round reads.
    __builtin_prefetch(n.next_);
    unlink(n);
    place(n);
  }
  return true;
}

node* queue::pop_expired(std::int64_t now) noexcept {
  const auto until = static_cast<std::uint64_t>(std::max<std::int64_t>(now, 0));
  int moves = moves_per_call;
  for (;;) {
    if (!move_down(moves)) return nullptr;
    if (wheels_ == 0) {
      cursor_ = std::max(cursor_, until);
      return nullptr;
    }
    const auto wheel = static_cast<std::uint32_t>(__builtin_ctz(wheels_));
    const auto slot = static_cast<std::uint32_t>(__builtin_ctzll(used_[wheel]));
    const std::uint32_t shift = wheel * bits;
    const std::uint64_t begin = (((cursor_ >> shift) & ~std::uint64_t{slots - 1}) | slot) << shift;
    slot_list& earliest = lists_[wheel * slots + slot];
    if (begin > until) {
      // (2) holds: up to here no node's first difference is in another digit than it was.
      cursor_ = std::max(cursor_, std::min(until, begin - 1));
      return nullptr;
    }
    node& first = *earliest.first;
    if (wheel == 0) return take(first, begin);  // due at `begin`, all of them, see (1)
    if (&first == earliest.last) {
      earliest.earliest = first.when_;
      if (first.when_ > now) return nullptr;
      return take(first, static_cast<std::uint64_t>(first.when_));
    }
    if (earliest.earliest > now) return nullptr;
    cursor_ = begin;
    opening_ = wheel * slots + slot;
  }
}

}  // namespace sigrun::sched::timer
