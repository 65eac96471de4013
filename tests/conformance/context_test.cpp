// SPDX-License-Identifier: Apache-2.0
//
// Goal: what users of Go's context expect of ours: the end goes down the tree and never up, comes
// once, with its reason; deadlines, values, functions at the end; nothing is left behind.
#include <sigrun/context.hpp>
#include <sigrun/select.hpp>
#include <sigrun/sync.hpp>

#include "support/callers.hpp"

#include <unistd.h>

#include <atomic>
#include <stdexcept>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

class ContextTest : public ::testing::TestWithParam<caller_kind> {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};
INSTANTIATE_TEST_SUITE_P(By, ContextTest,
                         ::testing::Values(caller_kind::threads, caller_kind::goroutines,
                                           caller_kind::mixed),
                         caller_name);

class ContextTreeTest : public ::testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};

const context_key<std::string> user("user");
const context_key<std::string> other_user("user");
const context_key<int> number("number");

bool is_closed(const done_chan& channel) {
  const int won = select(recv_case(channel), default_case);
  return won == 0;
}

std::string message_of(const std::exception_ptr& cause) {
  try {
    std::rethrow_exception(cause);
  } catch (const std::exception& error) {
    return error.what();
  }
}

// ----------------------------------------------------------------------------------- the root

TEST_F(ContextTreeTest, TheRootNeverEndsAndHasNothing) {
  const context root = context::background();
  EXPECT_TRUE(root == context());
  EXPECT_FALSE(root.err());
  EXPECT_FALSE(root.ended());
  EXPECT_EQ(root.cause(), nullptr);
  EXPECT_EQ(root.reason(), "");
  EXPECT_FALSE(root.deadline());
  EXPECT_EQ(root.value(user), nullptr);
  EXPECT_FALSE(root.done()) << "an empty handle, which select never takes";
  EXPECT_EQ(select(recv_case(root.done()), default_case), 1);
  EXPECT_FALSE(root.wait_for(1ms));
  EXPECT_EQ(root.describe(), "background");
  root.throw_if_ended();
}

// -------------------------------------------------------------------------------- cancellation

TEST_F(ContextTreeTest, CancelEndsItAndAllBelowAndNoneAbove) {
  auto [top, cancel_top] = with_cancel(context());
  auto [middle, cancel_middle] = with_cancel(top);
  const context valued = with_value(middle, number, 1);
  auto [low, cancel_low] = with_timeout(valued, 1h);
  auto [beside, cancel_beside] = with_cancel(top);
  const done_chan low_done = low.done();
  EXPECT_FALSE(is_closed(low_done));

  cancel_middle();
  EXPECT_TRUE(is_closed(low_done));
  EXPECT_TRUE(low_done == low.done()) << "the same one each time";
  for (const context& ctx : {middle, valued, low}) {
    EXPECT_EQ(ctx.err(), context_errc::canceled);
    EXPECT_EQ(ctx.err(), std::errc::operation_canceled);
    EXPECT_TRUE(is_closed(ctx.done()));
    EXPECT_TRUE(ctx.wait_for(0s));
    EXPECT_THROW(ctx.throw_if_ended(), std::system_error);
  }
  for (const context& ctx : {top, beside}) EXPECT_FALSE(ctx.ended());
  cancel_top();
  EXPECT_TRUE(beside.ended());
}

TEST_F(ContextTreeTest, BelowWhatHasEndedEverythingHasEnded) {
  auto [ctx, cancel] = with_cancel(context());
  cancel(std::runtime_error("over"));
  auto [child, cancel_child] = with_cancel(ctx);
  auto [timed, cancel_timed] = with_timeout(ctx, 1h);
  EXPECT_EQ(child.err(), context_errc::canceled);
  EXPECT_EQ(timed.err(), context_errc::canceled);
  EXPECT_EQ(timed.reason(), "over");
  EXPECT_TRUE(is_closed(child.done()));
}

TEST_F(ContextTreeTest, OnlyTheFirstEndCounts) {
  auto [ctx, cancel] = with_timeout(context(), 1h);
  cancel(std::runtime_error("first"));
  cancel(std::runtime_error("second"));
  cancel();
  EXPECT_EQ(ctx.reason(), "first");
  EXPECT_EQ(ctx.err(), context_errc::canceled);
  const cancel_function nothing;
  nothing();
}

