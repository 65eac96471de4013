// SPDX-License-Identifier: Apache-2.0
//
// The run queue alone: order, bounds, and that a G given to it comes out once, whoever takes it.
#include "sched/run_queue.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace sigrun::sched {
namespace {

std::vector<g> some(int n) { return std::vector<g>(static_cast<std::size_t>(n)); }

TEST(run_queue_test, gives_out_in_the_order_of_push) {
  run_queue queue;
  auto gs = some(5);
  for (g& gp : gs) EXPECT_TRUE(queue.push(&gp));
  for (g& gp : gs) EXPECT_EQ(queue.pop(), &gp);
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_TRUE(queue.empty());
}

TEST(run_queue_test, what_is_pushed_first_overtakes_and_displaces_one) {
  for (const bool shared : {true, false}) {
    run_queue queue;
    queue.set_shared(shared);
    auto gs = some(3);
    EXPECT_TRUE(queue.push(&gs[0]));
    EXPECT_EQ(queue.push_first(&gs[1]), nullptr);
    EXPECT_EQ(queue.push_first(&gs[2]), &gs[1]);
    EXPECT_EQ(queue.pop(), &gs[2]);
    EXPECT_EQ(queue.pop(), &gs[0]);
    EXPECT_TRUE(queue.empty());
  }
}

TEST(run_queue_test, a_full_ring_refuses_and_gives_up_its_oldest) {
  run_queue queue;
  auto gs = some(run_queue::room + 1);
  for (std::uint32_t i = 0; i < run_queue::room; ++i) EXPECT_TRUE(queue.push(&gs[i]));
  EXPECT_FALSE(queue.push(&gs[run_queue::room]));
  g_list oldest;
  queue.take_oldest(oldest);
  EXPECT_EQ(oldest.size(), static_cast<int>(run_queue::spill));
  EXPECT_EQ(oldest.pop(), &gs[0]);
  EXPECT_EQ(queue.pop(), &gs[run_queue::spill]);
}

TEST(run_queue_test, a_thief_takes_the_older_half_and_runs_the_youngest_of_it) {
  run_queue from;
  run_queue mine;
  auto gs = some(5);
  for (g& gp : gs) EXPECT_TRUE(from.push(&gp));
  EXPECT_EQ(from.steal_into(mine, false), &gs[2]);
  EXPECT_EQ(mine.pop(), &gs[0]);
  EXPECT_EQ(mine.pop(), &gs[1]);
  EXPECT_EQ(from.pop(), &gs[3]);
}

TEST(run_queue_test, the_first_place_is_stolen_only_when_asked_for_and_nothing_else_is_there) {
  run_queue from;
  run_queue mine;
  auto gs = some(1);
  from.push_first(&gs[0]);
  EXPECT_EQ(from.steal_into(mine, false), nullptr);
  EXPECT_EQ(from.steal_into(mine, true), &gs[0]);
  EXPECT_TRUE(from.empty());
}

TEST(run_queue_test, nothing_is_stolen_from_a_queue_that_is_not_shared) {
  run_queue from;
  run_queue mine;
  auto gs = some(2);
  from.set_shared(false);
  EXPECT_TRUE(from.push(&gs[0]));
  from.push_first(&gs[1]);
  EXPECT_EQ(from.steal_into(mine, true), nullptr);
}

// One owner that pushes, displaces and pops, and thieves with queues of their own.
TEST(run_queue_test, under_thieves_each_one_comes_out_once) {
  constexpr int count = 200'000;
  constexpr int thieves = 3;
  run_queue queue;
  auto gs = some(256);
  std::vector<std::atomic<int>> out(256);
  std::vector<std::atomic<bool>> in(256);
  std::atomic<bool> end{false};
  std::atomic<int> taken{0};
  const auto came_out = [&](g* gp) {
    const auto i = static_cast<std::size_t>(gp - gs.data());
    EXPECT_TRUE(in[i].exchange(false)) << "twice";
    out[i].fetch_add(1);
    taken.fetch_add(1);
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < thieves; ++t) {
    threads.emplace_back([&] {
      run_queue mine;
      while (!end.load()) {
        if (g* gp = queue.steal_into(mine, true)) came_out(gp);
        while (g* gp = mine.pop()) came_out(gp);
      }
    });
  }
  int given = 0;
  for (std::size_t i = 0; given < count; i = (i + 1) % gs.size()) {
    if (!in[i].load()) {
      in[i].store(true);
      g* gp = &gs[i];
      if (given % 3 == 0) gp = queue.push_first(gp);
      while (gp != nullptr && !queue.push(gp)) {
        g_list oldest;
        queue.take_oldest(oldest);
        while (g* old = oldest.pop()) came_out(old);
      }
      ++given;
    }
    if (given % 7 == 0) {
      if (g* gp = queue.pop()) came_out(gp);
    }
  }
  while (g* gp = queue.pop()) came_out(gp);
  end.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), count);
}

}  // namespace
}  // namespace sigrun::sched
