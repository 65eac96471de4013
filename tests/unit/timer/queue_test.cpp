// SPDX-License-Identifier: Apache-2.0
//
// Goal: the queue of deadlines pops what is due, in order, never early, whatever is added and
// removed meanwhile. Method: single cases, and seeded random runs beside a std::multimap.
#include "timer/queue.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace sigrun::sched::timer {
namespace {

constexpr std::int64_t us = 1'000, ms = 1'000 * us, second = 1'000 * ms;
constexpr std::int64_t year = 365 * 86'400 * second;

class TimerQueueTest : public ::testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }

  /// Everything due at `now`, also when it takes several calls.
  std::vector<node*> pop_all(std::int64_t now) {
    std::vector<node*> popped;
    do {
      while (node* n = queue_.pop_expired(now)) {
        EXPECT_LE(n->when(), now);
        EXPECT_FALSE(n->queued());
        popped.push_back(n);
      }
    } while (queue_.size() != 0 && queue_.next() <= now);
    return popped;
  }

  queue queue_;
};

TEST_F(TimerQueueTest, AnEmptyQueueHasNothingDue) {
  EXPECT_EQ(queue_.next(), queue::none);
  EXPECT_EQ(queue_.size(), 0u);
  EXPECT_EQ(queue_.pop_expired(0), nullptr);
  EXPECT_EQ(queue_.pop_expired(INT64_MAX), nullptr);
}

TEST_F(TimerQueueTest, PopsAtTheNanosecondAndNotBefore) {
  for (const std::int64_t when :
       {std::int64_t{1}, 63L, 64L, 65L, 4095L, 4096L, 100 * us, second, 3600 * second, 30 * year}) {
    queue wheel;
    node n;
    wheel.add(n, when);
    EXPECT_EQ(wheel.next(), when);
    EXPECT_EQ(wheel.pop_expired(when - 1), nullptr) << when;
    EXPECT_EQ(wheel.next(), when);
    EXPECT_EQ(wheel.pop_expired(when), &n) << when;
    EXPECT_EQ(wheel.next(), queue::none);
    EXPECT_EQ(wheel.pop_expired(when), nullptr);
  }
}

TEST_F(TimerQueueTest, TheLastDeadlineThereIsPopsAtItsTime) {
  node n;
  queue_.add(n, INT64_MAX);
  EXPECT_EQ(queue_.size(), 1u);
  EXPECT_EQ(queue_.pop_expired(INT64_MAX - 1), nullptr);
  EXPECT_EQ(queue_.pop_expired(INT64_MAX), &n);
}

TEST_F(TimerQueueTest, PastAndNegativeDeadlinesPopAtOnce) {
  const std::int64_t now = 5 * second;
  node late;
  queue_.add(late, 10 * second);
  EXPECT_TRUE(pop_all(now).empty());
  for (const std::int64_t when : {INT64_MIN, std::int64_t{-1}, std::int64_t{0}, second, now}) {
    node n;
    queue_.add(n, when);
    EXPECT_LE(queue_.next(), now) << when;
    EXPECT_EQ(n.when(), when);
    EXPECT_EQ(queue_.pop_expired(now), &n) << when;
  }
  EXPECT_EQ(queue_.size(), 1u);
}

TEST_F(TimerQueueTest, ANegativeNowIsTheBeginningOfTime) {
  node due, later;
  queue_.add(due, INT64_MIN);
  queue_.add(later, 1);
  EXPECT_EQ(queue_.pop_expired(-7), &due);
  EXPECT_EQ(queue_.pop_expired(-7), nullptr);
  EXPECT_EQ(queue_.pop_expired(1), &later);
}

TEST_F(TimerQueueTest, EqualDeadlinesPopInTheOrderAdded) {
  std::deque<node> nodes(1000);
  for (node& n : nodes) queue_.add(n, second);
  const auto popped = pop_all(second);
  ASSERT_EQ(popped.size(), nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) EXPECT_EQ(popped[i], &nodes[i]);
}

