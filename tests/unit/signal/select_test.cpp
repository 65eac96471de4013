// SPDX-License-Identifier: Apache-2.0
//
// Signals in a select: they are a case like any other, whichever thread takes them from the kernel.
#include <sigrun/select.hpp>
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <unistd.h>
#include <csignal>

#include <thread>

namespace sigrun {
namespace {

using namespace std::chrono_literals;

TEST(signal_select_test, a_signal_ends_a_select_that_waits) {
  signal_chan signals(64);
  chan<int> asked(0);
  chan<int> never(0);
  notify(signals, SIGUSR1, SIGUSR2);
  std::thread sender([&] {
    while (asked.recv()) kill(getpid(), SIGUSR1);
  });
  for (int i = 0; i < 200; ++i) {
    asked.send(i);
    signal_event event;
    int out = 0;
    ASSERT_EQ(select_for(20s, recv_case(never, out), recv_case(signals, event)), 1);
    ASSERT_EQ(event.signo, SIGUSR1);
    ASSERT_EQ(event.pid, getpid());
    ASSERT_LE(event.at.dispatched, event.at.received);
  }
  asked.close();
  sender.join();
}

TEST(signal_select_test, a_value_ends_a_select_that_waits_for_signals) {
  signal_chan signals(4);
  chan<int> values(0);
  notify(signals, SIGUSR1);
  std::thread sender([values] {
    for (int i = 0; i < 1000; ++i) values.send(i);
  });
  for (int i = 0; i < 1000; ++i) {
    signal_event event;
    int out = -1;
    ASSERT_EQ(select_for(20s, recv_case(signals, event), recv_case(values, out)), 1);
    ASSERT_EQ(out, i);
  }
  sender.join();
}

TEST(signal_select_test, signals_and_values_all_arrive_and_signals_keep_their_order) {
  constexpr int each = 500;
  signal_chan signals(each);
  chan<int> values(0);
  notify(signals, SIGRTMIN + 3);
  std::thread sender([values] {
    for (int i = 0; i < each; ++i) {
      send(getpid(), SIGRTMIN + 3, static_cast<std::uint64_t>(i));
      values.send(i);
    }
  });
  int got_signals = 0;
  int got_values = 0;
  std::uint64_t sequence = 0;
  while (got_signals < each || got_values < each) {
    signal_event event;
    int out = -1;
    const int won = select_for(20s, recv_case(signals, event), recv_case(values, out));
    ASSERT_NE(won, select_timeout) << got_signals << " signals, " << got_values << " values";
    if (won == 0) {
      ++got_signals;
      ASSERT_GT(event.sequence, sequence);
      sequence = event.sequence;
    } else {
      ASSERT_EQ(out, got_values++);
    }
  }
  sender.join();
}

}  // namespace
}  // namespace sigrun