TEST_F(ContextTreeTest, ACauseGoesDownAndTheNearerOneStays) {
  auto [top, cancel_top] = with_cancel_cause(context());
  auto [low, cancel_low] = with_cancel_cause(top);
  auto [lowest, cancel_lowest] = with_cancel(low);
  cancel_low(std::make_error_code(std::errc::connection_reset));
  cancel_top(std::runtime_error("shutdown"));
  EXPECT_EQ(top.reason(), "shutdown");
  EXPECT_EQ(message_of(lowest.cause()), low.reason());
  EXPECT_NE(low.reason().find("onnection reset"), std::string::npos);
  EXPECT_THROW(top.throw_if_ended(), std::runtime_error);

  auto [plain, cancel_plain] = with_cancel(context());
  EXPECT_EQ(plain.cause(), nullptr);
  cancel_plain();
  EXPECT_EQ(plain.reason(), "context canceled");
}

TEST_F(ContextTreeTest, AThousandChildrenEndWithTheirParentAndLeaveItWithoutIt) {
  auto [top, cancel] = with_cancel(context());
  std::vector<cancelable> children;
  for (int i = 0; i < 1'000; ++i) {
    children.push_back(i % 3 == 0 ? with_timeout(top, 1h) : with_cancel(top));
    if (i % 2 == 0) static_cast<void>(with_cancel(children.back().ctx));  // gone at once
  }
  for (std::size_t i = 0; i < 1'000; i += 5) children[i].cancel(std::runtime_error("own"));
  cancel(std::runtime_error("all"));
  for (std::size_t i = 0; i < 1'000; ++i) {
    EXPECT_EQ(children[i].ctx.reason(), i % 5 == 0 ? "own" : "all");
  }
}

TEST_F(ContextTreeTest, ATreeMayBeAsDeepAsMemoryAllowsOnASmallStack) {
  go([] {
    auto [top, cancel] = with_cancel(context());
    context deep = top;
    for (int i = 0; i < 50'000; ++i) {
      deep = i % 2 == 0 ? with_cancel(deep).ctx : with_value(deep, number, i);
    }
    EXPECT_EQ(*deep.value(number), 49'999);
    cancel();
    EXPECT_TRUE(deep.ended());
  }).join();
}

TEST_P(ContextTest, ManyThatWaitAreAllTold) {
  auto [ctx, cancel] = with_cancel(context());
  std::atomic<int> told{0};
  std::atomic<int> begun{0};
  callers all(GetParam());
  for (int i = 0; i < 24; ++i) {
    all.start([&, i, ctx = with_value(ctx, number, i)] {
      ++begun;
      if (i % 3 == 0) {
        ctx.wait();
      } else if (i % 3 == 1) {
        EXPECT_EQ(select(recv_case(ctx.done())), 0);
      } else {
        EXPECT_TRUE(with_timeout(ctx, 1h).ctx.wait_for(1h));
      }
      EXPECT_EQ(ctx.err(), context_errc::canceled);
      EXPECT_EQ(*ctx.value(number), i);
      ++told;
    });
  }
  yield_until([&] { return begun == 24; });
  EXPECT_EQ(told, 0);
  cancel();
  all.join();
  EXPECT_EQ(told, 24);
}

TEST_P(ContextTest, RacingCancelsAgreeOnOneCause) {
  const std::uint64_t start = seed();
  for (unsigned round = 0; round < 200; ++round) {
    auto made = with_cancel(context());
    auto low = with_timeout(made.ctx, std::chrono::nanoseconds((start + round) % 200'000));
    callers all(GetParam());
    std::vector<std::string> seen(4);
    for (std::size_t i = 0; i < 4; ++i) {
      all.start([&, i] {
        if (i % 2 == 0) {
          made.cancel(std::runtime_error("cause " + std::to_string(i)));
        } else {
          auto child = with_cancel(low.ctx);
          child.ctx.wait();
          low.ctx.wait();
        }
        low.ctx.wait();
        seen[i] = low.ctx.reason();
      });
    }
    all.join();
    for (const std::string& reason : seen) {
      EXPECT_EQ(reason, seen[0]);
      EXPECT_NE(reason, "");
    }
    EXPECT_EQ(made.ctx.err(), context_errc::canceled);
  }
}

TEST_P(ContextTest, DerivingAgainstCancellingLosesNoChild) {
  for (int round = 0; round < 100; ++round) {
    auto made = with_cancel(context());
    std::atomic<int> ended{0};
    callers all(GetParam());
    for (int i = 0; i < 4; ++i) {
      all.start([&] {
        for (int n = 0; n < 20; ++n) {
          auto child = with_cancel(made.ctx);
          auto grandchild = with_timeout(with_value(child.ctx, number, n), 1h);
          if (n % 4 == 3) continue;  // dropped
          if (n == 10) made.cancel();
          if (n >= 10) {
            grandchild.ctx.wait();
            ++ended;
          }
        }
      });
    }
    all.join();
    EXPECT_EQ(ended, 4 * 7);
  }
}

// ----------------------------------------------------------------------------------- deadlines

TEST_P(ContextTest, ADeadlineEndsItNeitherEarlyNorNever) {
  callers all(GetParam());
  for (int i = 0; i < 4; ++i) {
    all.start([i] {
      const auto at = steady_clock::now() + 10ms + i * 5ms;
      auto [ctx, cancel] = with_deadline(context(), at);
      EXPECT_EQ(ctx.deadline(), at);
      EXPECT_EQ(with_value(ctx, number, 1).deadline(), at);
      const bool ended = ctx.ended();
      EXPECT_TRUE(!ended || steady_clock::now() >= at);  // a busy machine may take that long
      ctx.wait();
      EXPECT_GE(steady_clock::now(), at);
      EXPECT_EQ(ctx.err(), context_errc::deadline_exceeded);
      EXPECT_EQ(ctx.err(), std::errc::timed_out);
      EXPECT_EQ(ctx.reason(), "context deadline exceeded");
      cancel();
      EXPECT_EQ(ctx.err(), context_errc::deadline_exceeded);
    });
  }
}

TEST_F(ContextTreeTest, DeadlinesEndInTheirOrder) {
  const auto now = steady_clock::now();
  std::vector<cancelable> made;
  for (const auto after : {30ms, 10ms, 20ms}) {
    made.push_back(with_deadline(context(), now + after));
  }
  made[1].ctx.wait();
  EXPECT_FALSE(made[0].ctx.ended() && steady_clock::now() < now + 30ms);
  made[2].ctx.wait();
  made[0].ctx.wait();
  EXPECT_GE(steady_clock::now(), now + 30ms);
}

TEST_F(ContextTreeTest, TheEarlierDeadlineStands) {
  const auto soon = steady_clock::now() + 500ms;
  auto [top, cancel_top] =
      with_deadline(context(), soon, std::make_exception_ptr(std::runtime_error("too slow")));
  auto [later, cancel_later] = with_timeout(top, 1h);
  auto [sooner, cancel_sooner] = with_timeout(top, 1ns);
  EXPECT_EQ(later.deadline(), soon);
  sooner.wait();
  EXPECT_EQ(sooner.reason(), "context deadline exceeded");
  later.wait();
  EXPECT_EQ(later.err(), context_errc::deadline_exceeded);
  EXPECT_EQ(later.reason(), "too slow");
}

TEST_F(ContextTreeTest, ADeadlineThatHasPassedEndsItAtOnce) {
  for (const auto timeout : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-1h)}) {
    auto [ctx, cancel] = with_timeout(context(), timeout);
    EXPECT_EQ(ctx.err(), context_errc::deadline_exceeded);
    EXPECT_TRUE(is_closed(ctx.done()));
  }
  auto [endless, cancel] = with_timeout(context(), std::chrono::hours::max());
  EXPECT_FALSE(endless.ended());
}

TEST_F(ContextTreeTest, TimersOfDroppedContextsAreGivenBack) {
  for (int round = 0; round < 20'000; ++round) {
    // Some fire while they are dropped.
    auto [ctx, cancel] = with_timeout(context(), std::chrono::microseconds(round % 50 + 1));
    if (round % 3 == 0) cancel();
    if (round % 7 == 0) ctx.wait();
  }
}

// -------------------------------------------------------------------------------------- values

TEST_F(ContextTreeTest, TheNearestValueIsSeenAndKeysAreObjects) {
  const context one = with_value(context(), user, "ann");
  const context two = with_value(one, other_user, "bob");
  auto [three, cancel] = with_cancel(with_value(two, number, 3));
  const context four = with_value(three, user, std::string("carl"));
  EXPECT_EQ(*one.value(user), "ann");
  EXPECT_EQ(one.value(other_user), nullptr);
  EXPECT_EQ(*three.value(user), "ann");
  EXPECT_EQ(*three.value(other_user), "bob");
  EXPECT_EQ(*four.value(user), "carl");
  EXPECT_EQ(*four.value(number), 3);
  EXPECT_EQ(four.describe(),
            "background.with_value(user).with_value(user).with_value(number).with_cancel"
            ".with_value(user)");
}

TEST_F(ContextTreeTest, WithoutCancelKeepsTheValuesAndNothingElse) {
  auto [top, cancel] = with_timeout(with_value(context(), number, 7), 1h);
  const context free = without_cancel(top);
  auto [below, cancel_below] = with_cancel(free);
  cancel();
  EXPECT_FALSE(free.ended());
  EXPECT_FALSE(below.ended());
  EXPECT_FALSE(free.deadline());
  EXPECT_FALSE(free.done());
  EXPECT_EQ(*below.value(number), 7);
  cancel_below();
  EXPECT_TRUE(below.ended());
}

TEST_F(ContextTreeTest, ValuesLiveAsLongAsTheContextsBelow) {
  auto shared = std::make_shared<int>(5);
  const context_key<std::shared_ptr<int>> key("shared");
  context low;
  {
    auto [middle, cancel] = with_cancel(with_value(context(), key, shared));
    low = with_value(middle, number, 1);
  }
  EXPECT_EQ(shared.use_count(), 2);
  EXPECT_EQ(**low.value(key), 5);
  low = context();
  EXPECT_EQ(shared.use_count(), 1);
}

// ----------------------------------------------------------------------------------- after_func

TEST_F(ContextTreeTest, AfterFuncRunsOnceInAGoroutineOfItsOwn) {
  auto [ctx, cancel] = with_cancel(context());
  std::atomic<std::uint64_t> id{0};
  wait_group ran(2);
  auto first = after_func(ctx, [&] {
    id = goroutine_id();
    ran.done();
  });
  cancel();
  cancel();
  auto late = after_func(ctx, [&] { ran.done(); });
  ran.wait();
  EXPECT_NE(id, 0U);
  EXPECT_FALSE(first());
  EXPECT_FALSE(late());
}

TEST_F(ContextTreeTest, AfterFuncThatWasTakenBackDoesNotRun) {
  auto owned = std::make_shared<int>(1);
  auto [ctx, cancel] = with_cancel(context());
  auto stop = after_func(ctx, [owned] { FAIL(); });
  EXPECT_EQ(owned.use_count(), 2);
  EXPECT_TRUE(stop());
  EXPECT_EQ(owned.use_count(), 1) << "its function is gone";
  EXPECT_FALSE(stop());
  cancel();
}

TEST_F(ContextTreeTest, AfterFuncOfADroppedContextNeverRunsAndIsDestroyed) {
  auto owned = std::make_shared<int>(1);
  {
    auto [ctx, cancel] = with_cancel(context());
    static_cast<void>(after_func(ctx, [owned] { FAIL(); }));
    static_cast<void>(after_func(context(), [owned] { FAIL(); }));
    EXPECT_EQ(owned.use_count(), 2) << "the root's never runs";
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(ContextTreeTest, AfterFuncOfADeadlineMayBlockAndCancelOthers) {
  auto [ctx, cancel] = with_timeout(context(), 5ms);
  auto [other, cancel_other] = with_cancel(context());
  auto stop = after_func(ctx, [ctx = ctx, cancel_other = cancel_other] {
    EXPECT_FALSE(context().wait_for(2ms));
    cancel_other(ctx.cause());
  });
  other.wait();
  EXPECT_EQ(other.reason(), "context deadline exceeded");
}

TEST_P(ContextTest, StoppingAgainstTheEndIsDecidedOnce) {
  for (int round = 0; round < 300; ++round) {
    auto made = with_cancel(context());
    std::atomic<int> ran{0};
    std::atomic<int> stopped{0};
    wait_group through;
    through.add();
    auto stop = after_func(made.ctx, [&] {
      ++ran;
      through.done();
    });
    callers all(GetParam());
    all.start([&] { made.cancel(); });
    all.start([&] {
      if (stop()) {
        ++stopped;
        through.done();
      }
    });
    all.join();
    through.wait();
    EXPECT_EQ(ran + stopped, 1);
  }
}

TEST_P(ContextTest, AStormOfTreesLeavesNothingBehind) {
  const std::uint64_t start = seed();
  auto owned = std::make_shared<int>(0);
  const context_key<std::shared_ptr<int>> key("owned");
  {
    callers all(GetParam());
    for (unsigned t = 0; t < 6; ++t) {
      all.start([&, t] {
        std::mt19937_64 random(start + t);
        std::vector<cancelable> nodes{with_cancel(with_value(context(), key, owned))};
        for (int i = 0; i < 4'000; ++i) {
          const context from = nodes[random() % nodes.size()].ctx;
          switch (random() % 6) {
            case 0:
              nodes.push_back(with_cancel(from));
              break;
            case 1:
              nodes.push_back(with_timeout(from, std::chrono::microseconds(random() % 500)));
              break;
            case 2:
              nodes.push_back(with_cancel(with_value(from, number, i)));
              break;
            case 3:
              nodes[random() % nodes.size()].cancel();
              if (nodes[0].ctx.ended()) nodes = {with_cancel(with_value(context(), key, owned))};
              break;
            case 4:
              static_cast<void>(from.wait_for(std::chrono::microseconds(random() % 20)));
              break;
            default:
              if (nodes.size() > 1) {
                std::swap(nodes[random() % nodes.size()], nodes.back());
                nodes.pop_back();
              }
          }
        }
      });
    }
  }
  // A timer that fired while its context was dropped may hold on for a moment more.
  yield_until([&] { return owned.use_count() == 1; });
}

}  // namespace
}  // namespace sigrun::test
