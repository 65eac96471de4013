// SPDX-License-Identifier: Apache-2.0
//
// A channel's descriptor in somebody else's event loop: readable when a signal came, quiet when
// there is none, and no hostage when the loop does not look.
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <poll.h>
#include <unistd.h>
#include <csignal>

#include <thread>

namespace sigrun {
namespace {

bool readable(int fd, int timeout_ms) {
  pollfd one{fd, POLLIN, 0};
  return poll(&one, 1, timeout_ms) == 1;
}

TEST(loop_fd_test, is_readable_once_for_a_signal_and_quiet_afterwards) {
  signal_chan ch(8);
  notify(ch, SIGUSR1);
  const int fd = ch.fd();
  signal_event event;
  for (int i = 0; i < 300; ++i) {
    kill(getpid(), SIGUSR1);
    ASSERT_TRUE(readable(fd, 20'000)) << i;
    while (!ch.try_recv(event)) ASSERT_TRUE(readable(fd, 20'000)) << i;
    EXPECT_EQ(event.signo, SIGUSR1);
    EXPECT_FALSE(ch.try_recv(event));
    EXPECT_FALSE(readable(fd, 0)) << i;
  }
}

TEST(loop_fd_test, a_loop_that_does_not_look_holds_up_nobody) {
  signal_chan stuck(8);
  notify(stuck, SIGUSR1);
  ASSERT_GE(stuck.fd(), 0);  // its loop never polls
  signal_chan ch(8);
  notify(ch, SIGUSR2);
  for (int i = 0; i < 50; ++i) {
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR2);
    signal_event event;
    ASSERT_EQ(ch.recv_for(std::chrono::seconds{20}, event), chan_status::ok);
    while (stats(ch).delivered != stats(stuck).delivered + stats(stuck).dropped) {
      std::this_thread::yield();
    }
  }
}

TEST(loop_fd_test, a_signal_is_dispatched_though_nobody_polls_at_all) {
  signal_chan ch(8);
  notify(ch, SIGUSR1);
  ASSERT_GE(ch.fd(), 0);
  kill(getpid(), SIGUSR1);
  while (stats(ch).delivered == 0) std::this_thread::yield();
  signal_event event;
  EXPECT_TRUE(ch.try_recv(event));
  EXPECT_LT(event.at.dispatched - event.at.taken, 5'000'000'000);
}

TEST(loop_fd_test, two_loops_receive_the_same_signal) {
  signal_chan a(400);
  signal_chan b(400);
  notify(a, SIGUSR1);
  notify(b, SIGUSR1);
  const int fd_a = a.fd();
  const int fd_b = b.fd();
  const auto loop = [](signal_chan& ch, int fd, int& got) {
    signal_event event;
    while (got < 200 && readable(fd, 20'000)) {
      while (ch.try_recv(event)) ++got;
    }
  };
  int got_a = 0;
  int got_b = 0;
  std::thread first([&] { loop(a, fd_a, got_a); });
  std::thread second([&] { loop(b, fd_b, got_b); });
  for (std::uint64_t i = 1; i <= 200; ++i) {
    kill(getpid(), SIGUSR1);
    while (stats(a).delivered + stats(a).dropped < i || stats(b).delivered + stats(b).dropped < i) {
      std::this_thread::yield();
    }
  }
  first.join();
  second.join();
  EXPECT_EQ(got_a, 200);
  EXPECT_EQ(got_b, 200);
}

TEST(loop_fd_test, stays_usable_and_quiet_after_stop) {
  signal_chan ch(8);
  notify(ch, SIGUSR1);
  const int fd = ch.fd();
  signal_chan other(8);
  notify(other, SIGUSR2);
  stop(ch);
  kill(getpid(), SIGUSR2);
  signal_event event;
  ASSERT_EQ(other.recv_for(std::chrono::seconds{20}, event), chan_status::ok);
  EXPECT_FALSE(readable(fd, 0));
  notify(ch, SIGUSR1);
  kill(getpid(), SIGUSR1);
  EXPECT_TRUE(readable(fd, 20'000));
}

}  // namespace
}  // namespace sigrun
