// SPDX-License-Identifier: Apache-2.0
//
// Timers and tickers on the scheduler's timers.
//
//            arm                     the scheduler pops it            fire, under the lock
//   idle ───────────▶ armed, queued ───────────────────────▶ armed, popped ─────────▶ idle
//    ▲                     │                                      │        (a ticker: armed again)
//    └───── disarm ────────┴────── disarm: one more stale call ───┘
//
//   (1) lock_ guards every member without a comment of its own. It is taken before a channel's lock
//       and before the scheduler's, and is never held while somebody is woken or a goroutine made.
//   (2) A call of fire() that was popped before disarm() got the lock is stale: it comes, and does
//       nothing. stale_ counts those that are still to come; so a timer may be armed again before.
//   (3) Whoever can still come has a reference: the handle, and each arm() until disarm() takes it
//       back or its fire() ends.
//   (4) A value is put into the channel, and taken back, under lock_: so after disarm() there is
//       none, and none comes. A receiver that was given its value before is not stopped.
//   (5) Who has all the references changes their number by a plain store: nobody else can come by
//       one. The handle's share is used by one caller at a time, who has the lock or is the last.
#include <sigrun/time.hpp>

#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/raise.hpp"
#include "sched/sched.hpp"
#include "sys/clock.hpp"

#include <atomic>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

namespace sigrun::detail {
namespace {

// How long until a goroutine that could not be made is tried again.
constexpr std::int64_t retry_ns = 10'000'000;

std::int64_t deadline_after(std::int64_t now, std::int64_t wait) noexcept {
  if (wait <= 0) return now;
  return wait > sys::never - now ? sys::never : now + wait;
}

std::chrono::steady_clock::time_point as_time_point(std::int64_t ns) noexcept {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

void start_scheduler() {
  const long result = sched::start();
  if (result < 0) {
    throw std::system_error(static_cast<int>(-result), std::system_category(),
                            "sigrun: starting the scheduler for a timer");
  }
}

}  // namespace

// ------------------------------------------------------------------------------------ timer_state

class alignas(__STDCPP_DEFAULT_NEW_ALIGNMENT__) timer_state final : private sched::sched_timer {
 public:
  /// One block of memory, with `room` bytes behind the state for its task.
  static timer_state* make(std::size_t room) {
    return ::new (::operator new(sizeof(timer_state) + room)) timer_state;
  }
  void* room() noexcept { return this + 1; }

  timer_state(const timer_state&) = delete;
  timer_state& operator=(const timer_state&) = delete;

  /// Before it is armed: what is to be done. Takes a share in the channel's memory, not a handle,
  /// so it keeps no receiver waiting.
  void send_on(chan_state<std::chrono::steady_clock::time_point>* channel,
               std::int64_t period_ns) noexcept {
    channel_ = channel;
    channel_->add_memory();
    period_ns_ = period_ns;
  }
  void run(timer_task* task) noexcept { task_ = task; }

