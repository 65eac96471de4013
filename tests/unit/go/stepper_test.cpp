// SPDX-License-Identifier: Apache-2.0
//
// Goroutines one step at a time: no other thread, a virtual clock, and an order that the seed
// decides. What is claimed here holds for every seed tried, and a failure says which.
#include "sched/stepper.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>

#include "sched/clock.hpp"
#include "sched/scheduler.hpp"
#include "sys/clock.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace sigrun {
namespace {

using namespace std::chrono_literals;
using sched::stepper;

class StepperTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
  std::uint64_t seed() const { return static_cast<std::uint64_t>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(seeds, StepperTest, testing::Range(1, 9));

TEST_P(StepperTest, a_goroutine_does_not_run_before_a_step) {
  stepper s(seed());
  bool ran = false;
  goroutine h = go([&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_TRUE(s.step());
  EXPECT_TRUE(ran);
  EXPECT_TRUE(h.done());
  EXPECT_FALSE(s.step());
}

TEST_P(StepperTest, each_yield_is_a_step) {
  stepper s(seed());
  std::string order;
  go([&] {
    order += "a";
    yield();
    order += "b";
  });
  EXPECT_TRUE(s.step());
  EXPECT_EQ(order, "a");
  EXPECT_TRUE(s.step());
  EXPECT_EQ(order, "ab");
  EXPECT_FALSE(s.step());
}

TEST_P(StepperTest, the_same_seed_gives_the_same_order) {
  const auto order_of = [](std::uint64_t seed) {
    stepper s(seed);
    std::string order;
    for (char name = 'a'; name < 'g'; ++name) {
      go([&order, name] {
        for (int i = 0; i < 3; ++i) {
          order += name;
          yield();
        }
      });
    }
    s.run();
    return order;
  };
  EXPECT_EQ(order_of(seed()), order_of(seed()));
  EXPECT_NE(order_of(seed()), order_of(seed() + 100));
}

TEST_P(StepperTest, a_deadline_passes_when_the_clock_says_so_and_not_before) {
  stepper s(seed());
  chan<int> ch(0);
  chan_status status = chan_status::ok;
  goroutine h = go([&] {
    int value = 0;
    status = ch.recv_for(5ms, value);
  });
  s.run();
  s.advance(4'999'999);
  s.run();
  EXPECT_FALSE(h.done());
  s.advance(1);
  s.run();
  EXPECT_TRUE(h.done());
  EXPECT_EQ(status, chan_status::timeout);
}

TEST_P(StepperTest, a_value_and_a_deadline_at_once_lose_nothing) {
  stepper s(seed());
  chan<int> ch(0);
  int received = 0;
  int sent = 0;
  for (int i = 0; i < 20; ++i) {
    go([&] {
      int value = 0;
      if (ch.recv_for(1ms, value) == chan_status::ok) ++received;
    });
    go([&] {
      if (ch.send_for(1, 1ms) == chan_status::ok) ++sent;
    });
    if (i % 3 == 0) s.step();
    if (i % 5 == 0) s.advance(500'000);
  }
  s.run_through();
  EXPECT_EQ(sent, received);
  EXPECT_EQ(s.next_deadline(), sys::never);
}

TEST_P(StepperTest, a_day_passes_in_no_time) {
  stepper s(seed());
  chan<int> never(0);
  int rounds = 0;
  go([&] {
    int value = 0;
    while (rounds < 24 && never.recv_for(1h, value) == chan_status::timeout) ++rounds;
  });
  EXPECT_EQ(s.run_through(), std::chrono::nanoseconds(24h).count());
  EXPECT_EQ(rounds, 24);
}

TEST_P(StepperTest, join_gives_what_left_the_goroutine) {
  stepper s(seed());
  std::string what;
  go([&] {
    goroutine h = go([] {
      yield();
      throw std::runtime_error("left");
    });
    try {
      h.join();
    } catch (const std::runtime_error& e) {
      what = e.what();
    }
    EXPECT_FALSE(h.joinable());
  });
  s.run();
  EXPECT_EQ(what, "left");
}

TEST_P(StepperTest, exceptions_under_way_stay_with_their_goroutine) {
  stepper s(seed());
  std::vector<int> caught(8, -1);
  for (int i = 0; i < 8; ++i) {
    go([&caught, i] {
      try {
        throw i;
      } catch (int) {
        yield();
        try {
          throw;
        } catch (int again) {
          yield();
          caught[static_cast<std::size_t>(i)] = again;
        }
      }
    });
  }
  s.run();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(caught[static_cast<std::size_t>(i)], i);
}

TEST_P(StepperTest, goexit_runs_destructors_and_ends_the_goroutine_alone) {
  stepper s(seed());
  struct flag {
    bool& set;
    ~flag() { set = true; }
  };
  bool destroyed = false;
  bool after = false;
  goroutine h = go([&] {
    const flag guard{destroyed};
    [] { goexit(); }();
    after = true;
  });
  s.run();
  EXPECT_TRUE(h.done());
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(after);
  h.join();
}

TEST_P(StepperTest, the_listing_says_what_each_waits_for) {
  stepper s(seed());
  chan<int> ch(0);
  goroutine receiver = go({.name = "reader"}, [&] {
    set_goroutine_label("peer", "10.0.0.1");
    go([ch] { ch.recv(); });  // inherits the label
    ch.recv();
  });
  s.run();
  const auto all = goroutines();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].id, receiver.id());
  EXPECT_EQ(all[0].name, "reader");
  EXPECT_EQ(all[0].state, "chan receive");
  EXPECT_EQ(all[1].parent_id, receiver.id());
  ASSERT_EQ(all[1].labels.size(), 1U);
  EXPECT_EQ(all[1].labels[0].second, "10.0.0.1");
  EXPECT_NE(goroutines_text().find("[chan receive]: reader peer=10.0.0.1"), std::string::npos)
      << goroutines_text();
  ch.close();
  s.run();
  EXPECT_TRUE(goroutines().empty());
  EXPECT_EQ(goroutine_count(), 0U);
}

// Writes to each page of `depth` bytes below the frame.
[[gnu::noinline]] void use_stack(std::size_t depth) {
  auto* const bytes = static_cast<char*>(__builtin_alloca(depth));
  for (std::size_t i = 0; i < depth; i += 1024) bytes[i] = 1;
  asm volatile("" : : "r"(bytes) : "memory");
}

TEST_P(StepperTest, the_listing_says_how_deep_a_stack_has_been) {
  stepper s(seed());
  chan<int> ch(0);
  go({.name = "flat", .stack_size = 256 * 1024}, [&] { ch.recv(); });
  go({.name = "deep", .stack_size = 256 * 1024}, [&] {
    use_stack(100'000);
    ch.recv();
  });
  s.run();
  const auto all = goroutines();
  ASSERT_EQ(all.size(), 2U);
  const auto& deep = all[0].name == "deep" ? all[0] : all[1];
  const auto& flat = all[0].name == "deep" ? all[1] : all[0];
  EXPECT_GE(deep.stack_used, 100'000U);
  EXPECT_LT(deep.stack_used, deep.stack_size);
  EXPECT_GT(flat.stack_used, 0U);
  EXPECT_LT(flat.stack_used, 100'000U) << "a stack of that size has never been used before";
  ch.close();
  s.run();
}

TEST_P(StepperTest, the_depot_gives_back_what_ended_goroutines_used) {
  stepper s(seed());
  sched::processor& p = *sched::the_scheduler().ps[0].load();
  const auto run_in_the_free_one = [&](std::size_t depth) {
    goroutine h = go([depth] { use_stack(depth); });
    const std::size_t used = goroutines().at(0).stack_used;  // what the one before has left
    s.run();
    h.join();
    return used;
  };
  run_in_the_free_one(30'000);
  EXPECT_GE(run_in_the_free_one(0), 30'000U) << "kept warm, for the next one";
  sched::free_gs all = std::exchange(p.free, {});
  sched::give_to_depot(all.full);
  sched::give_to_depot(all.filling);
  sched::trim_depot();
  EXPECT_LT(run_in_the_free_one(0), 30'000U);
}

}  // namespace
}  // namespace sigrun
