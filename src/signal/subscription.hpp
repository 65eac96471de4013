// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/signal.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace sigrun::signal {

using event_channel = detail::chan_state<signal_event>;

/// The options of one notify() call, and what they have to remember. Used by the dispatcher only,
/// but for the options, which never change.
struct policy {
  explicit policy(const notify_options& from) : options(from) {}
  const notify_options options;
  std::int64_t period_start_ns = 0;
  std::uint32_t in_period = 0;
};

/// One channel that receives signals. Made and destroyed under the registry's lock; while the
/// table refers to it the dispatcher may use it too.
struct subscription {
  event_channel* channel = nullptr;  // holds a memory reference, no handle
  signal_set signals;
  std::vector<std::unique_ptr<policy>> policies;

  struct {
    std::atomic<std::uint64_t> delivered, merged, dropped, denied, logged, limited;
  } count{};

  std::mutex log_lock;
  std::array<signal_event, 16> log{};  // ring of what the policy denied or logged
  std::uint64_t log_length = 0;
};

struct table_entry {
  subscription* to;
  policy* by;
};
using entry_list = std::vector<table_entry>;

/// Gives one event to one subscription, as its policy says. Never blocks but for the channel's
/// short lock, never throws.
void deliver(const table_entry& entry, const signal_event& event) noexcept;

}  // namespace sigrun::signal
