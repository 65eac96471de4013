// SPDX-License-Identifier: Apache-2.0
//
// Goal: time behaves as Go's package time does (as of Go 1.23), from goroutines and from plain
// threads. Method: each behaviour that Go's own tests of sleep, timers and tickers look for, told
// anew. Lower bounds are exact; upper ones are only those that keep a test from waiting for ever.
#include <sigrun/go.hpp>
#include <sigrun/select.hpp>
#include <sigrun/time.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr auto long_time = 30s;  // what does not come before this does not come

// Under a sanitizer each goroutine and each allocation costs many times as much.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool slow_build = true;
#elif defined(__has_feature)
constexpr bool slow_build = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool slow_build = false;
#endif

enum class caller { goroutine, thread };

/// A concurrent body that is waited for: a goroutine or a thread, as the parameter says.
class runner {
 public:
  runner(caller who, std::function<void()> body) {
    if (who == caller::goroutine) {
      goroutine_ = go(std::move(body));
    } else {
      thread_ = std::thread(std::move(body));
    }
  }
  runner(runner&&) = default;
  ~runner() { join(); }
  void join() {
    if (goroutine_.joinable()) goroutine_.join();
    if (thread_.joinable()) thread_.join();
  }

 private:
  goroutine goroutine_;
  std::thread thread_;
};

class TimeTest : public ::testing::TestWithParam<caller> {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }

  runner start(std::function<void()> body) { return {GetParam(), std::move(body)}; }
  void run(std::function<void()> body) { start(std::move(body)).join(); }
};

INSTANTIATE_TEST_SUITE_P(From, TimeTest, ::testing::Values(caller::goroutine, caller::thread),
                         [](const auto& who) {
                           return who.param == caller::goroutine ? "Goroutine" : "Thread";
                         });

template <class T>
bool nothing_in(const chan<T>& ch) {
  T value{};
  return !ch.try_recv(value);
}

// ------------------------------------------------------------------------------------------ sleep

TEST_P(TimeTest, SleepIsNeverShorterThanAsked) {
  run([] {
    for (const nanoseconds wait : {nanoseconds(1), nanoseconds(100us), nanoseconds(3ms)}) {
      for (int i = 0; i < 20; ++i) {
        const auto begin = clock::now();
        sleep_for(wait);  // tidy: allow sleep, it is what is tested
        EXPECT_GE(clock::now() - begin, wait);
      }
    }
  });
}

TEST_P(TimeTest, SleepUntilEndsNotBeforeItsTime) {
  run([] {
    const auto deadline = clock::now() + 2ms;
    sleep_until(deadline);  // tidy: allow sleep, it is what is tested
    EXPECT_GE(clock::now(), deadline);
    const auto wall = std::chrono::system_clock::now() + 2ms;
    sleep_until(wall);  // tidy: allow sleep, it is what is tested
    EXPECT_GE(std::chrono::system_clock::now(), wall - 1ms);
  });
}

TEST_P(TimeTest, SleepOfZeroOrLessReturnsAtOnce) {
  run([] {
    for (int i = 0; i < 1000; ++i) {
      sleep_for(0ns);                         // tidy: allow sleep, it is what is tested
      sleep_for(-1h);                         // tidy: allow sleep, it is what is tested
      sleep_for(nanoseconds::min());          // tidy: allow sleep, it is what is tested
      sleep_until(clock::time_point::min());  // tidy: allow sleep, it is what is tested
    }
  });
}

TEST_P(TimeTest, ManySleepersWakeInTheOrderOfTheirDeadlines) {
  constexpr int count = 50;
  chan<int> woken(count);
  std::vector<runner> sleepers;
  const auto base = clock::now() + 20ms;
  for (int i = count - 1; i >= 0; --i) {
    sleepers.push_back(start([&woken, base, i] {
      sleep_until(base + i * 1ms);  // tidy: allow sleep, it is what is tested
      EXPECT_GE(clock::now(), base + i * 1ms);
      woken.send(i);
    }));
  }
  sleepers.clear();
  EXPECT_EQ(woken.size(), static_cast<std::size_t>(count));
}

// ------------------------------------------------------------------------------------------ after

