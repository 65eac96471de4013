// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a user of chan<T> may rely on: order, blocking, deadlines, misuse.
#include "chan_fixture.hpp"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

template <class F>
std::string logic_error_of(F f) {
  try {
    f();
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "nothing thrown";
}

// Not trivial, counts its own, and has a move that empties the source.
struct tracked {
  static inline std::atomic<int> alive{0};
  explicit tracked(int v) : value(v) { ++alive; }
  tracked(const tracked& o) : value(o.value) { ++alive; }
  tracked(tracked&& o) noexcept : value(std::exchange(o.value, -1)) { ++alive; }
  tracked& operator=(const tracked&) = default;
  tracked& operator=(tracked&& o) noexcept {
    value = std::exchange(o.value, -1);
    return *this;
  }
  ~tracked() { --alive; }
  int value;
};

TEST_F(ChanTest, ValuesArriveInTheOrderSent) {
  chan<int> ch(3);  // room is rounded up to 4: the capacity must not be
  int next = 0;
  for (int i = 0; i < 1000;) {
    while (ch.try_send(i)) ++i;
    EXPECT_EQ(ch.size(), 3U);
    for (int out = -1; ch.try_recv(out); ++next) ASSERT_EQ(out, next);
  }
  EXPECT_EQ(ch.capacity(), 3U);
}

TEST_F(ChanTest, ABlockedSenderGoesOnWhenThereIsRoomAndKeepsTheOrder) {
  chan<int> ch(2);
  std::thread sender([ch] {
    for (int i = 0; i < 2000; ++i) ch.send(i);
    ch.close();
  });
  int next = 0;
  for (int value : ch) ASSERT_EQ(value, next++);
  EXPECT_EQ(next, 2000);
  sender.join();
}

TEST_F(ChanTest, WithoutABufferASenderWaitsForItsReceiver) {
  chan<int> ch(0);
  const int fd = ch.fd();
  std::atomic<bool> sent{false};
  std::thread sender([&] {
    ch.send(7);
    sent = true;
  });
  ASSERT_TRUE(fd_readable(fd, -1));  // the sender is queued
  EXPECT_FALSE(sent);
  EXPECT_EQ(ch.size(), 0U);
  EXPECT_EQ(ch.recv(), 7);
  sender.join();
  EXPECT_TRUE(sent);
  EXPECT_FALSE(fd_readable(fd));
}

TEST_F(ChanTest, TrySendWithoutABufferNeedsAWaitingReceiver) {
  chan<int> ch(0);
  EXPECT_FALSE(ch.try_send(1));
  std::thread receiver([ch] { EXPECT_EQ(ch.recv(), 2); });
  while (!ch.try_send(2)) std::this_thread::yield();
  receiver.join();
}

TEST_F(ChanTest, ReceiversAreServedFirstComeFirstServed) {
  counting_hook hook;
  chan<int> ch(0);
  ASSERT_TRUE(state_of(ch).set_hook(&hook));
  std::vector<int> got(8, -1);
  std::vector<std::thread> receivers;
  for (int i = 0; i < 8; ++i) {
    receivers.emplace_back([&, i] { got[static_cast<std::size_t>(i)] = ch.recv().value(); });
    hook.until_waiting(i + 1);
  }
  for (int i = 0; i < 8; ++i) ch.send(i);
  for (auto& thread : receivers) thread.join();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(state_of(ch).set_hook(nullptr));
}

TEST_F(ChanTest, SendersAreServedFirstComeFirstServed) {
  chan<int> ch(0);
  std::vector<std::thread> senders;
  for (int i = 0; i < 4; ++i) {
    senders.emplace_back([&, i] { ch.send(i); });
    // The descriptor tells of the first sender only; the others are found out by receiving below.
    if (i == 0) {
      ASSERT_TRUE(fd_readable(ch.fd(), -1));
    }
  }
  EXPECT_EQ(ch.recv(), 0);
  std::vector<int> rest;
  for (int i = 1; i < 4; ++i) rest.push_back(ch.recv().value());
  std::sort(rest.begin(), rest.end());
  EXPECT_EQ(rest, (std::vector<int>{1, 2, 3}));
  for (auto& thread : senders) thread.join();
}

TEST_F(ChanTest, ManySendersAndReceiversLoseAndDoubleNothing) {
  for (const std::size_t capacity : {0U, 1U, 64U}) {
    constexpr int per_sender = 3000;
    chan<int> ch(capacity);
    std::vector<std::thread> senders;
    std::vector<std::thread> receivers;
    std::vector<std::vector<int>> got(4);
    for (int s = 0; s < 4; ++s) {
      senders.emplace_back([ch, s] {
        for (int i = 0; i < per_sender; ++i) ch.send(s * per_sender + i);
      });
      receivers.emplace_back([ch, &mine = got[static_cast<std::size_t>(s)]] {
        for (int value : ch) mine.push_back(value);
      });
    }
    for (auto& thread : senders) thread.join();
    ch.close();
    for (auto& thread : receivers) thread.join();
    std::vector<int> all;
    for (const auto& mine : got) {
      // What one receiver has from one sender is in that sender's order.
      std::vector<int> last(4, -1);
      for (int value : mine) {
        int& before = last[static_cast<std::size_t>(value / per_sender)];
        ASSERT_LT(before, value);
        before = value;
      }
      all.insert(all.end(), mine.begin(), mine.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<int> sent(4 * per_sender);
    std::iota(sent.begin(), sent.end(), 0);
    EXPECT_EQ(all, sent) << "capacity " << capacity;
  }
}

TEST_F(ChanTest, ManyTimedCallersLoseAndDoubleNothing) {
  // Time-outs race with hand-overs here: a value must be either sent or still the sender's.
  chan<int> ch(0);
  std::atomic<long> sent{0};
  std::atomic<long> received{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 1; i <= 4000; ++i) {
        if (ch.send_for(i, std::chrono::microseconds(i % 40)) == chan_status::ok) sent += i;
      }
    });
    threads.emplace_back([&] {
      for (int i = 1; i <= 4000; ++i) {
        int out = 0;
        if (ch.recv_for(std::chrono::microseconds(i % 30), out) == chan_status::ok) received += out;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(sent, received);
}

TEST_F(ChanTest, ADeadlineEndsTheWaitNeitherEarlyNorMuchLater) {
  chan<int> ch(1);
  int out = 5;
  const auto begin = steady_clock::now();
  EXPECT_EQ(ch.recv_for(30ms, out), chan_status::timeout);
  const auto waited = steady_clock::now() - begin;
  EXPECT_GE(waited, 30ms);
  EXPECT_LT(waited, 10s);
  EXPECT_EQ(out, 5);
  const auto until = steady_clock::now() + 20ms;
  EXPECT_EQ(ch.recv_until(until, out), chan_status::timeout);
  EXPECT_GE(steady_clock::now(), until);
  ch.send(1);
  EXPECT_EQ(ch.send_for(2, 10ms), chan_status::timeout);
  EXPECT_EQ(ch.recv(), 1);
  EXPECT_EQ(ch.send_for(2, std::chrono::hours::max()), chan_status::ok);
  EXPECT_EQ(ch.recv_for(std::chrono::hours::max(), out), chan_status::ok);
  EXPECT_EQ(out, 2);
}

TEST_F(ChanTest, ADeadlineThatHasPassedStillTakesWhatIsThere) {
  chan<int> ch(2);
  ch.send(1);
  ch.send(2);
  int out = 0;
  EXPECT_EQ(ch.recv_for(-1s, out), chan_status::ok);
  EXPECT_EQ(ch.recv_until(steady_clock::now() - 1h, out), chan_status::ok);
  EXPECT_EQ(out, 2);
  EXPECT_EQ(ch.recv_until(steady_clock::time_point::min(), out), chan_status::timeout);
}

TEST_F(ChanTest, AValueThatCouldNotBeSentIsAsItWas) {
  chan<std::unique_ptr<int>> ch(1);
  auto value = std::make_unique<int>(1);
  EXPECT_TRUE(ch.try_send(std::move(value)));
  EXPECT_EQ(value, nullptr);
  value = std::make_unique<int>(2);
  EXPECT_FALSE(ch.try_send(std::move(value)));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(ch.send_for(std::move(value), 1ms), chan_status::timeout);
  ASSERT_NE(value, nullptr);
  ch.close();
  EXPECT_EQ(ch.send_for(std::move(value), 1ms), chan_status::closed);
  EXPECT_EQ(*value, 2);
}

TEST_F(ChanTest, ValuesLeftBehindAreDestroyed) {
  {
    chan<tracked> ch(100);
    for (int i = 0; i < 100; ++i) ch.send(tracked(i));
    tracked out(-5);
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(ch.try_recv(out));
      ASSERT_EQ(out.value, i);
    }
    EXPECT_EQ(tracked::alive, 61);
  }
  EXPECT_EQ(tracked::alive, 0);
}

TEST_F(ChanTest, AnEmptyHandleNamesTheOperation) {
  chan<int> empty;
  int out = 0;
  EXPECT_FALSE(empty);
  EXPECT_EQ(logic_error_of([&] { empty.send(1); }), "sigrun::chan::send on an empty handle");
  EXPECT_EQ(logic_error_of([&] { empty.recv(); }), "sigrun::chan::recv on an empty handle");
  EXPECT_EQ(logic_error_of([&] { empty.close(); }), "sigrun::chan::close on an empty handle");
  EXPECT_EQ(logic_error_of([&] { empty.fd(); }), "sigrun::chan::fd on an empty handle");
  EXPECT_EQ(logic_error_of([&] { empty.size(); }), "sigrun::chan::size on an empty handle");
  EXPECT_EQ(logic_error_of([&] { empty.try_recv(out); }),
            "sigrun::chan::try_recv on an empty handle");
  EXPECT_EQ(logic_error_of([&] { empty.send_for(1, 1s); }),
            "sigrun::chan::send_for on an empty handle");
}

TEST_F(ChanTest, AnImpossibleCapacityIsNamed) {
  EXPECT_EQ(logic_error_of([] { chan<int> ch(SIZE_MAX); }),
            "sigrun::chan: capacity 18446744073709551615 is too large");
}

TEST_F(ChanTest, HandlesCompareByChannel) {
  chan<int> a(1);
  chan<int> b(1);
  chan<int> also_a = a;
  EXPECT_EQ(a, also_a);
  EXPECT_NE(a, b);
  EXPECT_EQ(chan<int>(), chan<int>());
  also_a = b;
  EXPECT_EQ(also_a, b);
  also_a = chan<int>(std::move(a));
  EXPECT_FALSE(a);
  EXPECT_TRUE(also_a);
}

struct stamped {
  int value = 0;
  int received = 0;
};
void chan_received(stamped& s) { ++s.received; }

TEST_F(ChanTest, EachReceiveCallsChanReceivedOnce) {
  chan<stamped> ch(4);
  for (int i = 0; i < 4; ++i) ch.send({i, 0});
  ch.close();
  stamped out;
  EXPECT_TRUE(ch.try_recv(out));
  EXPECT_EQ(out.received, 1);
  EXPECT_EQ(ch.recv_for(1s, out), chan_status::ok);
  EXPECT_EQ(out.received, 1);
  for (const stamped& s : ch) EXPECT_EQ(s.received, 1);
}

}  // namespace
}  // namespace sigrun::test
