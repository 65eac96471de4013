// SPDX-License-Identifier: Apache-2.0
//
// What the channel tests share. No test sleeps to get an order: a receiver is known to wait when
// the counting hook says so, a sender when the descriptor is readable or the buffer is full.
#pragma once

#include <sigrun/chan.hpp>

#include "sched/park.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace sigrun::test {

/// A hook that parks as a channel without one would, and keeps count.
struct counting_hook final : detail::chan_hook {
  bool wait(void* parker, std::int64_t deadline_ns) override {
    waiting.fetch_add(1);
    waiting.notify_all();
    return static_cast<sched::parker*>(parker)->park_until(deadline_ns);
  }
  void poll() override { polled.fetch_add(1); }
  void closing(detail::chan_core& channel) override {
    closed_during = channel.closed();
    closings.fetch_add(1);
  }
  int direct_fd(detail::chan_core&) override { return exported_fd; }

  /// Returns when the n-th wait on this hook has been queued.
  void until_waiting(int n) {
    for (int seen = waiting.load(); seen < n; seen = waiting.load()) waiting.wait(seen);
  }

  std::atomic<int> waiting{0};
  std::atomic<int> polled{0};
  std::atomic<int> closings{0};
  std::atomic<bool> closed_during{false};
  int exported_fd = -1;
};

template <class T>
detail::chan_state<T>& state_of(const chan<T>& ch) {
  return *detail::chan_access::state(ch);
}

inline bool fd_readable(int fd, int timeout_ms = 0) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, timeout_ms) == 1 && (entry.revents & POLLIN) != 0;
}

/// A test that hangs ends the program, and says so by its wait status.
class ChanTest : public ::testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};

}  // namespace sigrun::test