TEST_P(TimeTest, AfterSendsTheTimeItWasDueAndNotBefore) {
  run([] {
    const auto begin = clock::now();
    const auto due = after(5ms).recv();
    ASSERT_TRUE(due.has_value());
    EXPECT_GE(*due, begin + 5ms);
    EXPECT_GE(clock::now(), *due);
  });
}

TEST_P(TimeTest, AfterZeroOrLessIsDueAtOnce) {
  run([] {
    clock::time_point due;
    EXPECT_EQ(after(0s).recv_for(long_time, due), chan_status::ok);
    EXPECT_EQ(after(-1h).recv_for(long_time, due), chan_status::ok);
    EXPECT_EQ(after(nanoseconds::min()).recv_for(long_time, due), chan_status::ok);
    EXPECT_LE(due, clock::now());
  });
}

TEST_P(TimeTest, AfterDeliversInTheOrderOfTheDeadlines) {
  run([] {
    chan<int> order(16);
    const int slots[] = {5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0};
    std::vector<timer> timers;
    for (const int slot : slots) {
      timers.push_back(after_func(slot * 10ms, [order, slot] { order.send(slot); }));
    }
    int last = -1;
    for (std::size_t i = 0; i < std::size(slots); ++i) {
      int slot = -1;
      ASSERT_EQ(order.recv_for(long_time, slot), chan_status::ok);
      EXPECT_GE(slot, last);
      last = slot;
    }
  });
}

TEST_P(TimeTest, AVeryLongTimerDoesNotGoOffNow) {
  run([] {
    timer longest(nanoseconds::max());
    timer longer(std::chrono::hours::max());
    EXPECT_TRUE(after(2ms).recv().has_value());
    EXPECT_TRUE(nothing_in(longest.channel()));
    EXPECT_TRUE(nothing_in(longer.channel()));
    EXPECT_TRUE(longest.stop());
    EXPECT_TRUE(longer.stop());
  });
}

TEST_P(TimeTest, SelectWaitsForTimersAmongOtherChannels) {
  run([] {
    chan<int> never(1);
    int got = 0;
    timer soon(2ms);
    timer late(long_time);
    EXPECT_EQ(select(recv_case(never, got), recv_case(late.channel()), recv_case(soon.channel())),
              2);
  });
}

// ------------------------------------------------------------------------------------- after_func

TEST_P(TimeTest, AfterFuncRunsTheFunctionOnceInAGoroutineOfItsOwn) {
  run([] {
    const std::uint64_t self = goroutine_id();
    chan<std::uint64_t> ran(2);
    after_func(1ms, [ran] { ran.send(goroutine_id()); });  // the handle is gone, it runs
    std::uint64_t id = 0;
    ASSERT_EQ(ran.recv_for(long_time, id), chan_status::ok);
    EXPECT_NE(id, 0u);
    EXPECT_NE(id, self);
    EXPECT_TRUE(after(5ms).recv().has_value());
    EXPECT_TRUE(nothing_in(ran));
  });
}

TEST_P(TimeTest, AfterFuncChainsItself) {
  run([] {
    chan<bool> done(1);
    auto count = std::make_shared<int>(10);
    auto step = std::make_shared<std::function<void()>>();
    *step = [=, weak = std::weak_ptr(step)] {
      if (--*count == 0) {
        done.send(true);
      } else {
        after_func(100us, [again = weak.lock()] { (*again)(); });
      }
    };
    after_func(0s, [step] { (*step)(); });
    bool out = false;
    EXPECT_EQ(done.recv_for(long_time, out), chan_status::ok);
    EXPECT_EQ(*count, 0);
  });
}

TEST_P(TimeTest, AFunctionThatBlocksHoldsUpNoOtherTimer) {
  run([] {
    chan<int> gate(0);
    chan<int> ended(1);
    after_func(0s, [gate, ended] {
      gate.recv();
      ended.send(1);
    });
    EXPECT_TRUE(after(2ms).recv().has_value());
    gate.close();
    int out = 0;
    EXPECT_EQ(ended.recv_for(long_time, out), chan_status::ok);
  });
}

