// SPDX-License-Identifier: Apache-2.0
//
// What a P keeps of the Gs that have ended; the depot behind it is tested with real ones in
// tests/unit/go/stepper_test.cpp.
#include "sched/free_gs.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

namespace sigrun::sched {
namespace {

class free_gs_test : public testing::Test {
 protected:
  g* fresh() { return made_.emplace_back(std::make_unique<g>()).get(); }
  free_gs kept_;

 private:
  std::vector<std::unique_ptr<g>> made_;
};

TEST_F(free_gs_test, the_one_that_ended_last_is_taken_first) {
  g* const a = fresh();
  g* const b = fresh();
  kept_.keep(a);
  kept_.keep(b);
  EXPECT_EQ(kept_.take(), b);
  EXPECT_EQ(kept_.take(), a);
  EXPECT_EQ(kept_.take(), nullptr);
  EXPECT_TRUE(kept_.empty());
}

TEST_F(free_gs_test, two_magazines_are_kept_and_the_third_is_surplus) {
  for (int i = 0; i < 2 * magazine::room; ++i) EXPECT_EQ(kept_.keep(fresh()).first, nullptr) << i;
  magazine surplus = kept_.keep(fresh());
  EXPECT_EQ(surplus.size, magazine::room);
  EXPECT_EQ(kept_.filling.size, 1);
  EXPECT_EQ(kept_.full.size, magazine::room);
}

TEST_F(free_gs_test, none_is_lost_and_none_is_there_twice) {
  constexpr int many = 5 * magazine::room + 17;
  std::set<g*> seen;
  const auto see = [&seen](g* gp) { EXPECT_TRUE(seen.insert(gp).second); };
  for (int i = 0; i < many; ++i) {
    magazine surplus = kept_.keep(fresh());
    while (g* gp = surplus.pop()) see(gp);
  }
  while (g* gp = kept_.take()) see(gp);
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(many));
}

TEST_F(free_gs_test, one_after_the_other_at_the_edge_moves_no_magazine) {
  for (int i = 0; i < 2 * magazine::room; ++i) kept_.keep(fresh());
  kept_.keep(fresh());
  for (int i = 0; i < 10; ++i) {
    g* const gp = kept_.take();
    ASSERT_NE(gp, nullptr);
    g* const other = kept_.take();
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(kept_.keep(other).first, nullptr);
    EXPECT_EQ(kept_.keep(gp).first, nullptr);
  }
}

}  // namespace
}  // namespace sigrun::sched
