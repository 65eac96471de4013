// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a user of cond, wait_group, once and semaphore may rely on.
#include "sync_fixture.hpp"

#include <atomic>
#include <memory>
#include <shared_mutex>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

class CondTest : public SyncTest {};
class WaitGroupTest : public SyncTest {};
class OnceTest : public SyncTest {};
class SemaphoreTest : public SyncTest {};

// ----------------------------------------------------------------------------------------- cond

TEST_F(CondTest, NotifyOneWakesTheOneThatHasWaitedLongest) {
  mutex lock;
  cond changed;
  std::vector<int> order;
  wait_group woken;
  threads all;
  for (int i = 0; i < 4; ++i) {
    all.start([&, i] {
      std::unique_lock hold(lock);
      changed.wait(hold);
      order.push_back(i);
      hold.unlock();
      woken.done();
    });
    until_waiting(changed, static_cast<std::size_t>(i) + 1);
  }
  for (int i = 0; i < 4; ++i) {
    woken.add();
    changed.notify_one();
    woken.wait();
    const std::lock_guard hold(lock);
    EXPECT_EQ(order.size(), static_cast<std::size_t>(i) + 1) << "each notify wakes one";
  }
  all.join();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(CondTest, NotifyAllWakesAllThatWaitAndNobodyLater) {
  mutex lock;
  cond changed;
  changed.notify_all();
  changed.notify_one();
  threads all;
  for (std::size_t i = 0; i < 5; ++i) {
    all.start([&] {
      std::unique_lock hold(lock);
      changed.wait(hold);
    });
    until_waiting(changed, i + 1);
  }
  changed.notify_all();
  all.join();
  std::unique_lock hold(lock);
  EXPECT_EQ(changed.wait_for(hold, 1ms), std::cv_status::timeout);
  EXPECT_TRUE(hold.owns_lock());
}

TEST_F(CondTest, APredicateIsWaitedForUntilTheDeadline) {
  mutex lock;
  cond changed;
  bool ready = false;
  std::unique_lock hold(lock);
  const auto begin = steady_clock::now();
  EXPECT_FALSE(changed.wait_until(hold, begin + 10ms, [&] { return ready; }));
  EXPECT_GE(steady_clock::now() - begin, 10ms);
  EXPECT_FALSE(changed.wait_for(hold, 0s, [&] { return ready; }));
  std::thread other([&] {
    const std::lock_guard mine(lock);
    ready = true;
    changed.notify_all();
  });
  EXPECT_TRUE(changed.wait_for(hold, 1h, [&] { return ready; }));
  changed.wait(hold, [&] { return ready; });
  hold.unlock();
  other.join();
}

TEST_F(CondTest, ANotifyIsNotSpentOnAWaiterThatTimesOut) {
  mutex lock;
  cond changed;
  for (int round = 0; round < 200; ++round) {
    int arrived = 0;
    bool impatient_notified = false;
    const auto until_arrived = [&](int n) {
      for (;;) {
        const std::lock_guard hold(lock);
        if (arrived == n) return;
      }
    };
    std::thread impatient([&] {
      std::unique_lock hold(lock);
      ++arrived;
      impatient_notified = changed.wait_for(hold, 60us) == std::cv_status::no_timeout;
    });
    until_arrived(1);
    std::thread patient([&] {
      std::unique_lock hold(lock);
      ++arrived;
      changed.wait(hold);
    });
    until_arrived(2);
    changed.notify_one();
    impatient.join();
    if (impatient_notified) changed.notify_one();
    patient.join();  // else that one notify was for it
  }
}

TEST_F(CondTest, WorksUnderAnyLock) {
  rw_mutex lock;
  cond changed;
  std::atomic<bool> go{false};
  std::thread reader([&] {
    std::shared_lock hold(lock);
    changed.wait(hold, [&] { return go.load(); });
    EXPECT_FALSE(lock.try_lock());
  });
  until_waiting(changed, 1);
  {
    const std::lock_guard hold(lock);
    go = true;
  }
  changed.notify_one();
  reader.join();
}

TEST_F(CondTest, ALockThatCannotBeReleasedLeavesNoWaiterBehind) {
  mutex lock;  // not locked, which a wait must not survive in silence
  cond changed;
  EXPECT_THROW(changed.wait(lock), std::logic_error);
  EXPECT_EQ(detail::sync_access::waiting(changed), 0U);
}

TEST_F(CondTest, HandsABufferToAndFroWithoutLosingAWake) {
  mutex lock;
  cond changed;
  int turn = 0;
  threads all;
  for (int t = 0; t < 3; ++t) {
    all.start([&, t] {
      for (int i = 0; i < 3'000; ++i) {
        std::unique_lock hold(lock);
        changed.wait(hold, [&] { return turn % 3 == t; });
        ++turn;
        changed.notify_all();
      }
    });
  }
  all.join();
  EXPECT_EQ(turn, 9'000);
}

// ----------------------------------------------------------------------------------- wait_group

TEST_F(WaitGroupTest, AllWaitersGoOnWhenTheLastIsDone) {
  wait_group group(2);
  std::atomic<int> through{0};
  threads all;
  for (std::size_t i = 0; i < 4; ++i) {
    all.start([&] {
      group.wait();
      ++through;
    });
    until_waiting(group, i + 1);
  }
  group.done();
  EXPECT_EQ(through, 0);
  EXPECT_EQ(group.count(), 1);
  group.done();
  all.join();
  EXPECT_EQ(through, 4);
  group.wait();
}

TEST_F(WaitGroupTest, ANegativeCounterIsRefusedAndChangesNothing) {
  wait_group group;
  EXPECT_EQ(logic_error_text([&] { group.done(); }), "sigrun::wait_group: negative counter");
  group.add(3);
  EXPECT_THROW(group.add(-4), std::logic_error);
  EXPECT_THROW(group.add(INT64_MIN), std::logic_error);
  EXPECT_THROW(group.add(INT64_MAX), std::logic_error);
  EXPECT_EQ(group.count(), 3);
  std::thread waiter([&] { group.wait(); });
  until_waiting(group, 1);
  EXPECT_THROW(group.add(-4), std::logic_error);
  group.add(1);
  group.add(-4);
  waiter.join();
}

TEST_F(WaitGroupTest, ADeadlineEndsTheWait) {
  wait_group group(1);
  const auto begin = steady_clock::now();
  EXPECT_FALSE(group.wait_for(10ms));
  EXPECT_GE(steady_clock::now() - begin, 10ms);
  EXPECT_FALSE(group.wait_until(begin));
  EXPECT_FALSE(group.wait_for(-1h));
  group.done();
  EXPECT_TRUE(group.wait_for(-1h));
}

TEST_F(WaitGroupTest, CanBeUsedAgainAtOnce) {
  wait_group group;
  wait_group all_done(2);
  threads all;
  for (int t = 0; t < 2; ++t) {
    all.start([&] {
      for (int i = 0; i < 5'000; ++i) {
        group.add();
        group.done();
      }
      all_done.done();
    });
  }
  while (all_done.count() != 0) group.wait();
  all.join();
  EXPECT_EQ(group.count(), 0);
}

TEST_F(WaitGroupTest, MayBeDestroyedWhenTheWaitReturns) {
  for (int round = 0; round < 3'000; ++round) {
    auto group = std::make_unique<wait_group>(2);
    std::thread a([&g = *group] { g.done(); });
    std::thread b([&g = *group] { g.done(); });
    if (round % 2 == 0) {
      group->wait();
    } else {
      while (!group->wait_for(2us)) {
      }
    }
    group.reset();
    a.join();
    b.join();
  }
}

// ----------------------------------------------------------------------------------------- once

TEST_F(OnceTest, ManyCallersRunItOnceAndAllSeeItsEnd) {
  for (int round = 0; round < 200; ++round) {
    once only;
    int plain = 0;
    threads all;
    for (int t = 0; t < 5; ++t) {
      all.start([&] {
        only.call([&](int add) { plain += add; }, 7);
        EXPECT_EQ(plain, 7);
      });
    }
    all.join();
    EXPECT_TRUE(only.done());
  }
}

TEST_F(OnceTest, AnExceptionLetsTheNextOneTry) {
  once only;
  std::atomic<int> tries{0};
  std::atomic<int> failed{0};
  threads all;
  for (int t = 0; t < 6; ++t) {
    all.start([&] {
      try {
        only.call([&] {
          if (tries.fetch_add(1) < 3) throw std::runtime_error("not yet");
        });
      } catch (const std::runtime_error&) {
        ++failed;
      }
    });
  }
  all.join();
  EXPECT_EQ(tries, 4);
  EXPECT_EQ(failed, 3);
  EXPECT_TRUE(only.done());
}

TEST_F(OnceTest, CallingItFromItsOwnFunctionThrows) {
  once only;
  EXPECT_EQ(logic_error_text([&] { only.call([&] { only.call([] {}); }); }),
            "sigrun::once: called by its own function");
  EXPECT_FALSE(only.done());
  only.call([] {});
  EXPECT_TRUE(only.done());
}

// ------------------------------------------------------------------------------------ semaphore

TEST_F(SemaphoreTest, ALargeRequestIsNotOvertaken) {
  semaphore permits(3);
  permits.acquire(2);
  std::string order;
  threads all;
  all.start([&] {
    permits.acquire(3);
    order += 'L';
    permits.release(3);
  });
  until_waiting(permits, 1);
  EXPECT_FALSE(permits.try_acquire()) << "one is there, but the large request is first";
  all.start([&] {
    permits.acquire();
    order += 's';
    permits.release();
  });
  until_waiting(permits, 2);
  permits.release(2);
  all.join();
  EXPECT_EQ(order, "Ls");
  EXPECT_EQ(permits.available(), 3);
}

TEST_F(SemaphoreTest, ARequestThatGivesUpLetsInThoseBehindIt) {
  semaphore permits(1);
  threads all;
  std::atomic<bool> gave_up{false};
  std::atomic<bool> small{false};
  all.start([&] { gave_up = !permits.try_acquire_for(50ms, 2); });
  until_waiting(permits, 1);
  all.start([&] {
    permits.acquire();
    small = true;
  });
  all.join();
  EXPECT_TRUE(gave_up);
  EXPECT_TRUE(small);
  EXPECT_EQ(permits.available(), 0);
}

TEST_F(SemaphoreTest, MisuseIsAnErrorThatNamesTheNumber) {
  EXPECT_EQ(logic_error_text([] { semaphore bad(-2); }),
            "sigrun::semaphore::semaphore: -2 permits");
  semaphore permits(1);
  EXPECT_THROW(permits.acquire(-1), std::invalid_argument);
  EXPECT_THROW(permits.release(-1), std::invalid_argument);
  EXPECT_THROW(permits.release(INT64_MAX), std::logic_error);
  EXPECT_FALSE(permits.try_acquire_until(steady_clock::now(), 2));
  EXPECT_EQ(permits.available(), 1);
}

TEST_F(SemaphoreTest, NeverGivesOutMoreThanThereAre) {
  const std::uint64_t start = seed();
  constexpr std::int64_t all_permits = 5;
  semaphore permits(all_permits);
  std::atomic<std::int64_t> out{0};
  {
    threads all;
    for (unsigned t = 0; t < 6; ++t) {
      all.start([&, t] {
        std::mt19937_64 random(start + t);
        for (int i = 0; i < 2'000; ++i) {
          const auto n = static_cast<std::int64_t>(random() % 5) + 1;
          if (random() % 2 == 0) {
            permits.acquire(n);
          } else if (!permits.try_acquire_for(std::chrono::nanoseconds(random() % 50'000), n)) {
            continue;
          }
          EXPECT_LE(out.fetch_add(n) + n, all_permits);
          if (random() % 8 == 0) std::this_thread::yield();
          out.fetch_sub(n);
          permits.release(n);
        }
      });
    }
  }
  EXPECT_EQ(permits.available(), all_permits);
}

}  // namespace
}  // namespace sigrun::test