TEST_P(TimeTest, AfterFuncIsNotStarvedByGoroutinesThatHandOver) {
  const int procs = max_procs(1);
  run([] {
    std::atomic<bool> stop{false};
    chan<int> left(0), right(0);
    auto player = [](chan<int> from, chan<int> to) {
      return [from, to] {
        while (from.recv().has_value()) {
          if (to.send_for(1, long_time) != chan_status::ok) return;
        }
        if (!to.closed()) to.close();
      };
    };
    auto one = go(player(left, right));
    auto two = go([&, right, left] {
      while (right.recv().has_value() && !stop) left.send(1);
      left.close();
    });
    after_func(10ms, [&stop] { stop = true; });
    left.send(1);
    two.join();
    one.join();
    EXPECT_TRUE(stop);
  });
  max_procs(procs);
}

TEST_P(TimeTest, AFunctionTimerHasNoChannel) {
  run([] {
    timer t = after_func(long_time, [] {});
    EXPECT_FALSE(t.channel());
    EXPECT_TRUE(t.stop());
  });
}

// --------------------------------------------------------------------------------- stop and reset

TEST_P(TimeTest, StopPreventsTheTimerAndSaysSo) {
  run([] {
    timer t(long_time);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
    std::atomic<bool> ran{false};
    timer f = after_func(long_time, [&ran] { ran = true; });
    EXPECT_TRUE(f.stop());
    EXPECT_FALSE(f.stop());
    EXPECT_FALSE(ran);
  });
}

TEST_P(TimeTest, StopAfterTheValueWasReceivedIsFalse) {
  run([] {
    timer t(0s);
    EXPECT_TRUE(t.channel().recv().has_value());
    EXPECT_FALSE(t.stop());
  });
}

TEST_P(TimeTest, StopTakesBackAValueThatNobodyReceived) {
  run([] {
    timer t(0s);
    while (t.channel().size() == 0) yield();
    EXPECT_TRUE(t.stop());
    EXPECT_TRUE(nothing_in(t.channel()));
    EXPECT_FALSE(t.stop());
  });
}

TEST_P(TimeTest, ResetPostponesAndLeavesNoStaleValue) {
  run([] {
    timer t(0s);
    while (t.channel().size() == 0) yield();
    const auto begin = clock::now();
    EXPECT_TRUE(t.reset(5ms));
    const auto due = t.channel().recv();
    ASSERT_TRUE(due.has_value());
    EXPECT_GE(*due, begin + 5ms);
    EXPECT_GE(clock::now(), begin + 5ms);
    EXPECT_FALSE(t.reset(long_time));
    EXPECT_TRUE(t.stop());
  });
}

TEST_P(TimeTest, ResetToAnEarlierTimeGoesOffEarlier) {
  run([] {
    timer t(1h);
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(t.reset(1h - i * 1min));
    }
    EXPECT_TRUE(t.reset(1ms));
    clock::time_point due;
    EXPECT_EQ(t.channel().recv_for(long_time, due), chan_status::ok);
  });
}

TEST_P(TimeTest, ResetRunsAFunctionAgain) {
  run([] {
    chan<int> ran(4);
    timer t = after_func(0s, [ran] { ran.send(1); });
    int out = 0;
    ASSERT_EQ(ran.recv_for(long_time, out), chan_status::ok);
    EXPECT_FALSE(t.reset(0s));
    ASSERT_EQ(ran.recv_for(long_time, out), chan_status::ok);
    EXPECT_FALSE(t.stop());
  });
}

TEST_P(TimeTest, AnEmptyTimerCannotBeStoppedOrReset) {
  run([] {
    timer t;
    EXPECT_THROW(t.stop(), std::logic_error);
    EXPECT_THROW(t.reset(1s), std::logic_error);
    EXPECT_FALSE(t.channel());
    ticker k;
    EXPECT_THROW(k.stop(), std::logic_error);
    EXPECT_THROW(k.reset(1s), std::logic_error);
    EXPECT_EQ(k.dropped(), 0u);
  });
}