  void arm_in(std::int64_t wait_ns) noexcept {
    const std::lock_guard guard(lock_);
    arm(deadline_after(sched::now_ns(), wait_ns));
  }
  bool stop() noexcept {
    const std::lock_guard guard(lock_);
    return disarm();
  }
  bool reset(std::int64_t wait_ns, std::int64_t period_ns) noexcept {
    const std::lock_guard guard(lock_);
    const bool prevented = disarm();
    period_ns_ = period_ns;
    arm(deadline_after(sched::now_ns(), wait_ns));
    return prevented;
  }
  void add_reference() noexcept {
    // (5); the acquires pair with the releases in drop_reference().
    if (references_.load(std::memory_order_acquire) == 1) {
      references_.store(2, std::memory_order_relaxed);
    } else {
      references_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  void drop_reference() noexcept {
    // acq_rel: the last one sees what all others did.
    if (references_.load(std::memory_order_acquire) != 1 &&
        references_.fetch_sub(1, std::memory_order_acq_rel) != 1) {
      return;
    }
    this->~timer_state();
    ::operator delete(static_cast<void*>(this));
  }
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  timer_state() noexcept {
    fire = [](sched::sched_timer& self) noexcept { static_cast<timer_state&>(self).on_time(); };
  }
  ~timer_state() {
    if (task_ != nullptr) task_->~timer_task();
    if (channel_ != nullptr) channel_->drop_memory();
  }

  void arm(std::int64_t when_ns) noexcept {
    armed_ = true;
    due_ns_ = when_ns;
    add_reference();
    sched::timer_start(*this, when_ns);
  }

  /// The caller has another one.
  void give_back_reference() noexcept {
    if (references_.load(std::memory_order_acquire) == 2) {
      references_.store(1, std::memory_order_relaxed);  // (5)
    } else {
      references_.fetch_sub(1, std::memory_order_relaxed);
    }
  }

  bool disarm() noexcept {
    bool prevented = armed_;
    if (armed_) {
      armed_ = false;
      if (sched::timer_stop(*this)) {
        give_back_reference();
      } else {
        ++stale_;  // (2)
      }
    }
    if (channel_ != nullptr) {
      const std::lock_guard guard(channel_->lock());
      std::chrono::steady_clock::time_point taken_back;
      while (channel_->pop_front(taken_back)) prevented = true;
    }
    return prevented;
  }

  /// Called by the scheduler, once for each arm() that was not taken back.
  void on_time() noexcept {
    if (!send_or_rearm() && task_ != nullptr) start_task();
    drop_reference();
  }

  /// What is done under the lock. False: the task is due.
  bool send_or_rearm() noexcept {
    chan_wakes wakes;  // (1): after the unlock
    const std::lock_guard guard(lock_);
    if (stale_ != 0) {
      --stale_;
      return true;
    }
    armed_ = false;
    const std::int64_t due = due_ns_;
    if (task_ != nullptr) return false;
    if (!send(as_time_point(due), wakes)) return true;
    if (period_ns_ != 0) {
      // The next multiple of the period that is still to come; those that are over are dropped.
      const std::int64_t over = (sched::now_ns() - due) / period_ns_;
      if (over > 0) count_dropped(static_cast<std::uint64_t>(over));
      arm(deadline_after(due + over * period_ns_, period_ns_));
    }
    return true;
  }

  /// False: the channel is closed.
  bool send(std::chrono::steady_clock::time_point due, chan_wakes& wakes) noexcept {
    const std::lock_guard guard(channel_->lock());
    if (channel_->closed()) return false;
    if (!channel_->hand_to_receiver(due, wakes) && !channel_->push_back(due)) count_dropped(1);
    return true;
  }

  void start_task() noexcept {
    try {
      task_->start(*this);
    } catch (...) {
      const std::lock_guard guard(lock_);
      if (!armed_) arm(deadline_after(sched::now_ns(), retry_ns));
    }
  }

  void count_dropped(std::uint64_t ticks) noexcept {
    dropped_.fetch_add(ticks, std::memory_order_relaxed);
  }

  chan_core::mutex lock_;
  bool armed_ = false;
  std::uint32_t stale_ = 0;  // (2)
  std::int64_t due_ns_ = 0;
  chan_state<std::chrono::steady_clock::time_point>* channel_ = nullptr;
  timer_task* task_ = nullptr;                // in room()
  std::int64_t period_ns_ = 0;                // 0: once
  std::atomic<std::uint64_t> dropped_{0};     // no lock
  std::atomic<std::uint32_t> references_{1};  // no lock; (3)
};

// ----------------------------------------------------------------------------------- timer_handle

timer_handle::timer_handle(std::size_t task_size) {
  start_scheduler();
  state_ = timer_state::make(task_size);
}

timer_handle timer_handle::sending(std::int64_t wait_ns, std::int64_t period_ns) {
  timer_handle handle(0);
  handle.channel_ = timer_channel(1);
  handle.periodic_ = period_ns != 0;
  handle.state_->send_on(chan_access::state(handle.channel_), period_ns);
  handle.state_->arm_in(wait_ns);
  return handle;
}

void* timer_handle::room() const noexcept { return state_->room(); }

void timer_handle::arm(timer_task* task, std::int64_t wait_ns) noexcept {
  state_->run(task);
  state_->arm_in(wait_ns);
}

void timer_handle::drop() noexcept {
  bool unseen = false;  // an armed after_func() goes off without the handle
  if (channel_) {
    auto* const channel = chan_access::state(channel_);
    channel->add_memory();
    if (periodic_) channel->close();
    channel_ = {};
    unseen = channel->closed();  // this was the last handle
    channel->drop_memory();
  }
  if (unseen) state_->stop();
  state_->drop_reference();
}

timer_state& timer_handle::need(const char* what) const {
  if (state_ == nullptr) throw std::logic_error(std::string(what) + " on an empty handle");
  return *state_;
}

bool timer_handle::stop(const char* what) { return need(what).stop(); }

bool timer_handle::reset(const char* what, std::int64_t wait_ns, std::int64_t period_ns) {
  return need(what).reset(wait_ns, period_ns);
}

std::uint64_t timer_handle::dropped() const noexcept {
  return state_ == nullptr ? 0 : state_->dropped();
}

timer_share::timer_share(timer_state& state) noexcept : state_(&state) { state.add_reference(); }

void timer_share::drop() noexcept { state_->drop_reference(); }

// ----------------------------------------------------------------------------------------- others

std::int64_t ticker_period(std::int64_t period_ns) {
  if (period_ns > 0) return period_ns;
  throw std::invalid_argument("sigrun::ticker: a period of " + std::to_string(period_ns) + " ns");
}

void sleep_until_ns(std::int64_t deadline_ns) {
  sched::parker parker(sched::wait_reason::sleep);
  parker.wait_until(deadline_ns);
  sched::raised_point();
}

void sleep_ns(std::int64_t wait_ns) {
  if (wait_ns <= 0) {
    sched::preempt_point();
    return;
  }
  sleep_until_ns(deadline_after(sched::now_ns(), wait_ns));
}

}  // namespace sigrun::detail
