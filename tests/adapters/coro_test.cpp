// SPDX-License-Identifier: Apache-2.0
//
// Goal: co_await on a channel delivers everything, ends by close and by stop request from any
// thread, and coroutines that are given up leave no trace.
#include "same_signal.hpp"

#include <sigrun/coro.hpp>

#include <memory>

namespace sigrun::test {
namespace {

using coro::task;

class CoroAdapter : public ::testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};

task<> collect(coro::loop& loop, signal_chan ch, int n, std::vector<int>& got) {
  while (got.size() < static_cast<std::size_t>(n)) {
    got.push_back((co_await loop.recv(ch)).value().value_int());
  }
}

task<> sum_up(coro::loop& loop, chan<int> ch, std::stop_token stop, int& sum) {
  while (const auto value = co_await loop.recv(ch, stop)) sum += *value;
}

TEST_F(CoroAdapter, TwoLoopsAndTwoThreadsReceiveTheSameSignal) {
  two_loops_and_two_threads_receive_the_same_signal([](const signal_chan& ch, int n) {
    std::vector<int> got;
    coro::loop loop;
    loop.spawn(collect(loop, ch, n, got));
    loop.run();
    return got;
  });
}

TEST_F(CoroAdapter, TheExamplePrintsItsSignalsAndEnds) {
  the_example_prints_its_signals_and_ends("example_coro");
}

TEST_F(CoroAdapter, SeveralCoroutinesShareAChannelUntilItIsClosed) {
  coro::loop loop;
  chan<int> ch(4);
  int sum = 0;
  for (int i = 0; i < 5; ++i) loop.spawn(sum_up(loop, ch, {}, sum));
  std::thread sender([ch] {
    for (int i = 1; i <= 1000; ++i) ch.send(i);
    ch.close();
  });
  loop.run();
  sender.join();
  EXPECT_EQ(sum, 500500);
}

TEST_F(CoroAdapter, AStopRequestFromAnotherThreadEndsTheWait) {
  coro::loop loop;
  chan<int> ch(4);
  ch.send(1);
  int sum = 0;
  std::stop_source stop;
  loop.spawn(sum_up(loop, ch, stop.get_token(), sum));
  std::thread other([&] {
    while (ch.size() != 0) std::this_thread::yield();
    stop.request_stop();
  });
  loop.run();
  other.join();
  EXPECT_EQ(sum, 1);
}

TEST_F(CoroAdapter, AStoppedReceiveTakesNoValue) {
  coro::loop loop;
  chan<int> ch(4);
  ch.send(1);
  int sum = 0;
  std::stop_source stop;
  stop.request_stop();
  loop.spawn(sum_up(loop, ch, stop.get_token(), sum));
  loop.run();
  EXPECT_EQ(sum, 0);
  EXPECT_EQ(ch.size(), 1U);
}

task<std::unique_ptr<int>> twice(coro::loop& loop, chan<int> ch) {
  const auto value = co_await loop.recv(ch);
  if (!value) throw std::runtime_error("closed");
  co_return std::make_unique<int>(*value * 2);
}

task<> outer(coro::loop& loop, chan<int> ch, int& result) {
  result = *co_await twice(loop, ch);
  result += *co_await twice(loop, ch);
}

TEST_F(CoroAdapter, TasksAwaitTasksAndExceptionsReachRun) {
  coro::loop loop;
  chan<int> ch(4);
  int result = 0;
  loop.spawn(outer(loop, ch, result));
  std::thread sender([ch] {
    ch.send(21);
    ch.close();
  });
  EXPECT_THROW(loop.run(), std::runtime_error);
  sender.join();
  EXPECT_EQ(result, 42);
  loop.run();  // nothing is left, so it returns
}

TEST_F(CoroAdapter, ALoopThatIsGivenUpDestroysItsCoroutines) {
  chan<int> ch(1);
  chan<int> closed(1);
  closed.close();
  {
    coro::loop loop;
    int result = 0;
    int sum = 0;
    loop.spawn(sum_up(loop, ch, {}, sum));
    loop.spawn(outer(loop, closed, result));
    EXPECT_THROW(loop.run(), std::runtime_error);
  }
  EXPECT_TRUE(ch.try_send(1)) << "nobody receives any more";
  EXPECT_EQ(ch.size(), 1U);
}

task<> misuse(coro::loop& loop) { co_await loop.recv(chan<int>()); }

TEST_F(CoroAdapter, AnEmptyHandleIsRefused) {
  coro::loop loop;
  loop.spawn(misuse(loop));
  EXPECT_THROW(loop.run(), std::logic_error);
}

}  // namespace
}  // namespace sigrun::test