TEST_F(TimerQueueTest, WhatIsAddedWhileASlotIsOpenedKeepsItsPlace) {
  // More than one call's moves, so the first call leaves the slot half moved.
  std::deque<node> nodes(3 * queue::moves_per_call);
  for (node& n : nodes) queue_.add(n, second);
  EXPECT_EQ(queue_.pop_expired(second), nullptr);
  EXPECT_LE(queue_.next(), second);
  node same, earlier, overdue, later;
  queue_.add(same, second);
  queue_.add(earlier, second - 1);
  queue_.add(overdue, 1);
  queue_.add(later, 2 * second);
  EXPECT_TRUE(queue_.remove(nodes.back()));
  EXPECT_FALSE(queue_.remove(nodes.back()));
  const auto popped = pop_all(second);
  ASSERT_EQ(popped.size(), nodes.size() - 1 + 3);
  EXPECT_EQ(popped[0], &overdue);
  EXPECT_EQ(popped[1], &earlier);
  EXPECT_EQ(popped[2], &nodes[0]);
  EXPECT_EQ(popped.back(), &same);
  EXPECT_EQ(queue_.next(), 2 * second);
}

TEST_F(TimerQueueTest, RemovingAllOfASlotThatIsBeingOpenedEndsTheOpening) {
  std::deque<node> nodes(2 * queue::moves_per_call);
  for (node& n : nodes) queue_.add(n, second);
  EXPECT_EQ(queue_.pop_expired(second), nullptr);
  for (node& n : nodes) EXPECT_TRUE(queue_.remove(n));
  EXPECT_EQ(queue_.next(), queue::none);
  EXPECT_EQ(queue_.pop_expired(second), nullptr);
}

TEST_F(TimerQueueTest, RemoveSaysWhetherItWasQueued) {
  node n;
  EXPECT_FALSE(n.queued());
  EXPECT_FALSE(queue_.remove(n));
  queue_.add(n, second);
  EXPECT_TRUE(n.queued());
  EXPECT_TRUE(queue_.remove(n));
  EXPECT_FALSE(queue_.remove(n));
  queue_.add(n, 1);
  EXPECT_EQ(queue_.pop_expired(1), &n);
  EXPECT_FALSE(queue_.remove(n));
  EXPECT_EQ(queue_.size(), 0u);
}

TEST_F(TimerQueueTest, AWakeForARemovedDeadlineLearnsTheRealOne) {
  node soon, late, later;
  queue_.add(soon, second + 1);
  queue_.add(late, second + 1000);
  queue_.add(later, second + 2000);
  EXPECT_TRUE(queue_.remove(soon));
  EXPECT_LE(queue_.next(), second + 1000);
  int wakes = 0;
  node* popped = nullptr;
  for (; popped == nullptr; ++wakes) popped = queue_.pop_expired(queue_.next());
  EXPECT_EQ(popped, &late);
  EXPECT_LE(wakes, 2);
}

TEST_F(TimerQueueTest, OneCallMovesABoundedNumberOfNodes) {
  std::deque<node> nodes(100 * queue::moves_per_call);
  for (node& n : nodes) queue_.add(n, second);
  std::size_t empty_handed = 0;
  std::size_t popped = 0;
  while (queue_.size() != 0) {
    if (queue_.pop_expired(second) != nullptr) {
      ++popped;
    } else {
      ++empty_handed;
      ASSERT_LE(queue_.next(), second);
    }
  }
  EXPECT_EQ(popped, nodes.size());
  // At most one move for each wheel that a node passes, in calls of moves_per_call.
  EXPECT_GE(empty_handed, 100u);
  EXPECT_LE(empty_handed, 600u);
}

// ---------------------------------------------------------------------------- beside a multimap

struct item : node {
  std::int64_t due = 0;  // what the reference knows it under
  bool overdue = false;  // it was due when it was added
};

