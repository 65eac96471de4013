// SPDX-License-Identifier: Apache-2.0
//
// The bounded queue between handlers (any thread, many at once) and the thread that dispatches
// (whoever holds the signal duty; one at a time).
//
// A ring of slots, each with a turn number (the bounded queue of D. Vyukov). Slot i is free for
// position p (p mod capacity == i) while its turn is p, and holds the event of p while its turn is
// p + 1.
//
//   turn     means                     next turn, and who moves it
//   p        free for position p       p+1 (the handler that won position p, once the copy is done)
//   p + 1    holds p's event           p+capacity (the dispatcher, once it has copied the event)
//
// When the ring is full, a standard signal goes to the overflow slot of its number: the first one
// leaves its record there, the rest only count.
//
// Invariants:
//  (1) A position is won by one compare-exchange on tail_, so events leave in the order in which
//      handlers won positions: the order taken.
//  (2) Nothing here waits: a full ring and a busy overflow slot are answers, not reasons to spin.
//  (3) Every event that push() was given is in the ring, or in an overflow count, or was refused
//      with `full`: the caller has then still got it.
#pragma once

#include "base/signal_safe.hpp"

#include <sigrun/signal_event.hpp>
#include <sigrun/signal_set.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigrun::sigsafe {

struct queue_slot {
  std::atomic<std::uint64_t> turn;
  signal_event event;
};

class event_queue {
 public:
  /// `slots` must hold `capacity` (a power of two) zero-filled slots and outlive the queue.
  void init(queue_slot* slots, std::uint32_t capacity) noexcept;

  /// Handler side. False: the ring is full. On success `used` is how many slots were in use.
  SIGRUN_SIGNAL_SAFE bool push(const signal_event& event, std::uint32_t& used) noexcept;

  /// Handler side: counts a signal that found the ring full. Never refuses. True: it was merged
  /// into an earlier one; false: it is the first in its overflow slot.
  SIGRUN_SIGNAL_SAFE bool merge(const signal_event& event) noexcept;

  /// Handler side: an earlier one of this signal waits in its overflow slot, and must not be
  /// overtaken through the ring.
  SIGRUN_SIGNAL_SAFE bool merging(int signo) const noexcept {
    return overflow_[signo].count.load() != 0;
  }

  /// Dispatcher side. Ring first, then the overflow slots, lowest signal first.
  bool pop(signal_event& event) noexcept;

  bool empty() const noexcept;
  /// What has been won until now, and whether all before that position has been popped.
  std::uint64_t end() const noexcept { return tail_.load(); }
  bool passed(std::uint64_t end) const noexcept { return head_.load() >= end; }
  std::uint32_t capacity() const noexcept { return mask_ + 1; }

 private:
  enum overflow_state : std::uint32_t { vacant, writing, written };
  struct overflow_slot {
    std::atomic<std::uint32_t> count;
    std::atomic<std::uint32_t> state;
    signal_event first;
  };
  bool pop_overflow(signal_event& event) noexcept;

  queue_slot* slots_ = nullptr;
  std::uint32_t mask_ = 0;
  alignas(64) std::atomic<std::uint64_t> tail_{0};  // next position to win
  alignas(64) std::atomic<std::uint64_t> head_{0};  // next position to dispatch
  std::atomic<std::uint64_t> overflowed_{0};        // bit n-1: overflow slot n may hold something
  overflow_slot overflow_[signal_max + 1]{};
};

}  // namespace sigrun::sigsafe
