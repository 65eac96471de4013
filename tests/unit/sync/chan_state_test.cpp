// SPDX-License-Identifier: Apache-2.0
//
// Goal: the primitives that feeders build policies from, and the claim by which one wait on several
// channels ends once.
#include "chan_fixture.hpp"

#include "sys/clock.hpp"

#include "sigsafe/control.hpp"

#include <sigrun/signal_event.hpp>

#include <array>

namespace sigrun::test {
namespace {

class ChanStateTest : public ChanTest {};

TEST_F(ChanStateTest, AGrowingBufferKeepsTheOrderUpToItsBound) {
  chan<int> ch(2);
  auto& state = state_of(ch);
  const std::lock_guard guard(state.lock());
  int out = 0;
  EXPECT_TRUE(state.push_back(0));
  EXPECT_TRUE(state.pop_front(out));  // so that the ring wraps before it grows
  int pushed = 0;
  while (state.push_back(pushed)) ++pushed;
  EXPECT_EQ(pushed, 2);
  while (state.push_back_growing(pushed, 1000)) ++pushed;
  EXPECT_EQ(pushed, 1000);
  EXPECT_EQ(state.size_locked(), 1000U);
  for (int i = 0; i < pushed; ++i) {
    ASSERT_TRUE(state.pop_front(out));
    ASSERT_EQ(out, i);
  }
  EXPECT_FALSE(state.pop_front(out));
}

TEST_F(ChanStateTest, AnOvergrownBufferRefusesOrdinarySends) {
  chan<int> ch(1);
  {
    const std::lock_guard guard(state_of(ch).lock());
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(state_of(ch).push_back_growing(i, 10));
  }
  EXPECT_FALSE(ch.try_send(9));
  EXPECT_EQ(ch.capacity(), 1U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ch.recv(), i);
  EXPECT_TRUE(ch.try_send(9));
}

TEST_F(ChanStateTest, NewestMatchingFindsTheYoungest) {
  chan<signal_event> ch(4);
  for (const int signo : {1, 2, 1, 3}) {
    signal_event event;
    event.signo = signo;
    ch.send(event);
  }
  auto& state = state_of(ch);
  {
    const std::lock_guard guard(state.lock());
    signal_event* const found =
        state.newest_matching([](const signal_event& e) { return e.signo == 1; });
    ASSERT_NE(found, nullptr);
    ++found->count;
    EXPECT_EQ(state.newest_matching([](const signal_event& e) { return e.signo == 9; }), nullptr);
  }
  EXPECT_EQ(ch.recv()->count, 1U);
  EXPECT_EQ(ch.recv()->signo, 2);
  EXPECT_EQ(ch.recv()->count, 2U);
}

TEST_F(ChanStateTest, HandToReceiverNeedsAReceiver) {
  counting_hook hook;
  chan<int> ch(1);
  auto& state = state_of(ch);
  {
    detail::chan_wakes wakes;
    const std::lock_guard guard(state.lock());
    EXPECT_FALSE(state.hand_to_receiver(1, wakes));
    EXPECT_TRUE(wakes.empty());
  }
  state.set_hook(&hook);
  std::thread receiver([ch] { EXPECT_EQ(ch.recv(), 2); });
  hook.until_waiting(1);
  {
    detail::chan_wakes wakes;
    const std::lock_guard guard(state.lock());
    EXPECT_TRUE(state.hand_to_receiver(2, wakes));
  }
  receiver.join();
  state.set_hook(nullptr);
}

TEST_F(ChanStateTest, AWaiterClaimedElsewhereIsPassedOver) {
  detail::chan_waiters list;
  std::atomic<std::uint32_t> taken{1};
  std::atomic<std::uint32_t> open{0};
  detail::chan_waiter first;
  first.claim = &taken;
  detail::chan_waiter second;
  second.claim = &open;
  detail::chan_waiter third;
  list.push_back(first);
  list.push_back(second);
  list.push_back(third);
  EXPECT_EQ(list.claim_first(), &second);
  EXPECT_EQ(open, 1U);
  EXPECT_FALSE(first.linked) << "its owner finds out that it was unlinked";
  EXPECT_EQ(list.claim_first(), &third);
  EXPECT_EQ(list.claim_first(), nullptr);
  EXPECT_TRUE(list.empty());
}

TEST_F(ChanStateTest, AWaitOnTwoChannelsEndsOnce) {
  for (int round = 0; round < 500; ++round) {
    std::array<detail::chan_waiters, 2> lists;
    std::array<detail::chan_core::mutex, 2> locks;
    std::array<detail::chan_waiter, 2> waiters;
    std::atomic<std::uint32_t> claim{0};
    sched::parker parker;
    for (std::size_t i = 0; i < 2; ++i) {
      waiters[i].claim = &claim;
      waiters[i].parker = &parker;
      lists[i].push_back(waiters[i]);
    }
    std::atomic<int> won{0};
    const auto wake = [&](std::size_t i) {
      detail::chan_wakes wakes;
      const std::lock_guard guard(locks[i]);
      if (detail::chan_waiter* const waiter = lists[i].claim_first()) {
        wakes.add(*waiter, chan_status::ok);
        ++won;
      }
    };
    std::thread other(wake, 1U);
    wake(0);
    EXPECT_TRUE(parker.park_until(sys::never));
    other.join();
    ASSERT_EQ(won, 1);
    ASSERT_NE(waiters[0].result == chan_status::ok, waiters[1].result == chan_status::ok);
  }
}

TEST_F(ChanStateTest, UnlinkingKeepsTheOthersInOrder) {
  detail::chan_waiters list;
  std::array<detail::chan_waiter, 4> waiters;
  for (auto& waiter : waiters) list.push_back(waiter);
  list.unlink(waiters[1]);
  list.unlink(waiters[3]);
  list.push_back(waiters[1]);
  EXPECT_EQ(list.claim_first(), &waiters[0]);
  EXPECT_EQ(list.claim_first(), &waiters[2]);
  EXPECT_EQ(list.claim_first(), &waiters[1]);
  EXPECT_TRUE(list.empty());
}

// ------------------------------------------------------------------------------------- parker

class ParkerTest : public ChanTest {};

TEST_F(ParkerTest, AWakeBeforeTheSleepIsNotLost) {
  sched::parker parker;
  parker.unpark();
  EXPECT_TRUE(parker.notified());
  EXPECT_TRUE(parker.park_until(sys::never));
  EXPECT_TRUE(parker.park_until(0)) << "sticky until reset";
  parker.reset();
  EXPECT_FALSE(parker.park_until(sys::now_ns() + 1'000'000));
  EXPECT_FALSE(parker.notified());
}

TEST_F(ParkerTest, EachWakeEndsOneSleep) {
  sched::parker ping;
  sched::parker pong;
  std::thread other([&] {
    for (int i = 0; i < 2000; ++i) {
      EXPECT_TRUE(ping.park_until(sys::never));
      ping.reset();
      pong.unpark();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    ping.unpark();
    ASSERT_TRUE(pong.park_until(sys::never));
    pong.reset();
  }
  other.join();
}

TEST_F(ParkerTest, ALeaderIsWokenByAControlSignalOfItsOwn) {
  const auto urgent = signal_set::of(SIGURG);
  const signal_set before = sys::current_mask();
  sys::block(urgent);
  sched::parker parker;
  ASSERT_TRUE(parker.begin_leading(sys::gettid()));
  std::thread waker([&] { parker.unpark(); });
  siginfo_t info{};
  EXPECT_EQ(sys::rt_sigtimedwait(urgent, &info, nullptr), SIGURG);
  EXPECT_EQ(info.si_code, sigsafe::control_code);
  EXPECT_EQ(info.si_value.sival_ptr, nullptr);
  EXPECT_TRUE(parker.end_leading());
  EXPECT_TRUE(parker.park_until(sys::never)) << "still notified";
  EXPECT_FALSE(parker.begin_leading(sys::gettid())) << "a notified one must not lead";
  waker.join();
  sys::set_mask(before);
}

TEST_F(ParkerTest, ALeaderThatNobodyWokeGoesOn) {
  sched::parker parker;
  ASSERT_TRUE(parker.begin_leading(sys::gettid()));
  EXPECT_FALSE(parker.end_leading());
  EXPECT_FALSE(parker.park_until(0));
}

}  // namespace
}  // namespace sigrun::test
