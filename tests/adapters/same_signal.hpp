// SPDX-License-Identifier: Apache-2.0
//
// What the adapters' tests share: two loops and two plain threads, each with a channel of its own,
// receive the same real-time signals, every one and in the order sent, with their payloads; and
// the run of an example from the outside.
#pragma once

#include <sigrun/signal.hpp>

#include "support/child_process.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sigrun::test {

inline constexpr int same_signal_count = 300;

/// `run_loop(ch, n)` receives n values from ch in a loop of the adapter's and returns them.
inline void two_loops_and_two_threads_receive_the_same_signal(
    const std::function<std::vector<int>(signal_chan, int)>& run_loop) {
  alarm(50);
  std::vector<signal_chan> channels;
  for (int i = 0; i < 4; ++i) {
    channels.emplace_back(static_cast<std::size_t>(same_signal_count));
    notify(channels.back(), SIGRTMIN + 1);
  }
  std::vector<std::vector<int>> got(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      if (i < 2) {
        got[i] = run_loop(channels[i], same_signal_count);
        return;
      }
      while (got[i].size() < static_cast<std::size_t>(same_signal_count)) {
        got[i].push_back(channels[i].recv().value().value_int());
      }
    });
  }
  std::vector<int> sent;
  for (int i = 0; i < same_signal_count; ++i) {
    sent.push_back(1000 + i);
    send(getpid(), SIGRTMIN + 1, static_cast<std::uint64_t>(1000 + i));
  }
  for (auto& thread : threads) thread.join();
  // Where signals may enter on several threads at once, the kernel's order ends at their handlers.
  const char* const isolate = std::getenv("SIGRUN_ISOLATION");
  const bool ordered = isolate == nullptr || std::string_view(isolate) != "shared";
  for (auto& values : got) {
    if (!ordered) std::sort(values.begin(), values.end());
    EXPECT_EQ(values, sent);
  }
  for (const auto& ch : channels) {
    EXPECT_EQ(stats(ch).dropped, 0U);
    stop(ch);
  }
  alarm(0);
}

/// Starts the example, sends it signals, and compares what it prints.
inline void the_example_prints_its_signals_and_ends(const std::string& name) {
  child_process child({beside_self(name)});
  ASSERT_EQ(child.read_line(), "ready");
  const std::string from = " from " + std::to_string(getpid()) + ", value ";
  child.signal(SIGUSR1);
  EXPECT_EQ(child.read_line(), "SIGUSR1" + from + "0");
  child.queue(SIGRTMIN, 41);
  EXPECT_EQ(child.read_line(), "SIGRTMIN" + from + "41");
  child.queue(SIGRTMIN, 42);
  EXPECT_EQ(child.read_line(), "SIGRTMIN" + from + "42");
  child.signal(SIGTERM);
  EXPECT_EQ(child.read_line(), "SIGTERM" + from + "0");
  const child_result result = child.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

}  // namespace sigrun::test
