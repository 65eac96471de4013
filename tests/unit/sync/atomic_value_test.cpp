// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a user of atomic_value may rely on: versions that stay while they are read, and are
// gone as soon as nobody reads them, on whatever thread.
#include <sigrun/atomic_value.hpp>

#include "sync_fixture.hpp"

#include <algorithm>
#include <array>
#include <atomic>

namespace sigrun::test {
namespace {

struct tracked {
  static inline std::atomic<int> alive{0};
  explicit tracked(int v) : value(v) { ++alive; }
  tracked(tracked&& o) noexcept : value(o.value) { ++alive; }
  ~tracked() { --alive; }
  int value;
};

class AtomicValueTest : public SyncTest {
 protected:
  void TearDown() override {
    EXPECT_EQ(tracked::alive, 0);
    SyncTest::TearDown();
  }
};

constinit atomic_value<int> global_value;

TEST_F(AtomicValueTest, IsEmptyUntilTheFirstStore) {
  EXPECT_FALSE(global_value.load());
  EXPECT_EQ(global_value.load().get(), nullptr);
  global_value.store(3);
  ASSERT_TRUE(global_value.load());
  EXPECT_EQ(*global_value.load(), 3);
}

TEST_F(AtomicValueTest, ASnapshotStaysAsItIsAndTheLastOneEndsItsVersion) {
  atomic_value<tracked> value(tracked(1));
  auto first = value.load();
  auto again = value.load();
  value.store(tracked(2));
  EXPECT_EQ(first->value, 1);
  EXPECT_EQ(value.load()->value, 2);
  EXPECT_EQ(tracked::alive, 2);
  EXPECT_TRUE(first == again);
  first = {};
  EXPECT_EQ(again->value, 1);
  EXPECT_EQ(tracked::alive, 2);
  again = {};
  EXPECT_EQ(tracked::alive, 1) << "no store was needed for that";
}

TEST_F(AtomicValueTest, WithoutReadersTheStoreEndsTheVersion) {
  atomic_value<tracked> value(tracked(0));
  for (int i = 1; i < 100; ++i) {
    value.store(tracked(i));
    EXPECT_EQ(tracked::alive, 1);
  }
}

TEST_F(AtomicValueTest, ASnapshotMayOutliveTheValueAndTheThreadThatMadeIt) {
  atomic_value<tracked>::snapshot kept;
  {
    atomic_value<tracked> value(tracked(5));
    std::thread([&] { kept = value.load(); }).join();
  }
  EXPECT_EQ(kept->value, 5);
  std::thread([mine = std::move(kept)]() mutable { mine = {}; }).join();
  EXPECT_EQ(tracked::alive, 0);
}

TEST_F(AtomicValueTest, AnyNumberOfSnapshotsInAnyOrder) {
  const std::uint64_t start = seed();
  std::mt19937_64 random(start);
  atomic_value<tracked> value(tracked(0));
  std::vector<atomic_value<tracked>::snapshot> kept;
  for (int i = 1; i < 400; ++i) {
    for (int n = 0; n < 5; ++n) kept.push_back(value.load());
    value.store(tracked(i));
    while (random() % 3 != 0 && !kept.empty()) {
      std::swap(kept[random() % kept.size()], kept.back());
      kept.pop_back();
    }
  }
  std::vector<const tracked*> distinct;
  for (auto& snapshot : kept) distinct.push_back(snapshot.get());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  EXPECT_EQ(tracked::alive, static_cast<int>(distinct.size()) + 1);
  kept.clear();
  EXPECT_EQ(tracked::alive, 1);
}

TEST_F(AtomicValueTest, SwapGivesWhatWasReplaced) {
  atomic_value<tracked> value;
  EXPECT_FALSE(value.swap(tracked(1)));
  auto before = value.swap(tracked(2));
  EXPECT_EQ(before->value, 1);
  EXPECT_EQ(value.load()->value, 2);
  EXPECT_EQ(tracked::alive, 2);
}

TEST_F(AtomicValueTest, CompareExchangeReplacesOnlyTheVersionThatWasSeen) {
  atomic_value<tracked> value;
  atomic_value<tracked>::snapshot seen;
  EXPECT_TRUE(value.compare_exchange(seen, tracked(1)));
  EXPECT_FALSE(value.compare_exchange(seen, tracked(2)));
  EXPECT_EQ(seen->value, 1);
  value.store(tracked(1));
  EXPECT_FALSE(value.compare_exchange(seen, tracked(2))) << "an equal value, another version";
  EXPECT_TRUE(value.compare_exchange(seen, tracked(2)));
  EXPECT_EQ(seen->value, 1) << "still held";
  EXPECT_EQ(value.load()->value, 2);
}

TEST_F(AtomicValueTest, UpdatesOfManyThreadsAllCount) {
  atomic_value<int> value(0);
  {
    threads all;
    for (int t = 0; t < 4; ++t) {
      all.start([&] {
        for (int i = 0; i < 500; ++i) value.update([](int before) { return before + 1; });
      });
    }
  }
  EXPECT_EQ(*value.load(), 2'000);
}

TEST_F(AtomicValueTest, AFailedConstructionChangesNothing) {
  struct fragile {
    explicit fragile(int v) : value(v) {}
    fragile(fragile&& o) : value(o.value) {
      if (value < 0) throw std::runtime_error("fragile");
    }
    int value;
  };
  atomic_value<fragile> value(fragile(1));
  EXPECT_THROW(value.store(fragile(-1)), std::runtime_error);
  EXPECT_THROW(static_cast<void>(value.swap(fragile(-1))), std::runtime_error);
  EXPECT_EQ(value.load()->value, 1);
}

TEST_F(AtomicValueTest, ReadersNeverSeeAHalfStateAndNothingIsLeftBehind) {
  struct state {
    explicit state(int v) { numbers.fill(v); }
    state(state&&) = default;
    ~state() { numbers.fill(-1); }
    tracked mark{0};
    std::array<int, 16> numbers{};
  };
  {
    atomic_value<state> value(state(0));
    std::atomic<bool> stop{false};
    std::atomic<int> torn{0};
    threads readers;
    for (int t = 0; t < 4; ++t) {
      readers.start([&] {
        atomic_value<state>::snapshot slow;
        for (int i = 0; !stop; ++i) {
          auto now = value.load();
          if (i % 64 == 0) slow = value.load();
          for (const auto* s : {now.get(), slow.get()}) {
            const int v = s->numbers[0];
            if (v < 0) ++torn;
            for (int n : s->numbers) torn += n != v;
          }
          if (i % 1024 == 0) std::thread([mine = std::move(now)] {}).join();
        }
      });
    }
    {
      threads writers;
      for (int t = 0; t < 2; ++t) {
        writers.start([&] {
          for (int i = 1; i < 3'000; ++i) value.store(state(i));
        });
      }
    }
    stop = true;
    readers.join();
    EXPECT_EQ(torn, 0);
    EXPECT_EQ(tracked::alive, 1);
  }
  EXPECT_EQ(tracked::alive, 0);
}

}  // namespace
}  // namespace sigrun::test
