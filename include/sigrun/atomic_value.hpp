// SPDX-License-Identifier: Apache-2.0
//
// One value of any type that many read and few replace: a configuration, a routing table, a
// certificate. After Go's atomic.Value, with the old versions given back as soon as nobody reads
// them.
//
//   sigrun::atomic_value<config> current(load_config());
//   const auto now = current.load();     // this version stays as it is while `now` lives
//   serve(now->port);
//   current.store(load_config());        // elsewhere, at any time
//
// Readers take no lock, wait for nobody and write nothing that another reader reads, so they do not
// slow each other down. A store costs some microseconds: it interrupts the process's running
// threads once (membarrier(2)) and looks at every snapshot there is.
//
// Memory: the current version, and each older one that a snapshot still holds; nothing else. The
// last of its snapshots destroys an old version, on the thread that drops it; without snapshots
// the store does. What marks the snapshots takes 128 bytes per thread that reads and 7 snapshots
// at once, and is used again, never given back.
//
// Threads: every operation may be called from any goroutine and any thread at any time; none in a
// signal handler. A snapshot may be kept across waits and given to other threads. In a child made
// by fork, versions that the parent's other threads were reading are never destroyed.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace sigrun {
namespace detail {

/// What every version begins with.
struct value_version {
  void (*destroy)(value_version*) noexcept;
  // Of a retired one, under the lock in atomic_value.cpp.
  value_version* next = nullptr;
  bool named = false;
};

/// Where a reader says which version it reads; see src/sync/atomic_value.cpp.
struct value_slot {
  std::atomic<const value_version*> version{nullptr};
  std::atomic<std::uint32_t> flags{0};
};
struct value_read {
  const value_version* version;
  value_slot* slot;
};

/// Notes what `current` holds in a slot of the calling thread. {nullptr, nullptr} when it is empty.
value_read value_enter(const std::atomic<value_version*>& current);
/// A slot of the calling thread that names `version`, and has it name another one, which cannot be
/// destroyed before. The first may throw std::bad_alloc.
value_slot* value_claim(const value_version* version);
void value_hold(value_slot* slot, const value_version* version) noexcept;
/// For a version that cannot be loaded any more: destroys it when nobody reads it.
void value_retire(value_version* version) noexcept;
void value_left(value_slot* slot) noexcept;

inline void value_leave(value_slot* slot) noexcept {
  // release pairs with the look at all slots before a version is destroyed. That the next line is
  // not done before it is the business of whoever sets flags, see src/sync/atomic_value.cpp.
  slot->version.store(nullptr, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (slot->flags.load(std::memory_order_relaxed) != 0) [[unlikely]]
    value_left(slot);
}

}  // namespace detail

/// A value that is replaced as a whole. T needs no locks of its own as long as nobody changes it
/// through pointers it holds.
template <class T>
class atomic_value {
  struct version final : detail::value_version {
    template <class... Args>
    explicit version(Args&&... args)
        : value_version{[](value_version* v) noexcept { delete static_cast<version*>(v); }},
          value(std::forward<Args>(args)...) {}
    const T value;
  };

 public:
  /// One version, held. Empty when the atomic_value was. Move-only; may outlive the atomic_value.
  class snapshot {
   public:
    snapshot() noexcept = default;
    snapshot(snapshot&& other) noexcept
        : version_(std::exchange(other.version_, nullptr)),
          slot_(std::exchange(other.slot_, nullptr)) {}
    snapshot& operator=(snapshot&& other) noexcept {
      std::swap(version_, other.version_);
      std::swap(slot_, other.slot_);
      return *this;
    }
    ~snapshot() {
      if (slot_ != nullptr) detail::value_leave(slot_);
    }

    explicit operator bool() const noexcept { return version_ != nullptr; }
    const T& operator*() const noexcept { return version_->value; }
    const T* operator->() const noexcept { return &version_->value; }
    const T* get() const noexcept { return version_ != nullptr ? &version_->value : nullptr; }
    /// Whether both are the same version; equal values in different versions are not.
    friend bool operator==(const snapshot& a, const snapshot& b) noexcept {
      return a.version_ == b.version_;
    }

   private:
    friend class atomic_value;
    snapshot(const detail::value_version* held, detail::value_slot* slot) noexcept
        : version_(static_cast<const version*>(held)), slot_(slot) {}

    const version* version_ = nullptr;
    detail::value_slot* slot_ = nullptr;
  };

  /// Empty until the first store.
  constexpr atomic_value() noexcept = default;
  explicit atomic_value(T value) : current_(new version(std::move(value))) {}
  atomic_value(const atomic_value&) = delete;
  atomic_value& operator=(const atomic_value&) = delete;
  ~atomic_value() { retire(current_.exchange(nullptr)); }

  /// The version that is current now. Throws std::bad_alloc, only when this thread needs room for
  /// more snapshots at once than ever before.
  [[nodiscard]] snapshot load() const {
    const detail::value_read read = detail::value_enter(current_);
    return snapshot(read.version, read.slot);
  }
  /// Replaces it. When T's constructor throws, or memory is short, nothing has changed.
  void store(T value) { retire(current_.exchange(new version(std::move(value)))); }
  /// The same; gives the version that was replaced.
  [[nodiscard]] snapshot swap(T value) {
    detail::value_version* const next = new version(std::move(value));
    detail::value_slot* const slot = claim(next);
    detail::value_version* const old = current_.exchange(next);
    if (old == nullptr) {
      detail::value_leave(slot);
      return snapshot();
    }
    detail::value_hold(slot, old);
    retire(old);
    return snapshot(old, slot);
  }
  /// Replaces it only if `expected` is still current; false, and `expected` is what is current,
  /// otherwise. Versions are compared, not values.
  bool compare_exchange(snapshot& expected, T value) {
    detail::value_version* seen = const_cast<version*>(expected.version_);
    if (current_.load(std::memory_order_acquire) == seen) {
      detail::value_version* const next = new version(std::move(value));
      if (current_.compare_exchange_strong(seen, next)) {
        retire(seen);
        return true;
      }
      next->destroy(next);
    }
    expected = snapshot();
    expected = load();
    return false;
  }
  /// Stores f(the current value), made anew as often as others store meanwhile. Must not be empty.
  template <class F>
  void update(F f) {
    for (snapshot before = load(); !compare_exchange(before, f(*before));) {
    }
  }

 private:
  static detail::value_slot* claim(detail::value_version* next) {
    try {
      return detail::value_claim(next);
    } catch (...) {
      next->destroy(next);
      throw;
    }
  }
  static void retire(detail::value_version* old) noexcept {
    if (old != nullptr) detail::value_retire(old);
  }

  std::atomic<detail::value_version*> current_{nullptr};
};

}  // namespace sigrun
