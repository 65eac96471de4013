// SPDX-License-Identifier: Apache-2.0
//
// Goroutines and threads with the same signals: whoever waits, each signal comes once.
#include <sigrun/go.hpp>
#include <sigrun/notify_context.hpp>
#include <sigrun/select.hpp>
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <unistd.h>
#include <csignal>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace sigrun {
namespace {

using namespace std::chrono_literals;

constexpr int real_time = signal_rt_min + 2;

TEST(mixed_test, goroutines_and_threads_share_one_channel) {
  constexpr std::uint64_t count = 400;
  signal_chan ch(count);
  notify(ch, real_time);
  std::vector<std::atomic<int>> seen(count);
  std::atomic<std::uint64_t> received{0};
  const auto take = [&] {
    while (const auto event = ch.recv()) {
      seen[event->value_bits].fetch_add(1);
      if (received.fetch_add(1) + 1 == count) ch.close();
    }
  };
  std::vector<goroutine> goes;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    goes.push_back(go(take));
    threads.emplace_back(take);
  }
  for (std::uint64_t value = 0; value < count; ++value) send(getpid(), real_time, value);
  for (goroutine& one : goes) one.join();
  for (std::thread& one : threads) one.join();
  for (const auto& times : seen) EXPECT_EQ(times.load(), 1);
}

TEST(mixed_test, each_of_many_goroutines_and_threads_gets_its_copy) {
  constexpr int each = 4;
  std::vector<signal_chan> channels;
  for (int i = 0; i < 2 * each; ++i) notify(channels.emplace_back(16), real_time);
  std::atomic<int> good{0};
  const auto take = [&good](signal_chan ch) {
    signal_event event;
    for (std::uint64_t value = 1; value <= 10; ++value) {
      if (ch.recv_for(20s, event) != chan_status::ok || event.value_bits == 0) return;
    }
    good.fetch_add(1);
  };
  std::vector<goroutine> goes;
  std::vector<std::thread> threads;
  for (int i = 0; i < each; ++i) {
    goes.push_back(go(take, channels[static_cast<std::size_t>(2 * i)]));
    threads.emplace_back(take, channels[static_cast<std::size_t>(2 * i + 1)]);
  }
  for (std::uint64_t value = 1; value <= 10; ++value) send(getpid(), real_time, value);
  for (goroutine& one : goes) one.join();
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(good.load(), 2 * each);
}

TEST(mixed_test, a_goroutines_select_takes_signals_and_values_of_threads) {
  signal_chan signals(64);
  notify(signals, real_time);
  chan<int> values(0);
  constexpr int each = 100;
  int of_signals = 0;
  int of_values = 0;
  std::thread sender([values] {
    for (int i = 0; i < each; ++i) values.send(i);
  });
  goroutine selects = go([&] {
    signal_event event;
    int value = 0;
    while (of_signals < each || of_values < each) {
      if (of_signals < each) send(getpid(), real_time, 1);
      switch (select_for(20s, recv_case(signals, event), recv_case(values, value))) {
        case 0:
          ++of_signals;
          break;
        case 1:
          ++of_values;
          break;
        default:
          return;
      }
    }
  });
  selects.join();
  sender.join();
  EXPECT_GE(of_signals, each);
  EXPECT_EQ(of_values, each);
}

TEST(mixed_test, a_context_of_a_goroutine_ends_those_of_threads) {
  std::atomic<int> ended{0};
  goroutine owner = go([&] {
    const signal_context until = notify_context(context(), {SIGUSR1});
    const auto wait = [&ended, ctx = until.ctx] {
      ctx.done().recv();
      ended.fetch_add(1);
    };
    std::thread thread(wait);
    goroutine other = go(wait);
    kill(getpid(), SIGUSR1);
    other.join();
    foreign_call([&] { thread.join(); });
    EXPECT_TRUE(until.ctx.err());
  });
  owner.join();
  EXPECT_EQ(ended.load(), 2);
}

// A goroutine that has received keeps the M by which signals come in; nobody waits in the kernel.
TEST(mixed_test, what_was_sent_to_a_thread_alone_reaches_it_while_an_m_is_at_large) {
  signal_chan ch(4);
  notify(ch, SIGUSR2, SIGUSR1);
  std::atomic<bool> at_large{false};
  std::atomic<bool> done{false};
  goroutine keeps = go([&] {
    signal_chan mine(4);
    notify(mine, SIGUSR1);
    kill(getpid(), SIGUSR1);
    mine.recv();
    at_large.store(true);
    while (!done.load()) yield();
  });
  std::thread thread([&] {
    close_thread();
    while (!at_large.load()) std::this_thread::yield();
    send_thread(gettid(), SIGUSR2, 7);
    signal_event event;
    do {
      ASSERT_EQ(ch.recv_for(20s, event), chan_status::ok);
    } while (event.signo != SIGUSR2);
    done.store(true);
  });
  if (goroutine_id() != 0) {
    foreign_call([&] { thread.join(); });
  } else {
    thread.join();
  }
  done.store(true);
  keeps.join();
}

// On a closed M nobody else could take it.
TEST(mixed_test, what_a_goroutine_raises_reaches_its_own_channel) {
  goroutine raises = go([] {
    signal_chan ch(4);
    notify(ch, SIGUSR2);
    signal_event event;
    for (int i = 0; i < 20; ++i) {
      raise(SIGUSR2);
      ASSERT_EQ(ch.recv_for(20s, event), chan_status::ok) << i;
      yield();
    }
  });
  raises.join();
}

}  // namespace
}  // namespace sigrun
