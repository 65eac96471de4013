// SPDX-License-Identifier: Apache-2.0
//
// Goal: what timers do, to the nanosecond. Method: a virtual clock, which stands still until the
// test moves it, and one P, so that everything happens in one order. A program of its own, because
// the scheduler's clock never goes back.
#include <sigrun/go.hpp>
#include <sigrun/select.hpp>
#include <sigrun/time.hpp>

#include "sched/clock.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <utility>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using time_point = timer::time_point;

class VirtualClockTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    static bool set = false;  // --gtest_repeat goes on with the clock as it is
    if (!std::exchange(set, true)) sched::set_virtual_clock(1'000'000'000);
    max_procs(1);
  }
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }

  static time_point now() { return time_point(nanoseconds(sched::now_ns())); }
  static void advance(nanoseconds by) { sched::advance_virtual_clock(by.count()); }
  /// Returns when the scheduler has fired all that is due now.
  static void settle() { after(0s).recv(); }
  static bool empty(const chan<time_point>& ch) {
    settle();
    time_point due;
    return !ch.try_recv(due);
  }
};

TEST_F(VirtualClockTest, ATimerGoesOffAtItsNanosecond) {
  for (const nanoseconds wait : {nanoseconds(1), nanoseconds(1us), nanoseconds(100us),
                                 nanoseconds(1h), nanoseconds(24h * 100)}) {
    const auto due = now() + wait;
    timer t(wait);
    advance(wait - 1ns);
    EXPECT_TRUE(empty(t.channel())) << wait.count();
    advance(1ns);
    EXPECT_EQ(t.channel().recv(), due);
  }
}

TEST_F(VirtualClockTest, AGoroutineSleepsByTheVirtualClock) {
  std::atomic<bool> awake{false};
  chan<int> asleep(1);
  auto sleeper = go([&] {
    asleep.send(1);
    sleep_for(24h);  // tidy: allow sleep, the virtual clock makes it short
    awake = true;
  });
  asleep.recv();
  advance(24h - 1ns);
  settle();
  EXPECT_FALSE(awake);
  // The sleeper may have taken its deadline after the clock was moved, so move it once more.
  while (!sleeper.done()) {
    advance(24h);
    settle();
  }
  EXPECT_TRUE(awake);
}

TEST_F(VirtualClockTest, WhatIsDueTogetherFiresInTheOrderOfTheDeadlines) {
  chan<int> order(8);
  std::vector<timer> timers;
  for (const int i : {5, 1, 7, 3, 0, 6, 2, 4}) {
    timers.push_back(after_func(i * 1us, [order, i] { order.send(i); }));
  }
  advance(1h);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(order.recv(), i);
}

TEST_F(VirtualClockTest, OneStepAtATimeEachTimerHasItsStep) {
  std::vector<timer> timers;
  for (int i = 1; i <= 100; ++i) timers.emplace_back(i * 1ms);
  for (std::size_t i = 0; i < timers.size(); ++i) {
    EXPECT_TRUE(empty(timers[i].channel()));
    advance(1ms);
    EXPECT_EQ(timers[i].channel().recv(), now());
  }
}

TEST_F(VirtualClockTest, ResetCountsFromNow) {
  timer t(10ms);
  advance(9ms);
  EXPECT_TRUE(t.reset(10ms));
  advance(9ms);
  EXPECT_TRUE(empty(t.channel()));
  advance(1ms);
  EXPECT_EQ(t.channel().recv(), now());
  EXPECT_FALSE(t.reset(1ms));
  advance(1ms);
  EXPECT_EQ(t.channel().recv(), now());
}

TEST_F(VirtualClockTest, StopAndResetTakeBackWhatWasSent) {
  timer t(1ms);
  advance(1ms);
  settle();
  EXPECT_EQ(t.channel().size(), 1u);
  EXPECT_TRUE(t.stop());
  EXPECT_EQ(t.channel().size(), 0u);
  EXPECT_FALSE(t.reset(1ms));
  advance(1ms);
  settle();
  EXPECT_TRUE(t.reset(1ms));
  EXPECT_TRUE(empty(t.channel()));
  advance(1ms);
  EXPECT_EQ(t.channel().recv(), now());
}

TEST_F(VirtualClockTest, ATickerKeepsItsRasterAndCountsWhatItDrops) {
  const auto start = now();
  ticker t(10ms);
  for (int i = 1; i <= 3; ++i) {
    advance(10ms);
    EXPECT_EQ(t.channel().recv(), start + i * 10ms);
  }
  EXPECT_EQ(t.dropped(), 0u);
  // Late by ten periods and a half: the tick that was due comes, nine that followed are dropped.
  advance(105ms);
  EXPECT_EQ(t.channel().recv(), start + 40ms);
  EXPECT_EQ(t.dropped(), 9u);
  advance(4ms);
  EXPECT_TRUE(empty(t.channel()));
  advance(1ms);
  EXPECT_EQ(t.channel().recv(), start + 140ms);
  // Nobody receives: the first one stays, the others are dropped.
  for (int i = 0; i < 5; ++i) {
    advance(10ms);
    settle();
  }
  EXPECT_EQ(t.dropped(), 9u + 4u);
  EXPECT_EQ(t.channel().recv(), start + 150ms);
  t.stop();
  advance(1h);
  EXPECT_TRUE(empty(t.channel()));
  EXPECT_EQ(t.dropped(), 9u + 4u);
}

TEST_F(VirtualClockTest, ATickersResetBeginsANewRaster) {
  ticker t(10ms);
  advance(15ms);
  settle();
  t.reset(20ms);
  EXPECT_TRUE(empty(t.channel()));
  const auto start = now();
  advance(20ms);
  EXPECT_EQ(t.channel().recv(), start + 20ms);
  advance(20ms);
  EXPECT_EQ(t.channel().recv(), start + 40ms);
}

TEST_F(VirtualClockTest, AClosedChannelEndsItsTicker) {
  ticker t(1ms);
  t.channel().close();
  advance(1ms);
  settle();
  advance(10ms);
  settle();
  EXPECT_EQ(t.dropped(), 0u);
  EXPECT_EQ(t.channel().recv(), std::nullopt);
}

TEST_F(VirtualClockTest, ATimersValueOutlivesItsHandle) {
  chan<time_point> ch;
  {
    timer t(1ms);
    ch = t.channel();
  }
  EXPECT_FALSE(ch.closed());
  advance(1ms);
  EXPECT_EQ(ch.recv(), now());
}

TEST_F(VirtualClockTest, ATickersEndClosesItsChannelAndTakesBackItsTick) {
  chan<time_point> ch;
  {
    ticker t(1ms);
    ch = t.channel();
    advance(1ms);
    settle();
    EXPECT_EQ(ch.size(), 1u);
  }
  EXPECT_TRUE(ch.closed());
  EXPECT_EQ(ch.recv(), std::nullopt);
}

TEST_F(VirtualClockTest, MovedHandlesStayTheSameTimer) {
  timer a(1ms);
  timer b(std::move(a));
  timer c;
  c = std::move(b);
  EXPECT_FALSE(a.channel());  // NOLINT: what moved-from means is what is tested
  EXPECT_THROW(a.stop(), std::logic_error);
  EXPECT_TRUE(c.stop());
  ticker k(1ms);
  ticker l;
  l = std::move(k);
  advance(1ms);
  EXPECT_EQ(l.channel().recv(), now());
}

}  // namespace
}  // namespace sigrun::test
