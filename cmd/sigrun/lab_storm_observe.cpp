// SPDX-License-Identifier: Apache-2.0
//
// The observers, who are subscribed to everything, and the closing of the books.
#include "lab_storm_run.hpp"

#include <algorithm>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

void enter(seen_line& line, const signal_event& event) noexcept {
  line.count += event.count;
  line.sum += mix(event.value_bits);
  // The stamp of a merged one is that of the first. Two threads may queue theirs in another order
  // than they took them in.
  const std::int64_t taken_ns = event.merged ? event.at.dispatched : event.at.taken;
  line.last_taken_ns = std::max(line.last_taken_ns, taken_ns);
}

bool in_window(int signo) noexcept {
  return (traffic::queued | signal_set::of(traffic::aimed, traffic::injected, traffic::judged))
      .has(signo);
}

}  // namespace

void observe_first(storm& in, const signal_chan& events) {
  std::uint64_t last = 0;
  signal_event event;
  while (in.page().stage.load() != storm_stage::booking) {
    if (events.recv_for(20ms, event) != chan_status::ok) continue;
    if (event.sequence <= last) in.fail("queued: a sequence went back");
    last = event.sequence;
    if (in.order.size() <= last) in.order.resize(last + 1);
    in.order[last] = static_cast<std::uint8_t>(event.signo);
    if (in_window(event.signo)) {
      in.page().under_way.fetch_sub(event.count);
      in.window_seen.fetch_add(event.count);
    }
    enter(in.seen[static_cast<std::size_t>(event.signo)], event);
    in.first_looked.fetch_add(1);
  }
  in.observers.fetch_sub(1);
}

void observe_second(storm& in, const signal_chan& events) {
  signal_event event;
  while (in.page().stage.load() != storm_stage::booking) {
    if (events.recv_for(20ms, event) != chan_status::ok) continue;
    enter(in.seen_by_second[static_cast<std::size_t>(event.signo)], event);
    in.second_looked.fetch_add(1);
  }
  in.observers.fetch_sub(1);
}

}  // namespace sigrun::cmd::lab
