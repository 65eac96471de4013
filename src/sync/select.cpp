// SPDX-License-Identifier: Apache-2.0
#include <sigrun/select.hpp>

#include "sched/park.hpp"
#include "sched/raise.hpp"
#include "sys/clock.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace sigrun::detail {

/// One call of select_on(). Numbers in brackets are the invariants of the header.
class select_wait {
 public:
  select_wait(std::span<select_case* const> cases, select_room* rooms, chan_core** order) noexcept
      : cases_(cases), rooms_(rooms), order_(order) {}

  /// (1): does one case that is ready now. select_none: none was.
  int look() {
    return pick([](select_case& one) {
      chan_wakes wakes;  // wakes after the unlock
      const std::lock_guard guard(one.channel->lock());
      one.status = one.attempt(one, wakes);
      return one.status != chan_status::timeout;
    });
  }

  /// Feeders of channels are asked, once each, whether they have something.
  void poll_hooks() const;

  int block(std::int64_t deadline_ns);

 private:
  template <class Attempt>
  int pick(Attempt attempt);
  void lock_all() noexcept;
  void unlock_all() noexcept;
  void queue(sched::parker& parker) noexcept;
  int unqueue() noexcept;
  chan_hook* hook() const noexcept;
  bool sleep(sched::parker& parker, std::int64_t deadline_ns) const;

  static chan_waiters& list_of(const select_case& one) noexcept {
    return one.sends ? one.channel->senders_ : one.channel->receivers_;
  }

  std::span<select_case* const> cases_;
  select_room* rooms_;
  chan_core** order_;
  std::size_t channels_ = 0;  // locked ones, in order_
  std::atomic<std::uint32_t> claim_{0};
};

// Tries the cases that look ready, in random order, until one is done.
template <class Attempt>
int select_wait::pick(Attempt attempt) {
  std::uint32_t ready = 0;
  chan_core* dice = nullptr;
  for (select_case* one : cases_) {
    one->ready = one->looks_ready();
    if (!one->ready) continue;
    ++ready;
    dice = one->channel;
  }
  for (; ready != 0; --ready) {
    std::uint32_t skip = ready == 1 ? 0 : dice->random_below(ready);
    std::size_t chosen = 0;
    while (!cases_[chosen]->ready || skip-- != 0) ++chosen;
    if (attempt(*cases_[chosen])) return static_cast<int>(chosen);
    cases_[chosen]->ready = false;
  }
  return select_none;
}

void select_wait::poll_hooks() const {
  const chan_hook* asked = nullptr;
  for (const select_case* one : cases_) {
    if (one->channel == nullptr || one->sends || !one->channel->wants_poll()) continue;
    const chan_hook* const hook = one->channel->hook();
    if (hook == asked) continue;
    asked = hook;
    one->channel->poll_hook();
  }
}

// (2): each channel once, in the order of the addresses.
void select_wait::lock_all() noexcept {
  chan_core** last = order_;
  for (const select_case* one : cases_) {
    if (one->channel != nullptr) *last++ = one->channel;
  }
  std::sort(order_, last, std::less<>());
  last = std::unique(order_, last);
  channels_ = static_cast<std::size_t>(last - order_);
  for (chan_core* channel : std::span(order_, channels_)) channel->lock().lock();
}

void select_wait::unlock_all() noexcept {
  for (std::size_t i = channels_; i-- != 0;) order_[i]->lock().unlock();
}

int select_wait::block(std::int64_t deadline_ns) {
  sched::parker parker(sched::wait_reason::select, this);
  {
    chan_wakes wakes;  // wakes after the unlock
    lock_all();
    const int done = pick([&wakes](select_case& one) {
      one.status = one.attempt(one, wakes);
      return one.status != chan_status::timeout;
    });
    const bool queues = done == select_none && deadline_ns != do_not_wait;
    if (queues) queue(parker);
    // (6)
    const auto unlock = [](void* self) noexcept { static_cast<select_wait*>(self)->unlock_all(); };
    if (queues && deadline_ns == wait_for_ever && hook() == nullptr &&
        parker.park_holding(unlock, this)) {
      return unqueue();
    }
    unlock_all();
    if (!queues) return done;
  }
  if (!sleep(parker, deadline_ns)) {
    std::uint32_t unclaimed = 0;
    if (!claim_.compare_exchange_strong(unclaimed, 1)) {
      parker.park_until(sys::never);  // (5): a waker was faster, and is about to unpark
    }
  }
  const int won = unqueue();
  if (won == select_none) sched::raised_point();
  return won;
}

