// SPDX-License-Identifier: Apache-2.0
//
// G, a goroutine: a stack that can be left and resumed, and what is known about it. It lives at the
// top of its own stack, so that an idle one costs a single page.
//
//           new_g                 execute                     leave(park)
//   free ─────────▶ runnable ───────────────▶ running ──────────────────────▶ waiting
//    ▲                 ▲  ▲                    │  │ ▲ │                          │
//    │                 │  └──── leave(yield) ──┘  │ │ └─ enter_foreign ▶ foreign │
//    │                 └───────────── ready ──────│─│────────────────────────────┘
//    └───────── recycle ◀──── dead ◀── leave(exit)┘ └──── leave_foreign
//
//   (1) A G is in at most one place: on one run queue, running on one M, or waiting with its parker
//       in the hands of wakers. Two functions move it: leave() stops it, ready() starts it.
//   (2) A G that leaves is touched by others only after its registers are saved: what is to be done
//       with it (queue it, commit its parker, free it) is done by whoever runs next on that M, in
//       land(). So no M can resume a stack that another one still stands on.
//   (3) `life` is moved once by the exit and once by the handle; see join.cpp.
#pragma once

#include "fiber/fiber.hpp"
#include "sched/wait_reason.hpp"
#include "sigsafe/thread_block.hpp"
#include "stack/stack.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sigrun::sched {

struct machine;
class parker;
class inbox;

enum class g_state : std::uint8_t { free, runnable, running, waiting, foreign, dead };

inline constexpr std::size_t name_room = 32;

/// Bits of g::raised; see raise.hpp (1).
inline constexpr unsigned raised_due = 1;
inline constexpr unsigned raised_attentive = 2;

/// What its owner writes at any time and a listing reads at some: each access is whole, and orders
/// nothing.
template <class T>
class relaxed {
 public:
  constexpr relaxed(T value) noexcept : value_(value) {}  // NOLINT: it stands for a T
  relaxed& operator=(T value) noexcept {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  operator T() const noexcept { return value_.load(std::memory_order_relaxed); }  // NOLINT
  T operator->() const noexcept { return *this; }

 private:
  std::atomic<T> value_;
};

/// A goroutine's name, the rest filled with zeros.
class short_name {
 public:
  void set(std::string_view text) noexcept {
    char bytes[name_room] = {};
    const std::size_t size = text.size() < name_room ? text.size() : name_room - 1;
    for (std::size_t i = 0; i < size; ++i) bytes[i] = text[i];
    for (std::size_t i = 0; i < words; ++i) {
      std::uint64_t word;
      __builtin_memcpy(&word, bytes + i * sizeof word, sizeof word);
      words_[i] = word;
    }
  }
  /// Fills `bytes` and returns what of it is the name.
  std::string_view get(char (&bytes)[name_room]) const noexcept {
    for (std::size_t i = 0; i < words; ++i) {
      const std::uint64_t word = words_[i];
      __builtin_memcpy(bytes + i * sizeof word, &word, sizeof word);
    }
    std::size_t size = 0;
    while (size < name_room && bytes[size] != '\0') ++size;
    return {bytes, size};
  }
  bool empty() const noexcept { return words_[0] == 0; }

 private:
  static constexpr std::size_t words = name_room / sizeof(std::uint64_t);
  relaxed<std::uint64_t> words_[words] = {0, 0, 0, 0};
};

struct alignas(64) g {
  // What a switch touches lies in one cache line: this, and the head of fiber_state.
  g* next = nullptr;                  // in whatever list holds it
  relaxed<machine*> locked{nullptr};  // lock_os_thread: runs on this M only
  std::atomic<g_state> state{g_state::free};
  std::atomic<std::uint8_t> raised{0};      // raise.hpp (1)
  std::atomic<std::uint32_t> deferrals{0};  // raise.hpp (5); its own
  fiber::fiber_state fiber;

  std::atomic<wait_reason> why{wait_reason::unknown};
  std::atomic<const void*> on{nullptr};
  std::atomic<std::int64_t> since_ns{0};  // of the state, on the coarse clock

  int lock_depth = 0;  // of lock_os_thread

  // What runs. `entry` is called with `closure`, which lies below this object on the same stack.
  void (*entry)(void* closure) noexcept = nullptr;
  void* closure = nullptr;

  // How the exit meets the handle: 0, a parker that joins, or one of the words in join.cpp.
  std::atomic<std::uintptr_t> life{0};
  void* error = nullptr;  // an exception on its way from the goroutine to join(); module go's

  relaxed<std::uint64_t> id{0};
  relaxed<std::uint64_t> parent_id{0};
  relaxed<const void*> created_at{nullptr};  // return address of the go()
  stack::stack_span stack;
  std::uint32_t registry_slot = 0;
  bool cacheable = false;  // its stack has the default size
  bool trimmed = false;    // its stack holds no more than this page
  short_name name;
  void* labels = nullptr;                          // module go's
  std::atomic<inbox*> mail{nullptr};               // raise.hpp
  std::atomic<std::uint64_t> deferred_signals{0};  // bit n-1: signal n waits in there; for dumps
  sigsafe::fault_slot faults;
};

/// A list of Gs through `next`, first in first out.
class g_list {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  int size() const noexcept { return size_; }
  void push(g* gp) noexcept {
    gp->next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = gp;
    last_ = gp;
    ++size_;
  }
  g* pop() noexcept {
    g* const gp = first_;
    if (gp == nullptr) return nullptr;
    first_ = gp->next;
    if (first_ == nullptr) last_ = nullptr;
    gp->next = nullptr;
    --size_;
    return gp;
  }

 private:
  g* first_ = nullptr;
  g* last_ = nullptr;
  int size_ = 0;
};

}  // namespace sigrun::sched
