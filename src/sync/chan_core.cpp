// SPDX-License-Identifier: Apache-2.0
#include <sigrun/detail/chan_core.hpp>

#include "base/expect.hpp"
#include "sched/park.hpp"
#include "sched/raise.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"
#include "sys/futex.hpp"
#include "sys/lock.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <system_error>

namespace sigrun::detail {
namespace {

static_assert(wait_for_ever == sys::never);

void unlock_channel(void* lock) noexcept { static_cast<chan_core::mutex*>(lock)->unlock(); }

}  // namespace

// ------------------------------------------------------------------------------------- the lock

// The public header has sys::quick_lock's fast half, this is the slow one.
void chan_core::mutex::lock_slowly() noexcept { sys::lock_quick_slowly(word_, sleepers_); }

void chan_core::mutex::wake_one() noexcept { sys::futex_wake(word_, 1); }

// ---------------------------------------------------------------------------------- the waiters

void chan_waiters::unlink(chan_waiter& waiter) noexcept {
  base::expect(waiter.linked, "chan: a waiter unlinked twice");
  waiter.linked = false;
  if (waiter.prev == nullptr) {
    first_.store(waiter.next, std::memory_order_relaxed);
  } else {
    waiter.prev->next = waiter.next;
  }
  (waiter.next == nullptr ? last_ : waiter.next->prev) = waiter.prev;
}

chan_waiter* chan_waiters::claim_first_there() noexcept {
  while (chan_waiter* const first = first_.load(std::memory_order_relaxed)) {
    chan_waiter& waiter = *first;
    take_first(waiter);
    if (waiter.claim == nullptr) return &waiter;
    std::uint32_t unclaimed = 0;
    if (waiter.claim->compare_exchange_strong(unclaimed, 1)) return &waiter;
    // (4): another channel, or the owner's time-out, was first. The owner finds it unlinked.
  }
  return nullptr;
}

void chan_wakes::wake_all() noexcept {
  for (chan_waiter* waiter = first_; waiter != nullptr;) {
    auto* const parker = static_cast<sched::parker*>(waiter->parker);
    waiter = waiter->next;  // before the unpark, after which the waiter may be gone
    parker->unpark();
  }
  first_ = nullptr;
  last_ = nullptr;
}

chan_status chan_core::wait_and_unlock(chan_waiter& waiter, chan_waiters& list,
                                       std::int64_t deadline_ns) {
  sched::parker parker(
      &list == &receivers_ ? sched::wait_reason::chan_receive : sched::wait_reason::chan_send,
      this);
  waiter.parker = &parker;
  list.push_back(waiter);
  update_fd();
  chan_hook* hook = &list == &receivers_ ? hook_.load(std::memory_order_acquire) : nullptr;
  if (hook == nullptr && deadline_ns == sys::never &&
      parker.park_holding(&unlock_channel, &mutex_)) {
    return waiter.result;
  }
  mutex_.unlock();

  const bool woken =
      hook != nullptr ? hook->wait(&parker, deadline_ns) : parker.wait_until(deadline_ns);
  if (woken) return waiter.result;

  bool given_up = false;
  {
    const std::lock_guard guard(mutex_);
    given_up = waiter.linked;
    if (given_up) {
      list.unlink(waiter);
      update_fd();
    }
  }
  if (given_up) {
    sched::raised_point();
    return chan_status::timeout;
  }
  parker.park_until(sys::never);  // (3)
  return waiter.result;
}

// -------------------------------------------------------------------------- life time and close

namespace {

constinit std::atomic<std::uint64_t> channels_made{0};

}  // namespace

// Every channel's random numbers start somewhere else.
chan_core::chan_core(std::size_t capacity) noexcept
    : capacity_(capacity),
      random_(golden_gamma * golden_gamma * channels_made.fetch_add(1, std::memory_order_relaxed)) {
}

chan_core::~chan_core() {
  if (poll_fd_ >= 0) sys::close(poll_fd_);
  if (fd_ >= 0) sys::close(fd_);
}

void chan_core::drop_memory() noexcept {
  // acq_rel: the last one sees what all others did to the channel.
  if (memory_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void chan_core::drop_handle() noexcept {
  if (handles_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  close();
  drop_memory();
}

bool chan_core::set_hook(chan_hook* hook) noexcept {
  const std::lock_guard guard(mutex_);
  if (closing_ && hook != nullptr) return false;
  if (hook == nullptr) detach_direct();
  hook_.store(hook, std::memory_order_release);
  return true;
}

void chan_core::poll_hook() {
  if (chan_hook* const hook = hook_.load(std::memory_order_acquire)) hook->poll();
}

bool chan_core::close() noexcept {
  chan_hook* hook = nullptr;
  {
    const std::lock_guard guard(mutex_);
    if (closing_) return false;
    closing_ = true;  // from here on set_hook refuses, so this hook is the one to be told
    hook = hook_.load(std::memory_order_acquire);
  }
  if (hook != nullptr) hook->closing(*this);

  chan_wakes wakes;
  const std::lock_guard guard(mutex_);
  closed_.store(true, std::memory_order_release);
  while (chan_waiter* waiter = receivers_.claim_first()) wakes.add(*waiter, chan_status::closed);
  while (chan_waiter* waiter = senders_.claim_first()) wakes.add(*waiter, chan_status::closed);
  update_fd(true);
  return true;
}

// ----------------------------------------------------------------------------- the descriptor

int chan_core::fd() {
  chan_hook* const hook = hook_.load(std::memory_order_acquire);
  const int direct = hook != nullptr ? hook->direct_fd(*this) : -1;
  const std::lock_guard guard(mutex_);
  if (fd_ < 0) {
    const long made = sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (sys::failed(made)) {
      throw std::system_error(static_cast<int>(-made), std::system_category(),
                              "sigrun::chan::fd: eventfd");
    }
    fd_ = static_cast<int>(made);
    update_fd(readable());
  }
  if (direct < 0 || poll_fd_ >= 0) return poll_fd_ >= 0 ? poll_fd_ : fd_;
  const long made = sys::call(SYS_epoll_create1, EPOLL_CLOEXEC);
  if (sys::failed(made)) {
    throw std::system_error(static_cast<int>(-made), std::system_category(),
                            "sigrun::chan::fd: epoll_create1");
  }
  poll_fd_ = static_cast<int>(made);
  epoll_event readable_event{};
  readable_event.events = EPOLLIN;
  sys::call(SYS_epoll_ctl, poll_fd_, EPOLL_CTL_ADD, fd_, &readable_event);
  attach_direct(direct);
  return poll_fd_;
}

void chan_core::attach_direct(int direct) noexcept {
  if (poll_fd_ < 0 || direct < 0 || direct_ >= 0) return;
  epoll_event readable_event{};
  readable_event.events = EPOLLIN;
  if (sys::failed(sys::call(SYS_epoll_ctl, poll_fd_, EPOLL_CTL_ADD, direct, &readable_event))) {
    return;  // slower, by way of the eventfd
  }
  direct_ = direct;
  set_polling(true);
}

void chan_core::detach_direct() noexcept {
  if (direct_ < 0) return;
  set_polling(false);
  sys::call(SYS_epoll_ctl, poll_fd_, EPOLL_CTL_DEL, direct_, nullptr);
  direct_ = -1;
}

void chan_core::write_fd(bool readable) noexcept {
  // The count is 0 or 1, so neither call can block; only these two lines move it.
  std::uint64_t count = 1;
  if (readable) {
    sys::write(fd_, &count, sizeof count);
  } else {
    sys::read(fd_, &count, sizeof count);
  }
  fd_readable_ = readable;
}

}  // namespace sigrun::detail