// Of two cases of one channel the waker takes the one that was linked first: which that is, is left
// to chance.
void select_wait::queue(sched::parker& parker) noexcept {
  const std::size_t n = cases_.size();
  const auto with_channel = [](const select_case* one) { return one->channel != nullptr; };
  const bool twice =
      static_cast<std::size_t>(std::ranges::count_if(cases_, with_channel)) > channels_;
  std::size_t i = twice ? order_[0]->random_below(static_cast<std::uint32_t>(n)) : 0;
  for (std::size_t left = n; left != 0; --left, i = i + 1 == n ? 0 : i + 1) {
    const select_case& one = *cases_[i];
    if (one.channel == nullptr) continue;
    chan_waiter& waiter = *std::construct_at(&rooms_[i].waiter);
    waiter.slot = one.slot;
    waiter.parker = &parker;
    waiter.claim = &claim_;
    list_of(one).push_back(waiter);
    one.channel->update_fd();
  }
}

// A feeder's way of waiting serves all channels: it ends when the parker is notified.
chan_hook* select_wait::hook() const noexcept {
  for (const select_case* one : cases_) {
    if (one->channel == nullptr || one->sends) continue;
    if (chan_hook* const hook = one->channel->hook()) return hook;
  }
  return nullptr;
}

bool select_wait::sleep(sched::parker& parker, std::int64_t deadline_ns) const {
  chan_hook* const feeder = hook();
  return feeder != nullptr ? feeder->wait(&parker, deadline_ns) : parker.wait_until(deadline_ns);
}

int select_wait::unqueue() noexcept {
  int won = select_none;
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    select_case& one = *cases_[i];
    if (one.channel == nullptr) continue;
    chan_waiter& waiter = rooms_[i].waiter;
    // Only the waker that has the claim writes a result, after it has unlinked the waiter and
    // before the unpark; any other leaves the result alone.
    if (waiter.result != chan_status::timeout) {
      won = static_cast<int>(i);
      one.status = waiter.result;
      continue;
    }
    const std::lock_guard guard(one.channel->lock());
    if (!waiter.linked) continue;
    list_of(one).unlink(waiter);
    one.channel->update_fd();
  }
  return won;
}

int select_on(std::span<select_case* const> cases, select_room* rooms, chan_core** order,
              std::int64_t deadline_ns) {
  select_wait wait(cases, rooms, order);
  const int done = wait.look();
  if (done != select_none) return done;
  wait.poll_hooks();
  return wait.block(deadline_ns);
}

}  // namespace sigrun::detail

namespace sigrun {

int selector::add(std::unique_ptr<detail::owned_case> one) {
  const std::size_t n = cases_.size() + 1;
  list_.reserve(n);
  order_.reserve(n);
  if (rooms_made_ < n) {
    const std::size_t wanted = std::max<std::size_t>(8, rooms_made_ * 2);
    rooms_ = std::make_unique_for_overwrite<detail::select_room[]>(wanted);
    rooms_made_ = wanted;
  }
  cases_.push_back(std::move(one));
  list_.push_back(nullptr);
  order_.push_back(nullptr);
  ++size_;
  return static_cast<int>(n - 1);
}

void selector::remove(int index) {
  if (index < 0 || static_cast<std::size_t>(index) >= cases_.size()) {
    throw std::out_of_range("sigrun::selector::remove: there is no case " + std::to_string(index));
  }
  auto& one = cases_[static_cast<std::size_t>(index)];
  if (one != nullptr) --size_;
  one.reset();
}

int selector::run(std::int64_t deadline_ns) {
  detail::select_case removed;  // as an empty handle
  *status_ = chan_status::timeout;
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    list_[i] = cases_[i] != nullptr ? cases_[i]->begin() : &removed;
  }
  const int won = detail::select_on(list_, rooms_.get(), order_.data(), deadline_ns);
  if (won != detail::select_none) cases_[static_cast<std::size_t>(won)]->finish();
  return won;
}

}  // namespace sigrun
