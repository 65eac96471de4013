// SPDX-License-Identifier: Apache-2.0
//
// The notify family inside one process: what is sent with kill() and sigqueue() arrives, with its
// details, in order, at every channel that asked, and at none that stopped.
#include "support/test_body.hpp"

#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

namespace sigrun {
namespace {

using namespace std::chrono_literals;

signal_event must_receive(signal_chan& ch) {
  signal_event event;
  EXPECT_EQ(ch.recv_for(20s, event), chan_status::ok);
  return event;
}

TEST(notify_test, the_arrangement_is_given_whole) { EXPECT_TRUE(test::arrangement_is_whole()); }

TEST(notify_test, a_signal_sent_to_the_process_arrives_with_its_sender) {
  signal_chan ch(8);
  notify(ch, SIGUSR1);
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  const signal_event event = must_receive(ch);
  EXPECT_EQ(event.signo, SIGUSR1);
  EXPECT_EQ(event.pid, getpid());
  EXPECT_EQ(event.cause, signal_cause::kill);
  EXPECT_LE(event.at.taken, event.at.dispatched);
  EXPECT_LE(event.at.dispatched, event.at.received);
}

TEST(notify_test, a_queued_value_arrives_whole_and_in_order) {
  signal_chan ch(2000);
  notify(ch, SIGRTMIN + 2);
  for (std::uint64_t i = 0; i < 1000; ++i) send(getpid(), SIGRTMIN + 2, (i << 32) | i);
  std::uint64_t sequence = 0;
  std::vector<std::uint64_t> values;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const signal_event event = must_receive(ch);
    values.push_back(event.value_bits);
    ASSERT_GT(event.sequence, sequence);
    sequence = event.sequence;
  }
  // With two threads open (shared), two handlers may have taken neighbours at the same moment.
  const char* isolation = std::getenv("SIGRUN_ISOLATION");
  if (isolation != nullptr && std::string_view(isolation) == "shared") std::ranges::sort(values);
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(values[i], (i << 32) | i);
}

TEST(notify_test, every_channel_that_asked_gets_its_own_copy) {
  signal_chan a(4);
  signal_chan b(4);
  notify(a, SIGUSR1, SIGUSR2);
  notify(b, SIGUSR2);
  kill(getpid(), SIGUSR2);
  EXPECT_EQ(must_receive(a).signo, SIGUSR2);
  EXPECT_EQ(must_receive(b).signo, SIGUSR2);
}

TEST(notify_test, what_was_sent_before_stop_is_delivered_and_nothing_after) {
  signal_chan keeper(64);
  notify(keeper, SIGUSR1);
  for (int i = 0; i < 200; ++i) {
    signal_chan ch(4);
    notify(ch, SIGUSR1);
    kill(getpid(), SIGUSR1);
    must_receive(keeper);
    stop(ch);
    signal_event event;
    EXPECT_TRUE(ch.try_recv(event));
    kill(getpid(), SIGUSR1);
    must_receive(keeper);
    EXPECT_FALSE(ch.try_recv(event));
  }
}

std::atomic<int> handled{0};

// Taken before the stop: to the channel. Caught in the middle by a handler on another thread: to
// the handler that is back by then. Never to both, never to nobody.
TEST(notify_test, the_last_stop_loses_nothing_that_is_pending_and_restores_the_handler) {
  struct sigaction mine {};
  mine.sa_handler = [](int) { handled.fetch_add(1); };
  mine.sa_flags = SA_NODEFER;
  struct sigaction before {};
  sigaction(SIGUSR2, &mine, &before);
  for (int i = 0; i < 200; ++i) {
    signal_chan ch(4);
    notify(ch, SIGUSR2);
    kill(getpid(), SIGUSR2);
    stop(ch);
    signal_event event;
    const int delivered = ch.try_recv(event) ? 1 : 0;
    while (delivered + handled.load() == 0) std::this_thread::yield();
    EXPECT_EQ(delivered + handled.exchange(0), 1) << i;
  }
  struct sigaction after {};
  sigaction(SIGUSR2, &before, &after);
  EXPECT_EQ(after.sa_handler, mine.sa_handler);
  EXPECT_EQ(after.sa_flags & SA_NODEFER, SA_NODEFER);
}

TEST(notify_test, dropping_the_last_handle_unsubscribes) {
  {
    signal_chan ch(1);
    notify(ch, SIGWINCH);
  }
  struct sigaction now {};
  sigaction(SIGWINCH, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}

TEST(notify_test, two_blocked_receivers_each_get_their_signal) {
  signal_chan a(1000);
  signal_chan b(1000);
  notify(a, SIGUSR1);
  notify(b, SIGUSR2);
  int got_a = 0;
  int got_b = 0;
  std::thread ta([&] {
    for (int i = 0; i < 500; ++i) got_a += must_receive(a).signo == SIGUSR1;
  });
  std::thread tb([&] {
    for (int i = 0; i < 500; ++i) got_b += must_receive(b).signo == SIGUSR2;
  });
  for (int i = 0; i < 500; ++i) {
    // Standard signals merge while one is pending, so each waits for the one before.
    const auto before_a = stats(a).delivered;
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR2);
    while (stats(a).delivered == before_a) std::this_thread::yield();
    while (stats(b).delivered != stats(a).delivered) std::this_thread::yield();
  }
  ta.join();
  tb.join();
  EXPECT_EQ(got_a, 500);
  EXPECT_EQ(got_b, 500);
}

TEST(notify_test, a_stop_source_is_stopped_by_the_signal_that_caused_it) {
  std::stop_source source;
  const auto subscription = notify_stop(source, {SIGUSR1});
  kill(getpid(), SIGUSR1);
  for (int i = 0; i < 5000 && !source.stop_requested(); ++i) std::this_thread::yield();
  while (!source.stop_requested()) std::this_thread::yield();
  ASSERT_NE(subscription.cause(), nullptr);
  EXPECT_EQ(subscription.cause()->signo, SIGUSR1);
}

// The runtime's threads wake each other by SIGURG; a user's own still is a signal like any other.
TEST(notify_test, a_users_sigurg_is_never_taken_for_the_runtimes_own) {
  signal_chan ch(8);
  notify(ch, SIGURG);
  for (int i = 0; i < 300; ++i) {
    // Now while this thread waits, now while only the stand-by thread does.
    if (i % 2 == 0) std::this_thread::sleep_for(2ms);  // tidy: allow sleep, longer than the lease
    kill(getpid(), SIGURG);
    const signal_event event = must_receive(ch);
    EXPECT_EQ(event.pid, getpid()) << i << ", code " << event.code << ", uid " << event.uid
                                   << ", value " << event.value_bits << ", by " << event.tid;
  }
}

TEST(notify_test, misuse_is_an_error_that_names_the_signal) {
  signal_chan ch(1);
  EXPECT_THROW(notify(ch, SIGKILL), std::invalid_argument);
  EXPECT_THROW(notify(ch, 32), std::invalid_argument);
  EXPECT_THROW(notify(ch, 0), std::invalid_argument);
  EXPECT_THROW(notify(ch, 65), std::invalid_argument);
  EXPECT_THROW(notify(ch, SIGSEGV), std::invalid_argument);
  EXPECT_THROW(notify(signal_chan(), SIGUSR1), std::invalid_argument);
  EXPECT_THROW(notify(signal_chan(0), SIGUSR1), std::invalid_argument);
  try {
    notify(ch, SIGSTOP);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("SIGSTOP"), std::string::npos);
  }
}

}  // namespace
}  // namespace sigrun
