// SPDX-License-Identifier: Apache-2.0
//
// notify, stop, ignore, reset: every change of who gets what, under control_.
#include "signal/runtime.hpp"
#include "sys/futex.hpp"

#include <sys/signalfd.h>

#include <algorithm>

namespace sigrun::signal {
namespace {

// How many pending signals of one set a stop() takes before it lets go: more than any
// RLIMIT_SIGPENDING seen by default, and a bound for a sender that never pauses.
constexpr unsigned pending_max = 1U << 17;

}  // namespace

void runtime::notify(event_channel& channel, signal_set signals, const notify_options& options) {
  const std::lock_guard hold{control_};
  if (options.respect_inherited_ignore) {
    signals.for_each([&](int signo) {
      if (at_start_[static_cast<std::size_t>(signo)].handler == sys::handler_ignore) {
        signals -= signal_set::of(signo);
      }
    });
  }
  auto& slot = subscriptions_[&channel];
  const bool fresh = slot == nullptr;
  if (fresh) {
    slot = std::make_unique<subscription>();
    slot->channel = &channel;
    channel.add_memory();
  }
  if (fresh && !channel.set_hook(this)) {
    subscriptions_.erase(&channel);
    channel.drop_memory();
    throw std::invalid_argument("sigrun::notify: the channel is closed");
  }
  subscription& to = *slot;
  to.policies.push_back(std::make_unique<policy>(options));
  policy* by = to.policies.back().get();
  signals.for_each([&](int signo) {
    const entry_list* now = table_[static_cast<std::size_t>(signo)].load();
    auto next = std::make_unique<entry_list>(now != nullptr ? *now : entry_list{});
    // A repeated notify() brings its new options, and never leaves a moment without an entry.
    std::erase_if(*next, [&](const table_entry& entry) { return entry.to == &to; });
    next->push_back({&to, by});
    set_entries(signo, std::move(next));
  });
  to.signals |= signals;
  enable(signals, options);
  const std::lock_guard channel_hold{channel.lock()};
  channel.attach_direct(signal_fd_);
}

// Signals for which ours stays installed although nobody subscribes.
bool runtime::keeps_rule(int signo) noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  return signo == sigsafe::control_signal || (signo == SIGPIPE && in.pipe_by_fd.load()) ||
         (signo == SIGQUIT && in.quit_dumps.load()) || sigsafe::keeps_fault(signo);
}

// Opens signals on every thread that was closed for them.
void runtime::reopen(sigsafe::thread_block& self, signal_set signals) noexcept {
  open_others(signals);
  const signal_set mine = signal_set{self.closed.load()} & signals;
  self.closed.fetch_and(~mine.bits());
  sys::unblock(mine);
}

void runtime::enable(signal_set signals, const notify_options& options) {
  sigsafe::intake& in = sigsafe::the_intake();
  if (options.previous != chain::none) {
    chained_.fetch_or(signals.bits());
    auto& when = options.previous == chain::before ? in.chain_before : in.chain_after;
    when.fetch_or(signals.bits());
  }
  in.wanted.fetch_or(signals.bits());
  signals.for_each([&in](int signo) {
    sys::kernel_sigaction now;
    sys::rt_sigaction(signo, nullptr, &now);
    if (sigsafe::is_ours(now)) return;
    in.original[signo] = now;
    in.installed.fetch_or(signal_set::of(signo).bits());
    const sys::kernel_sigaction ours = sigsafe::our_action();
    sys::rt_sigaction(signo, &ours, nullptr);
  });
  sigsafe::thread_block& self = here();
  // The owner leaves its wait, and whoever waits next waits for the new set.
  duty_.own(self);
  publish_sets();
  close_scheduler();
  duty_.release(self);
  // From now on these come through handlers only, and need threads that have them open.
  if (options.previous != chain::none) reopen(self, signals);
  // The M at large, should it be this thread, has them open until it waits.
  sigsafe::the_intake().at_large_tid.load() == self.tid ? before_running(self)
                                                        : before_waiting(self);
}

