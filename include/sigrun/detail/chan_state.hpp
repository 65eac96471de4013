// SPDX-License-Identifier: Apache-2.0
//
// The typed part of a channel: its ring of values, and the operations in two layers. The primitives
// ask for the lock to be held (std::lock_guard guard(state.lock())) and never block; a feeder of
// channels builds its own policies from them. send() and receive() are the whole operations.
//
// T is moved under the channel's lock: its move constructor must not use the same channel.
#pragma once

#include <sigrun/detail/chan_core.hpp>
#include <sigrun/detail/held_locks.hpp>

#include <bit>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace sigrun::detail {

/// Declared around code of T's that runs under the channel's lock; nothing where there is none.
template <class T>
struct runs_code_of {
  struct nothing {};
  static constexpr bool none = std::is_trivially_copyable_v<T>;
  [[no_unique_address]] std::conditional_t<none, nothing, runtime_lock_held> mark;
};

/// A first-in first-out ring whose room is a power of two and doubles on request.
template <class T>
class chan_ring {
 public:
  explicit chan_ring(std::size_t room) {
    if (room > max_room) {
      throw std::length_error("sigrun::chan: capacity " + std::to_string(room) + " is too large");
    }
    if (room == 0) return;
    room_ = std::bit_ceil(room);
    values_ = static_cast<T*>(::operator new (room_ * sizeof(T), std::align_val_t{alignof(T)}));
  }
  chan_ring(const chan_ring&) = delete;
  chan_ring& operator=(const chan_ring&) = delete;
  ~chan_ring() {
    while (size_ != 0) pop();
    ::operator delete (values_, std::align_val_t{alignof(T)});
  }

  std::size_t size() const noexcept { return size_; }
  std::size_t room() const noexcept { return room_; }
  /// i counts from the oldest.
  T& operator[](std::size_t i) noexcept { return values_[(head_ + i) & (room_ - 1)]; }
  T& front() noexcept { return values_[head_]; }

  template <class U>
  void push(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>) {
    [[maybe_unused]] const runs_code_of<T> mark;
    std::construct_at(&(*this)[size_], std::forward<U>(value));
    ++size_;
  }
  void pop() noexcept {
    [[maybe_unused]] const runs_code_of<T> mark;
    std::destroy_at(&front());
    head_ = (head_ + 1) & (room_ - 1);
    --size_;
  }
  /// Doubles the room; false when there is no memory for it.
  bool grow() noexcept {
    const std::size_t room = room_ == 0 ? 8 : room_ * 2;
    if (room > max_room) return false;
    void* const memory =
        ::operator new (room * sizeof(T), std::align_val_t{alignof(T)}, std::nothrow);
    if (memory == nullptr) return false;
    T* const values = static_cast<T*>(memory);
    [[maybe_unused]] const runs_code_of<T> mark;
    for (std::size_t i = 0; i < size_; ++i) {
      std::construct_at(values + i, std::move((*this)[i]));
      std::destroy_at(&(*this)[i]);
    }
    ::operator delete (values_, std::align_val_t{alignof(T)});
    values_ = values;
    room_ = room;
    head_ = 0;
    return true;
  }

 private:
  static constexpr std::size_t max_room = (PTRDIFF_MAX / sizeof(T) + 1) / 2;

  T* values_ = nullptr;
  std::size_t room_ = 0;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

template <class T>
class chan_state final : public chan_core {
 public:
  explicit chan_state(std::size_t capacity) : chan_core(capacity), ring_(capacity) {}

  // ------------------------------------------------------------- primitives, with the lock held

  /// Gives `value` to the receiver that has waited longest. False: nobody waits. Receivers wait
  /// only on an empty buffer, so this never overtakes. `wakes` outlives the guard of the lock.
  template <class U>
  bool hand_to_receiver(U&& value, chan_wakes& wakes) {
    chan_waiter* const waiter = receivers_.claim_first();
    if (waiter == nullptr) return false;
    [[maybe_unused]] const runs_code_of<T> mark;
    static_cast<std::optional<T>*>(waiter->slot)->emplace(std::forward<U>(value));
    wakes.add(*waiter, chan_status::ok);
    return true;
  }
  /// Appends to the buffer; false when it holds capacity() values already.
  template <class U>
  bool push_back(U&& value) {
    if (ring_.size() >= capacity_) return false;
    push(std::forward<U>(value));
    update_fd(true);
    return true;
  }
  /// Appends beyond the capacity, up to `max` values. False: they are there, or no memory.
  template <class U>
  bool push_back_growing(U&& value, std::size_t max) {
    if (ring_.size() >= max) return false;
    if (ring_.size() == ring_.room() && !ring_.grow()) return false;
    push(std::forward<U>(value));
    update_fd(true);
    return true;
  }
  /// The youngest buffered value for which `matches(const T&)`; nullptr for none. The pointer is
  /// good while the lock is held and nothing is pushed or popped.
  template <class Predicate>
  T* newest_matching(Predicate matches) {
    for (std::size_t i = ring_.size(); i-- != 0;) {
      if (matches(std::as_const(ring_[i]))) return &ring_[i];
    }
    return nullptr;
  }
  /// Takes the oldest buffered value. Senders that wait for room go on waiting, so whoever calls
  /// this must push a value in its place.
  bool pop_front(T& out) {
    if (ring_.size() == 0) return false;
    [[maybe_unused]] const runs_code_of<T> mark;
    out = std::move(ring_.front());
    pop();
    update_fd(readable());
    return true;
  }
  std::size_t size_locked() const noexcept { return ring_.size(); }
  /// Moves `value` on if that needs no wait. ok; closed; or timeout, and `value` is untouched.
  chan_status send_now(T& value, chan_wakes& wakes) {
    if (closed()) return chan_status::closed;
    if (hand_to_receiver(std::move(value), wakes)) return chan_status::ok;
    return push_back(std::move(value)) ? chan_status::ok : chan_status::timeout;
  }
  /// Fills `out`, which must be empty, if that needs no wait. ok; closed, and drained; or timeout.
  chan_status receive_now(std::optional<T>& out, chan_wakes& wakes) {
    if (take(out, wakes)) return chan_status::ok;
    return closed() ? chan_status::closed : chan_status::timeout;
  }

