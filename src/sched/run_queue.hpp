// SPDX-License-Identifier: Apache-2.0
//
// A P's run queue, after Go's (runtime/proc.go, runqput, runqget, runqsteal): a ring that its owner
// fills and anybody empties, and one place before it for the G that was made ready last.
//
//   (1) Only the owner, the M that holds the P, moves `tail_` and sets `first_`.
//   (2) `head_` moves by compare-exchange, the owner's and thieves' alike, after the slots up to
//   the
//       new head were read. A slot is overwritten only when head_ has passed it, so a thief that
//       read too late fails its exchange and forgets what it read.
//   (3) While `shared` is false nobody steals, and the owner does without locked instructions.
//       Only the owner changes it, or one who holds the P with its M stopped.
#pragma once

#include "sched/g.hpp"

#include <atomic>
#include <cstdint>

namespace sigrun::sched {

class run_queue {
 public:
  static constexpr std::uint32_t room = 1024;  // 8 KiB a P
  static constexpr std::uint32_t spill = 64;   // goes to the global queue when it is full

  /// Owner. Appends; false when the ring is full.
  bool push(g* gp) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) >= room) return false;  // (2)
    slots_[tail % room].store(gp, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);  // pairs with a thief's acquire
    return true;
  }

  /// Owner. Puts `gp` first; what was there before is returned and must be pushed.
  g* push_first(g* gp) noexcept {
    if (!shared_.load(std::memory_order_relaxed)) {
      g* const before = first_.load(std::memory_order_relaxed);
      first_.store(gp, std::memory_order_relaxed);
      return before;
    }
    return first_.exchange(gp, std::memory_order_acq_rel);
  }

  /// Owner. nullptr when there is none.
  [[gnu::always_inline]] g* pop() noexcept {
    g* gp = first_.load(std::memory_order_relaxed);
    if (!shared_.load(std::memory_order_relaxed)) {
      if (gp != nullptr) {
        first_.store(nullptr, std::memory_order_relaxed);
        return gp;
      }
      const std::uint32_t head = head_.load(std::memory_order_relaxed);
      if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
      gp = slots_[head % room].load(std::memory_order_relaxed);
      head_.store(head + 1, std::memory_order_release);
      fetch_ahead(head + 1);
      return gp;
    }
    if (gp != nullptr && first_.compare_exchange_strong(gp, nullptr)) return gp;
    std::uint32_t head = head_.load(std::memory_order_acquire);
    while (head != tail_.load(std::memory_order_relaxed)) {
      gp = slots_[head % room].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel)) return gp;
    }
    return nullptr;
  }

  /// Owner. The oldest of the ring, past the place before it: two that hand over to each other
  /// through that place would starve it.
  g* pop_ring() noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    while (head != tail_.load(std::memory_order_relaxed)) {
      g* const gp = slots_[head % room].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel)) return gp;
    }
    return nullptr;
  }

  /// Owner. Takes the oldest of a full ring; for the global queue. Few, because this runs on the
  /// stack of whoever spawns.
  void take_oldest(g_list& out) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t there = tail_.load(std::memory_order_relaxed) - head;
    const std::uint32_t count = there < spill ? there : spill;
    g* taken[spill];
    for (std::uint32_t i = 0; i < count; ++i) {
      taken[i] = slots_[(head + i) % room].load(std::memory_order_relaxed);
    }
    // A thief was faster: then the ring is not full any more, and the caller tries again.
    if (!head_.compare_exchange_strong(head, head + count, std::memory_order_acq_rel)) return;
    for (std::uint32_t i = 0; i < count; ++i) out.push(taken[i]);
  }

  /// Anybody who owns `mine`, which must be empty: moves half of this queue to it and returns the
  /// youngest of them to run now; nullptr when there is nothing to have. `first` too: take the
  /// place before the ring as well, when the ring is empty.
  g* steal_into(run_queue& mine, bool first) noexcept {
    if (!shared_.load(std::memory_order_acquire)) return nullptr;  // (3)
    for (;;) {
      std::uint32_t head = head_.load(std::memory_order_acquire);
      const std::uint32_t tail = tail_.load(std::memory_order_acquire);  // pairs with push
      std::uint32_t count = tail - head;
      count -= count / 2;
      if (count == 0) {
        if (!first) return nullptr;
        g* gp = first_.load(std::memory_order_acquire);
        if (gp != nullptr && first_.compare_exchange_strong(gp, nullptr)) return gp;
        return nullptr;
      }
      if (count > room / 2) continue;  // head and tail are of different times
      const std::uint32_t at = mine.tail_.load(std::memory_order_relaxed);
      for (std::uint32_t i = 0; i < count; ++i) {
        mine.slots_[(at + i) % room].store(
            slots_[(head + i) % room].load(std::memory_order_relaxed), std::memory_order_relaxed);
      }
      if (!head_.compare_exchange_strong(head, head + count, std::memory_order_acq_rel)) continue;
      // The last one is run; the others become visible to thieves.
      g* const gp = mine.slots_[(at + count - 1) % room].load(std::memory_order_relaxed);
      mine.tail_.store(at + count - 1, std::memory_order_release);
      return gp;
    }
  }

  /// Anybody; a moment's truth.
  bool empty() const noexcept {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire) &&
           first_.load(std::memory_order_acquire) == nullptr;
  }
  bool ring_empty() const noexcept {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_relaxed);
  }
  std::uint32_t size() const noexcept {
    return tail_.load(std::memory_order_acquire) - head_.load(std::memory_order_acquire) +
           (first_.load(std::memory_order_acquire) != nullptr ? 1 : 0);
  }

  void set_shared(bool shared) noexcept { shared_.store(shared, std::memory_order_release); }
  bool shared() const noexcept { return shared_.load(std::memory_order_relaxed); }

 private:
  /// Each G has a page of its own. Of the one after the next: begins to fetch the line of which a
  /// switch needs most. Of the next one, whose line is there by now: the frames in which it goes
  /// on. For an unshared queue, from which nobody else takes that one while it is read.
  [[gnu::always_inline]] void fetch_ahead([[maybe_unused]] std::uint32_t head) const noexcept {
#if !SIGRUN_TSAN && !SIGRUN_ASAN
    __builtin_prefetch(slots_[(head + 1) % room].load(std::memory_order_relaxed));
    if (head == tail_.load(std::memory_order_relaxed)) return;
    const g* const next = slots_[head % room].load(std::memory_order_relaxed);
    const auto* const frames = static_cast<const char*>(next->fiber.context.stack_pointer);
    __builtin_prefetch(frames);
    __builtin_prefetch(frames + 64);
    __builtin_prefetch(frames + 128);
#endif
  }

  std::atomic<std::uint32_t> head_{0};
  std::atomic<std::uint32_t> tail_{0};
  std::atomic<g*> first_{nullptr};
  std::atomic<bool> shared_{true};
  std::atomic<g*> slots_[room] = {};
};

}  // namespace sigrun::sched