void runtime::publish_sets() noexcept {
  const signal_set wanted{sigsafe::the_intake().wanted.load()};
  const bool by_handler = options_.way == way_in::handler;
  const signal_set waited =
      by_handler ? signal_set{}
                 : wanted - signal_set{chained_.load()} - fault_signals - signal_set::of(SIGPROF);
  duty_.set_wait_set(waited);
  if (signal_fd_ >= 0) {
    sys::call(SYS_signalfd4, signal_fd_, &waited, sys::sigset_bytes, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  // Each wanted signal is taken one way or the other, though every other thread may block it.
  duty_.set_handler_set(wanted - waited);
}

signal_set runtime::closable() const noexcept {
  const signal_set wanted{sigsafe::the_intake().wanted.load()};
  return wanted - never_closed - fault_signals - signal_set{chained_.load()};
}

signal_set runtime::subscribed() const noexcept {
  return signal_set{sigsafe::the_intake().wanted.load()};
}

void runtime::set_entries(int signo, std::unique_ptr<entry_list> entries) {
  auto& slot = table_[static_cast<std::size_t>(signo)];
  const entry_list* before = slot.load();
  slot.store(entries != nullptr && !entries->empty() ? entries.release() : nullptr);
  if (before == nullptr) return;
  wait_for_dispatch();
  delete before;
}

// Invariant (3). A dispatch lasts microseconds, so this hardly ever waits at all.
void runtime::wait_for_dispatch() noexcept {
  const std::uint64_t seen = dispatching_.load();
  if ((seen & 1) == 0 || duty_.owner_tid() == sys::gettid()) return;
  while (dispatching_.load() == seen) sys::call(SYS_sched_yield);
}

void runtime::remove_entries(detail::chan_core* channel, signal_set signals) {
  signals.for_each([&](int signo) {
    const entry_list* now = table_[static_cast<std::size_t>(signo)].load();
    if (now == nullptr) return;
    auto next = std::make_unique<entry_list>(*now);
    std::erase_if(*next, [channel](const table_entry& entry) {
      return channel == nullptr || entry.to->channel == channel;
    });
    set_entries(signo, std::move(next));
  });
}

void runtime::stop(detail::chan_core& channel) noexcept {
  std::unique_ptr<subscription> gone;
  {
    const std::lock_guard hold{control_};
    const auto found = subscriptions_.find(&channel);
    if (found == subscriptions_.end()) return;
    const signal_set signals = found->second->signals;
    signal_set last;
    signals.for_each([&](int signo) {
      const entry_list* entries = table_[static_cast<std::size_t>(signo)].load();
      if (entries != nullptr && std::ranges::all_of(*entries, [&](const table_entry& entry) {
            return entry.to->channel == &channel;
          })) {
        last |= signal_set::of(signo);
      }
    });
    leave_to_others(channel, signals - last);
    if (!last.empty()) disable(last, afterwards::original);
    gone = std::move(found->second);
    subscriptions_.erase(found);
    gone->channel->set_hook(nullptr);
  }
  gone->channel->drop_memory();
}

// Invariant (2) as far as it concerns what was sent before, with the duty in hand.
void runtime::take_what_was_sent(sigsafe::thread_block& self, signal_set signals) noexcept {
  duty_.drain(self);
  duty_.take_pending(self, signals, pending_max);
  await_handlers(self, signals);
}

// As disable(), but that the signals stay subscribed.
void runtime::leave_to_others(detail::chan_core& channel, signal_set signals) noexcept {
  if (signals.empty()) return;
  sigsafe::thread_block& self = here();
  duty_.own(self);
  take_what_was_sent(self, signals);
  remove_entries(&channel, signals);
  duty_.release(self);
}

// Invariant (2), then (1), with the duty in hand throughout.
void runtime::disable(signal_set signals, afterwards then) {
  sigsafe::intake& in = sigsafe::the_intake();
  sigsafe::thread_block& self = here();
  duty_.own(self);
  take_what_was_sent(self, signals);
  in.wanted.fetch_and(~signals.bits());
  publish_sets();
  signals.for_each([&](int signo) { put_back(signo, then); });
  duty_.drain(self);  // what handlers queued until just now
  remove_entries(nullptr, signals);
  in.chain_before.fetch_and(~signals.bits());
  in.chain_after.fetch_and(~signals.bits());
  chained_.fetch_and(~signals.bits());
  open_others(signals);
  const signal_set mine = signal_set{self.closed.load()} & signals;
  self.closed.fetch_and(~mine.bits());
  duty_.release(self);
  sys::unblock(mine);
}

void runtime::put_back(int signo, afterwards then) {
  sigsafe::intake& in = sigsafe::the_intake();
  sys::kernel_sigaction now;
  sys::rt_sigaction(signo, nullptr, &now);
  if (then == afterwards::original && !sigsafe::is_ours(now)) {
    // Somebody put a handler over ours. It stays, and reaches `original` through us if it chains.
    return;
  }
  sys::kernel_sigaction to = in.original[signo];
  if (!sigsafe::is_ours(now)) to = now;
  if (then == afterwards::ignored) {
    to = {};
    to.handler = sys::handler_ignore;
  }
  if (then == afterwards::at_start) to = at_start_[static_cast<std::size_t>(signo)];
  // These are ours whatever stands behind; the other rules give way to a handler.
  const bool in_any_case = signo == sigsafe::control_signal || sigsafe::keeps_fault(signo);
  if (keeps_rule(signo) && (in_any_case || to.handler == sys::handler_default)) {
    const sys::kernel_sigaction ours = sigsafe::our_action();
    in.original[signo] = to;
    in.installed.fetch_or(signal_set::of(signo).bits());
    if (!sigsafe::is_ours(now)) sys::rt_sigaction(signo, &ours, nullptr);
    return;
  }
  sys::rt_sigaction(signo, &to, nullptr);
  in.installed.fetch_and(~signal_set::of(signo).bits());
}

void runtime::ignore(signal_set signals) {
  const std::lock_guard hold{control_};
  const signal_set subscribed_now = signals & subscribed();
  if (!subscribed_now.empty()) disable(subscribed_now, afterwards::ignored);
  (signals - subscribed_now).for_each([this](int signo) { put_back(signo, afterwards::ignored); });
  for (auto& [core, entry] : subscriptions_) entry->signals -= signals;
}

void runtime::reset(signal_set signals) {
  const std::lock_guard hold{control_};
  const signal_set subscribed_now = signals & subscribed();
  if (!subscribed_now.empty()) disable(subscribed_now, afterwards::at_start);
  (signals - subscribed_now).for_each([this](int signo) { put_back(signo, afterwards::at_start); });
  for (auto& [core, entry] : subscriptions_) entry->signals -= signals;
}

// ---------------------------------------------------------------------------------------- counters

channel_stats runtime::stats(detail::chan_core& channel) {
  const std::lock_guard hold{control_};
  const auto found = subscriptions_.find(&channel);
  if (found == subscriptions_.end()) return {};
  const auto& count = found->second->count;
  return {.delivered = count.delivered.load(),
          .merged = count.merged.load(),
          .dropped = count.dropped.load(),
          .denied = count.denied.load(),
          .logged = count.logged.load(),
          .limited = count.limited.load()};
}

std::vector<signal_event> runtime::policy_log(detail::chan_core& channel) {
  const std::lock_guard hold{control_};
  const auto found = subscriptions_.find(&channel);
  if (found == subscriptions_.end()) return {};
  subscription& from = *found->second;
  const std::lock_guard log{from.log_lock};
  const std::uint64_t kept = std::min<std::uint64_t>(from.log_length, from.log.size());
  std::vector<signal_event> events;
  for (std::uint64_t i = from.log_length - kept; i < from.log_length; ++i) {
    events.push_back(from.log[i % from.log.size()]);
  }
  return events;
}

}  // namespace sigrun::signal