  // ------------------------------------------------------------------------------- operations

  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t size() const noexcept { return buffered(); }

  /// Moves `value` into the channel; it is untouched unless the result is ok.
  chan_status send(T& value, std::int64_t deadline_ns) {
    lock().lock();
    if (receivers_.empty() && ring_.size() < capacity_ && nobody_watches() && !closed()) {
      push(std::move(value));
      lock().unlock();
      return chan_status::ok;
    }
    return send_and_unlock(value, deadline_ns);
  }

  /// Fills `out`, which must be empty, when the result is ok.
  chan_status receive(std::optional<T>& out, std::int64_t deadline_ns) {
    lock().lock();
    if (ring_.size() != 0 && senders_.empty() && nobody_watches()) {
      emplace(out, std::move(ring_.front()));
      pop();
      lock().unlock();
      return chan_status::ok;
    }
    return receive_and_unlock(out, deadline_ns);
  }

 private:
  [[gnu::noinline]] chan_status send_and_unlock(T& value, std::int64_t deadline_ns) {
    {
      chan_wakes wakes;  // wakes after the unlock
      std::unique_lock guard(lock(), std::adopt_lock);
      const chan_status now = send_now(value, wakes);
      if (now != chan_status::timeout || deadline_ns == do_not_wait) return now;
      guard.release();
    }
    chan_waiter waiter;
    waiter.slot = std::addressof(value);
    return wait_and_unlock(waiter, senders_, deadline_ns);
  }

  [[gnu::noinline]] chan_status receive_and_unlock(std::optional<T>& out,
                                                   std::int64_t deadline_ns) {
    for (bool polled = false;; polled = true) {
      {
        chan_wakes wakes;
        std::unique_lock guard(lock(), std::adopt_lock);
        if (polled) --held_;
        if (take(out, wakes)) return chan_status::ok;
        if (polled) update_fd(readable());
        if (closed()) return chan_status::closed;
        if (polled || !wants_poll()) {
          if (deadline_ns == do_not_wait) return chan_status::timeout;
          guard.release();
          break;
        }
        ++held_;
      }
      poll_hook();
      lock().lock();
    }
    chan_waiter waiter;
    waiter.slot = &out;
    return wait_and_unlock(waiter, receivers_, deadline_ns);
  }

  static void emplace(std::optional<T>& out, T&& value) {
    [[maybe_unused]] const runs_code_of<T> mark;
    out.emplace(std::move(value));
  }
  template <class U>
  void push(U&& value) {
    ring_.push(std::forward<U>(value));
    set_buffered(ring_.size());
  }
  void pop() noexcept {
    ring_.pop();
    set_buffered(ring_.size());
  }

  /// With the lock held: one value for a receiver, and room for the sender that waits longest.
  bool take(std::optional<T>& out, chan_wakes& wakes) {
    if (ring_.size() == 0) {
      if (senders_.empty()) return false;
      chan_waiter* const sender = senders_.claim_first();
      if (sender != nullptr) {
        emplace(out, std::move(*static_cast<T*>(sender->slot)));
        wakes.add(*sender, chan_status::ok);
      }
      update_fd(readable());
      return sender != nullptr;
    }
    emplace(out, std::move(ring_.front()));
    pop();
    while (ring_.size() < capacity_) {
      chan_waiter* const sender = senders_.claim_first();
      if (sender == nullptr) break;
      push(std::move(*static_cast<T*>(sender->slot)));
      wakes.add(*sender, chan_status::ok);
    }
    update_fd(readable());
    return true;
  }

  chan_ring<T> ring_;
};

}  // namespace sigrun::detail