class reference_run {
 public:
  explicit reference_run(std::uint64_t seed) : random_(seed) {}

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      const std::uint64_t dice = random_() % 100;
      if (dice < 45) {
        add();
      } else if (dice < 70) {
        remove();
      } else if (dice < 95) {
        advance(false);
      } else {
        advance(true);
      }
      EXPECT_EQ(queue_.size(), pending_.size());
    }
    while (!pending_.empty() && !::testing::Test::HasFailure()) {
      pop_until(pending_.begin()->first);
    }
    EXPECT_EQ(queue_.next(), queue::none);
  }

 private:
  /// Near, far, in the past, on the borders of slots, and equal to others.
  std::int64_t deadline() {
    const std::uint64_t r = random_();
    const int scale = static_cast<int>(r >> 8 & 63);
    switch (r % 8) {
      case 0:
        return now_ - static_cast<std::int64_t>(random_() % 10'000);
      case 1:
        return now_ + static_cast<std::int64_t>(random_() % 4);
      case 2:  // the border of a slot
        return (now_ | ((std::int64_t{1} << scale % 50) - 1)) +
               static_cast<std::int64_t>(r >> 20 & 1);
      case 3:
        return pending_.empty() ? now_ : pending_.begin()->first;
      case 4:
        return pending_.empty() ? now_ : pending_.rbegin()->first;
      default:
        return now_ + static_cast<std::int64_t>(random_() % (std::uint64_t{1} << (1 + scale % 55)));
    }
  }

  void add() {
    item& n = free_.empty() ? nodes_.emplace_back() : *free_.back();
    if (!free_.empty()) free_.pop_back();
    const std::int64_t when = deadline();
    n.overdue = when <= now_;
    n.due = std::max(when, now_);
    queue_.add(n, when);
    pending_.emplace(n.due, &n);
    EXPECT_LE(queue_.next(), pending_.begin()->first);
  }

  void remove() {
    if (pending_.empty()) return;
    auto at = pending_.begin();
    if (random_() % 2 == 0) at = pending_.lower_bound(deadline());
    if (at == pending_.end()) at = std::prev(at);
    EXPECT_TRUE(queue_.remove(*at->second));
    EXPECT_FALSE(queue_.remove(*at->second));
    free_.push_back(at->second);
    pending_.erase(at);
  }

  void advance(bool far) {
    if (!far && !pending_.empty() && random_() % 2 == 0) {
      // As a scheduler does: to what next() says.
      return pop_until(std::max(now_, queue_.next()));
    }
    const int scale = static_cast<int>(random_() % (far ? 52 : 30));
    pop_until(now_ + static_cast<std::int64_t>(random_() % (std::uint64_t{1} << (1 + scale))));
  }

  void pop_until(std::int64_t now) {
    now_ = now;
    int empty_handed = 0;
    for (;;) {
      node* const popped = queue_.pop_expired(now);
      if (popped == nullptr) {
        if (queue_.size() == 0 || queue_.next() > now) break;
        ASSERT_LT(++empty_handed, 100'000);
        continue;
      }
      item& n = static_cast<item&>(*popped);
      ASSERT_FALSE(pending_.empty());
      const auto first = pending_.begin();
      if (n.overdue) {
        ASSERT_EQ(n.due, first->first);
        const auto [from, to] = pending_.equal_range(n.due);
        auto at = from;
        while (at != to && at->second != &n) ++at;
        ASSERT_NE(at, to);
        pending_.erase(at);
      } else {
        ASSERT_EQ(&n, first->second) << n.due << " popped, " << first->first << " expected";
        pending_.erase(first);
      }
      ASSERT_LE(n.when(), now);
      free_.push_back(&n);
    }
    ASSERT_TRUE(pending_.empty() || pending_.begin()->first > now);
  }

  std::mt19937_64 random_;
  std::deque<item> nodes_;
  std::vector<item*> free_;
  std::multimap<std::int64_t, item*> pending_;
  queue queue_;
  std::int64_t now_ = 0;
};

TEST_F(TimerQueueTest, BehavesAsAMultimapInRandomRuns) {
  std::uint64_t seed = std::random_device()();
  if (const char* given = std::getenv("SIGRUN_SEED")) seed = std::strtoull(given, nullptr, 10);
  SCOPED_TRACE("SIGRUN_SEED=" + std::to_string(seed));
  for (std::uint64_t i = 0; i < 300 && !HasFailure(); ++i) {
    SCOPED_TRACE("run " + std::to_string(i));
    reference_run(seed + i).run(i % 10 == 0 ? 10'000 : 500);
  }
}

TEST_F(TimerQueueTest, AMillionDeadlinesComeOutInOrder) {
  std::mt19937_64 random(20'261'123);
  std::vector<node> nodes(1'000'000);
  for (node& n : nodes) {
    queue_.add(n, second + static_cast<std::int64_t>(random() % (30 * second)));
  }
  std::size_t stopped = 0;
  for (std::size_t i = 0; i < nodes.size(); i += 10) stopped += queue_.remove(nodes[i]);
  EXPECT_EQ(stopped, 100'000u);
  std::int64_t last = 0;
  std::size_t popped = 0;
  for (std::int64_t now = 0; queue_.size() != 0; now += 7 * ms) {
    for (;;) {
      node* const n = queue_.pop_expired(now);
      if (n == nullptr) {
        if (queue_.size() == 0 || queue_.next() > now) break;
        continue;
      }
      ASSERT_GE(n->when(), last);
      ASSERT_LE(n->when(), now);
      ASSERT_GT(n->when(), now - 7 * ms);
      last = n->when();
      ++popped;
    }
  }
  EXPECT_EQ(popped, 900'000u);
}

}  // namespace
}  // namespace sigrun::sched::timer
