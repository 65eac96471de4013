// SPDX-License-Identifier: Apache-2.0
#include "signal/subscription.hpp"

#include <algorithm>

namespace sigrun::signal {
namespace {

void remember(subscription& to, const signal_event& event) noexcept {
  const std::lock_guard hold{to.log_lock};
  to.log[to.log_length % to.log.size()] = event;
  ++to.log_length;
}

bool has_sender(const signal_event& event) noexcept {
  return event.cause == signal_cause::kill || event.cause == signal_cause::tkill ||
         event.cause == signal_cause::queue || event.cause == signal_cause::message_queue;
}

bool matches(const sender_rule& rule, const signal_event& event) noexcept {
  const bool sent = has_sender(event);
  if (rule.outside_pid_namespace && !(sent && event.pid == 0)) return false;
  if (!rule.pids.empty() && !(sent && std::ranges::find(rule.pids, event.pid) != rule.pids.end())) {
    return false;
  }
  return rule.uids.empty() || (sent && std::ranges::find(rule.uids, event.uid) != rule.uids.end());
}

bool sender_accepted(subscription& to, const policy& by, const signal_event& event) noexcept {
  for (const sender_rule& rule : by.options.senders) {
    if (!matches(rule, event)) continue;
    if (rule.then == verdict::accept) return true;
    remember(to, event);
    if (rule.then == verdict::log) {
      to.count.logged.fetch_add(1);
      return true;
    }
    to.count.denied.fetch_add(event.count);
    return false;
  }
  return true;
}

// A window that starts with the first event after the last one ended.
bool within_rate(subscription& to, policy& by, const signal_event& event) noexcept {
  const rate_limit& limit = by.options.rate;
  if (limit.events == 0) return true;
  const std::int64_t now = event.at.dispatched;
  if (now - by.period_start_ns >= limit.per.count()) {
    by.period_start_ns = now;
    by.in_period = 0;
  }
  if (by.in_period < limit.events) {
    ++by.in_period;
    return true;
  }
  to.count.limited.fetch_add(event.count);
  return false;
}

enum class outcome { delivered, merged, dropped_newest, dropped_oldest, closed };

bool coalesce(event_channel& channel, const signal_event& event) noexcept {
  signal_event* waiting = channel.newest_matching(
      [&event](const signal_event& other) { return other.signo == event.signo; });
  if (waiting == nullptr) return false;
  waiting->count += event.count;
  waiting->merged = true;
  return true;
}

outcome put(event_channel& channel, const notify_options& options,
            const signal_event& event) noexcept {
  detail::chan_wakes wakes;  // wakes after the unlock
  const std::lock_guard hold{channel.lock()};
  if (channel.closed()) return outcome::closed;
  if (channel.hand_to_receiver(event, wakes)) return outcome::delivered;
  if (channel.push_back(event)) return outcome::delivered;
  switch (options.full) {
    case overflow::drop_newest:
      break;
    case overflow::drop_oldest: {
      signal_event oldest;
      if (channel.pop_front(oldest) && channel.push_back(event)) return outcome::dropped_oldest;
      break;
    }
    case overflow::coalesce:
      if (coalesce(channel, event)) return outcome::merged;
      // The first of its signal: one more slot for each, so 64 beyond the capacity at the most.
      if (channel.push_back_growing(event, channel.capacity() + signal_max)) {
        return outcome::delivered;
      }
      break;
    case overflow::unbounded:
      if (channel.push_back_growing(event, options.unbounded_max)) return outcome::delivered;
      break;
  }
  return outcome::dropped_newest;
}

}  // namespace

void deliver(const table_entry& entry, const signal_event& event) noexcept {
  subscription& to = *entry.to;
  if (!sender_accepted(to, *entry.by, event) || !within_rate(to, *entry.by, event)) return;
  switch (put(*to.channel, entry.by->options, event)) {
    case outcome::delivered:
      to.count.delivered.fetch_add(1);
      break;
    case outcome::merged:
      to.count.merged.fetch_add(event.count);
      break;
    case outcome::dropped_oldest:
      to.count.delivered.fetch_add(1);
      to.count.dropped.fetch_add(1);
      break;
    case outcome::dropped_newest:
      to.count.dropped.fetch_add(event.count);
      break;
    case outcome::closed:
      break;  // its close() is on the way to stop(), which waits for us
  }
}

}  // namespace sigrun::signal
