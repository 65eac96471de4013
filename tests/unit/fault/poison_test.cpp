// SPDX-License-Identifier: Apache-2.0
//
// Locks that code under a guard held when it faulted.
#include "faulty.hpp"

#include "sync/wait_list.hpp"

#include <sigrun/fault.hpp>
#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;

template <class F>
fault fault_of(F f) {
  try {
    guarded(f);
  } catch (const fault_error& error) {
    return error.details();
  }
  return {};
}

bool names(const fault& what, const void* lock) {
  return std::ranges::find(what.poisoned(), lock) != what.poisoned().end();
}

template <class Lock>
class Poison : public ::testing::Test {};
using both = ::testing::Types<mutex, rw_mutex>;
TYPED_TEST_SUITE(Poison, both);

TYPED_TEST(Poison, ALockThatWasHeldIsPoisonedAndNamed) {
  TypeParam lock;
  const fault what = fault_of([&] {
    const std::lock_guard hold(lock);
    load(near_null);
  });
  ASSERT_EQ(what.signal, SIGSEGV);
  EXPECT_TRUE(names(what, &lock));
  EXPECT_NE(describe(what).find("locks poisoned: 1"), std::string::npos) << describe(what);
  EXPECT_TRUE(lock.poisoned());
  EXPECT_FALSE(lock.try_lock());
  EXPECT_THROW(lock.lock(), lock_poisoned);
  EXPECT_THROW(static_cast<void>(lock.try_lock_for(1s)), lock_poisoned);
  lock.unlock();  // by somebody who knows nothing of it
  EXPECT_TRUE(lock.poisoned());
  lock.clear_poison();
  EXPECT_FALSE(lock.poisoned());
  lock.lock();
  lock.unlock();
}

TYPED_TEST(Poison, OneThatWasGivenUpOrTakenOutsideIsNot) {
  TypeParam outside;
  TypeParam given_up;
  const std::unique_lock hold(outside);
  const fault what = fault_of([&] {
    given_up.lock();
    given_up.unlock();
    load(near_null);
  });
  EXPECT_EQ(what.signal, SIGSEGV);
  EXPECT_TRUE(what.poisoned().empty());
  EXPECT_FALSE(outside.poisoned());
  EXPECT_FALSE(given_up.poisoned());
}

TYPED_TEST(Poison, OneTakenInAnInnerGuardBelongsToTheOuterOneAfterIt) {
  TypeParam lock;
  const fault what = fault_of([&] {
    guarded([&] { lock.lock(); });
    load(near_null);
  });
  EXPECT_TRUE(names(what, &lock));
  EXPECT_TRUE(lock.poisoned());
}

TYPED_TEST(Poison, OneOfTheOuterGuardIsGivenUpInTheInner) {
  TypeParam lock;
  const fault what = fault_of([&] {
    lock.lock();
    guarded([&] { lock.unlock(); });
    load(near_null);
  });
  EXPECT_TRUE(what.poisoned().empty());
  lock.lock();
  lock.unlock();
}

TYPED_TEST(Poison, ThoseWhoWaitAreToldAndNobodyHangs) {
  TypeParam lock;
  std::atomic<int> told{0};
  std::atomic<bool> held{false};
  const auto ask = [&] {
    try {
      lock.lock();
      lock.unlock();
    } catch (const lock_poisoned& error) {
      told += error.code() == std::errc::owner_dead;
    }
  };
  run([&] {
    std::vector<goroutine> waiting;
    std::thread thread;
    auto holder = go([&] {
      const fault what = fault_of([&] {
        lock.lock();
        held = true;
        while (detail::sync_access::waiting(lock) < 9) yield();
        load(near_null);
      });
      EXPECT_TRUE(names(what, &lock));
    });
    while (!held) yield();
    for (int i = 0; i < 8; ++i) waiting.push_back(go(ask));
    thread = std::thread(ask);
    holder.join();
    for (auto& g : waiting) g.join();
    foreign_call([&] { thread.join(); });
  });
  EXPECT_EQ(told.load(), 9);
  EXPECT_EQ(detail::sync_access::waiting(lock), 0u);
}

TEST(PoisonShared, AReadLockIsReleased) {
  rw_mutex lock;
  const fault what = fault_of([&] {
    const std::shared_lock hold(lock);
    load(near_null);
  });
  EXPECT_EQ(what.signal, SIGSEGV);
  EXPECT_TRUE(what.poisoned().empty());
  EXPECT_FALSE(lock.poisoned());
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
}

TEST(PoisonTable, MoreLocksThanItHoldsAreCounted) {
  std::vector<mutex> locks(20);
  const auto before = read_fault_counts();
  const fault what = fault_of([&] {
    for (auto& lock : locks) lock.lock();
    load(near_null);
  });
  EXPECT_EQ(what.poisoned().size(), fault::locks_max);
  EXPECT_EQ(read_fault_counts().poisoned - before.poisoned, 16u);
  EXPECT_EQ(read_fault_counts().locks_missed - before.locks_missed, 4u);
}

}  // namespace
}  // namespace sigrun::test