// Each of many timers is stopped by one caller while another receives: exactly one of them has it.
TEST_P(TimeTest, EitherStopPreventsOrTheValueIsReceived) {
  std::atomic<int> stopped{0}, received{0};
  constexpr int rounds = 2000;
  run([&] {
    std::minstd_rand random(7);
    for (int i = 0; i < rounds; ++i) {
      timer t(nanoseconds(random() % 3000));
      chan<int> quit(1);
      runner receiver = start([&] {
        clock::time_point due;
        int out = 0;
        if (select(recv_case(t.channel(), due), recv_case(quit, out)) == 0) ++received;
      });
      if (i % 3 == 0) yield();
      if (t.stop()) ++stopped;
      quit.send(1);
      receiver.join();
      EXPECT_TRUE(nothing_in(t.channel()));
    }
  });
  EXPECT_EQ(stopped + received, rounds);
}

TEST_P(TimeTest, EitherStopPreventsOrTheFunctionRuns) {
  std::atomic<int> stopped{0}, ran{0};
  constexpr int rounds = 5000;
  run([&] {
    std::minstd_rand random(11);
    std::vector<timer> timers;
    for (int i = 0; i < rounds; ++i) {
      timers.push_back(after_func(nanoseconds(random() % 20'000), [&ran] { ++ran; }));
      if (timers[static_cast<std::size_t>(random() % timers.size())].stop()) ++stopped;
    }
    for (timer& t : timers) stopped += t.stop();
    while (stopped + ran < rounds) yield();
  });
  EXPECT_EQ(stopped + ran, rounds);
}

TEST_P(TimeTest, ResetsFromManySidesLeaveOneValue) {
  run([&] {
    timer t(1us);
    std::vector<runner> resetters;
    for (int i = 0; i < 4; ++i) {
      resetters.push_back(start([&t, i] {
        for (int n = 0; n < 500; ++n) t.reset(nanoseconds((n * 37 + i * 11) % 900));
      }));
    }
    resetters.clear();
    t.reset(0s);
    clock::time_point due;
    EXPECT_EQ(t.channel().recv_for(long_time, due), chan_status::ok);
    EXPECT_TRUE(after(2ms).recv().has_value());
    EXPECT_TRUE(nothing_in(t.channel()));
    EXPECT_FALSE(t.stop());
  });
}

TEST_P(TimeTest, ManyTimersStoppedBeforeTheirTimeStaySilent) {
  std::atomic<int> ran{0};
  run([&] {
    std::vector<runner> workers;
    for (int i = 0; i < 20; ++i) {
      workers.push_back(start([&ran] {
        std::vector<timer> timers;
        for (int n = 0; n < 100; ++n) {
          timers.push_back(after_func(long_time, [&ran] { ++ran; }));
        }
        for (timer& t : timers) EXPECT_TRUE(t.stop());
      }));
    }
  });
  EXPECT_EQ(ran, 0);
}

// ---------------------------------------------------------------------------------------- tickers

TEST_P(TimeTest, TicksComeAtMultiplesOfThePeriod) {
  run([] {
    const auto begin = clock::now();
    ticker t(2ms);
    clock::time_point last = begin;
    clock::time_point first{};
    for (int i = 0; i < 10; ++i) {
      clock::time_point due;
      ASSERT_EQ(t.channel().recv_for(long_time, due), chan_status::ok);
      EXPECT_GE(clock::now(), due);
      EXPECT_GE(due - last, 2ms);
      if (i == 0) first = due;
      EXPECT_EQ((due - first) % 2ms, 0ns);
      last = due;
    }
    t.stop();
    EXPECT_TRUE(nothing_in(t.channel()));
    EXPECT_TRUE(after(5ms).recv().has_value());
    EXPECT_TRUE(nothing_in(t.channel()));
  });
}

TEST_P(TimeTest, TicksForASlowReceiverAreDroppedAndCounted) {
  run([] {
    ticker t(100us);
    while (t.dropped() < 5) yield();
    clock::time_point one, two;
    ASSERT_EQ(t.channel().recv_for(long_time, one), chan_status::ok);
    ASSERT_EQ(t.channel().recv_for(long_time, two), chan_status::ok);
    EXPECT_GE(two - one, 500us);  // what lay between was dropped
    t.stop();
  });
}

TEST_P(TimeTest, ATickersPeriodCanBeChanged) {
  run([] {
    ticker t(1h);
    t.reset(1ms);
    clock::time_point due;
    ASSERT_EQ(t.channel().recv_for(long_time, due), chan_status::ok);
    t.reset(1h);
    EXPECT_TRUE(after(5ms).recv().has_value());
    EXPECT_TRUE(nothing_in(t.channel()));
    t.stop();
    t.reset(1ms);  // also after stop()
    ASSERT_EQ(t.channel().recv_for(long_time, due), chan_status::ok);
  });
}

TEST_P(TimeTest, APeriodOfZeroOrLessIsRefusedByName) {
  run([] {
    const auto message = [](auto body) {
      try {
        body();
      } catch (const std::invalid_argument& error) {
        return std::string(error.what());
      }
      return std::string("nothing thrown");
    };
    EXPECT_EQ(message([] { ticker t(0s); }), "sigrun::ticker: a period of 0 ns");
    EXPECT_EQ(message([] { ticker t(-5us); }), "sigrun::ticker: a period of -5000 ns");
    ticker good(1h);
    EXPECT_EQ(message([&] { good.reset(-1ns); }), "sigrun::ticker: a period of -1 ns");
    EXPECT_EQ(message([&] { good.reset(0ns); }), "sigrun::ticker: a period of 0 ns");
  });
}

TEST_P(TimeTest, ATickersEndEndsTheLoopOverItsChannel) {
  run([] {
    auto t = std::make_unique<ticker>(1ms);
    chan<int> ticked(1);
    runner loop(caller::goroutine, [ch = t->channel(), ticked] {
      int count = 0;
      for ([[maybe_unused]] const auto due : ch) {
        if (++count == 1) ticked.send(1);
      }
    });
    ticked.recv();
    t.reset();
    loop.join();
  });
}

// -------------------------------------------------------------------------------------- many

TEST_P(TimeTest, TenThousandTimersAllGoOff) {
  constexpr int count = 10'000;
  run([] {
    std::minstd_rand random(3);
    std::vector<timer> timers;
    for (int i = 0; i < count; ++i) timers.emplace_back(nanoseconds(random() % 20'000'000));
    for (timer& t : timers) {
      clock::time_point due;
      ASSERT_EQ(t.channel().recv_for(long_time, due), chan_status::ok);
    }
  });
}

TEST_P(TimeTest, AMillionTimersArePendingAtOnce) {
  const std::size_t count = slow_build ? 50'000 : 1'000'000;
  std::atomic<int> ran{0};
  run([&] {
    std::vector<timer> timers;
    timers.reserve(count);
    std::minstd_rand random(5);
    for (std::size_t i = 0; i < count; ++i) {
      timers.push_back(after_func(1h + nanoseconds(random()), [&ran] { ++ran; }));
    }
    EXPECT_TRUE(after(1ms).recv().has_value());  // others keep their time meanwhile
    std::size_t stopped = 0;
    for (std::size_t i = 0; i < count; i += 2) stopped += timers[i].stop();
    for (std::size_t i = 1; i < count; i += 2) stopped += timers[i].reset(2h);
    EXPECT_EQ(stopped, count);
    for (std::size_t i = 1; i < count; i += 2) stopped -= timers[i].stop();
    EXPECT_EQ(stopped, (count + 1) / 2);
  });
  EXPECT_EQ(ran, 0);
}

TEST_P(TimeTest, AHundredThousandFunctionsAllRun) {
  const int count = slow_build ? 2'000 : 100'000;
  std::atomic<int> ran{0};
  run([&] {
    std::minstd_rand random(9);
    for (int i = 0; i < count; ++i) {
      after_func(nanoseconds(random() % 300'000'000), [&ran] { ++ran; });
    }
    while (ran < count) after(1ms).recv();
  });
  EXPECT_EQ(ran, count);
}

TEST_P(TimeTest, TimersUnderLoadKeepTheirTime) {
  std::atomic<bool> stop{false};
  std::vector<goroutine> busy;
  for (int i = 0; i < 8; ++i) {
    busy.push_back(go([&stop] {
      while (!stop) yield();
    }));
  }
  run([] {
    for (int i = 0; i < 20; ++i) {
      const auto begin = clock::now();
      const auto due = after(1ms).recv();
      EXPECT_GE(clock::now() - begin, 1ms);
      EXPECT_GE(*due, begin + 1ms);
    }
  });
  stop = true;
  for (goroutine& g : busy) g.join();
}

}  // namespace
}  // namespace sigrun::test
