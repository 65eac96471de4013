// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/event_queue.hpp"

namespace sigrun::sigsafe {

void event_queue::init(queue_slot* slots, std::uint32_t capacity) noexcept {
  slots_ = slots;
  mask_ = capacity - 1;
  for (std::uint32_t i = 0; i < capacity; ++i) slots_[i].turn.store(i, std::memory_order_relaxed);
  tail_.store(0);
  head_.store(0);
  overflowed_.store(0);
  for (overflow_slot& slot : overflow_) {
    slot.count.store(0);
    slot.state.store(vacant);
  }
}

bool event_queue::push(const signal_event& event, std::uint32_t& used) noexcept {
  std::uint64_t position = tail_.load();
  queue_slot* slot;
  for (;;) {
    slot = &slots_[position & mask_];
    const auto distance = static_cast<std::int64_t>(slot->turn.load() - position);
    if (distance == 0) {
      if (tail_.compare_exchange_weak(position, position + 1)) break;
    } else if (distance < 0) {
      return false;
    } else {
      position = tail_.load();
    }
  }
  slot->event = event;
  // Before the event is to be seen: until then head_ cannot pass it.
  used = static_cast<std::uint32_t>(position + 1 - head_.load(std::memory_order_relaxed));
  if (used > capacity()) used = capacity();  // the slot was freed, and head_ not moved yet
  // Release pairs with the acquire load in pop(): the copy is seen with the turn.
  slot->turn.store(position + 1, std::memory_order_release);
  return true;
}

bool event_queue::merge(const signal_event& event) noexcept {
  overflow_slot& slot = overflow_[event.signo];
  const bool merged = slot.count.fetch_add(1) != 0;
  std::uint32_t expected = vacant;
  if (slot.state.compare_exchange_strong(expected, writing)) {
    slot.first = event;
    slot.state.store(written);
  }
  overflowed_.fetch_or(signal_set::of(event.signo).bits());
  return merged;
}

bool event_queue::pop(signal_event& event) noexcept {
  const std::uint64_t position = head_.load(std::memory_order_relaxed);
  queue_slot& slot = slots_[position & mask_];
  if (slot.turn.load(std::memory_order_acquire) != position + 1) {
    // Won but not filled: its handler nudges when it has, and what overflowed came later.
    return tail_.load() == position && pop_overflow(event);
  }
  event = slot.event;
  slot.turn.store(position + mask_ + 1);
  head_.store(position + 1);
  return true;
}

bool event_queue::pop_overflow(signal_event& event) noexcept {
  while (const int signo = signal_set{overflowed_.load()}.first()) {
    overflow_slot& slot = overflow_[signo];
    overflowed_.fetch_and(~signal_set::of(signo).bits());
    // Else its handler is between two steps; it sets the bit again when it is done.
    if (slot.state.load() != written) continue;
    event = slot.first;
    // In this order: who counts after the exchange finds the slot vacant and leaves its record.
    slot.state.store(vacant);
    const std::uint32_t count = slot.count.exchange(0);
    if (count == 0) continue;
    event.count = count;
    event.merged = count > 1;
    return true;
  }
  return false;
}

bool event_queue::empty() const noexcept {
  const std::uint64_t position = head_.load();
  return slots_[position & mask_].turn.load() != position + 1 && overflowed_.load() == 0;
}

}  // namespace sigrun::sigsafe
