// SPDX-License-Identifier: Apache-2.0
//
// Goal: what users of Go's sync expect of ours, by threads, by goroutines, and by both on the same
// object: exclusion under hammering, nobody starved, groups and conditions that wake everybody they
// should, misuse that is told.
#include <sigrun/atomic_value.hpp>
#include <sigrun/chan.hpp>
#include <sigrun/sync.hpp>

#include "support/callers.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <shared_mutex>
#include <stdexcept>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

class SyncConformanceTest : public ::testing::TestWithParam<caller_kind> {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};
INSTANTIATE_TEST_SUITE_P(By, SyncConformanceTest,
                         ::testing::Values(caller_kind::threads, caller_kind::goroutines,
                                           caller_kind::mixed),
                         caller_name);

// Keeps the processor for a while, as computing does.
void compute(std::chrono::nanoseconds time) {
  for (const auto until = steady_clock::now() + time; steady_clock::now() < until;) {
  }
}

// ---------------------------------------------------------------------------------------- mutex

TEST_P(SyncConformanceTest, AMutexHammeredByManyKeepsThemApart) {
  mutex lock;
  int plain = 0;
  std::atomic<int> tries{0};
  {
    callers all(GetParam());
    for (int t = 0; t < 10; ++t) {
      all.start([&] {
        for (int i = 0; i < 1'000; ++i) {
          if (i % 3 == 0 && lock.try_lock()) {
            ++tries;
          } else {
            lock.lock();
          }
          ++plain;
          if (i % 16 == 0) yield();  // held across a switch of goroutines
          lock.unlock();
        }
      });
    }
  }
  EXPECT_EQ(plain, 10'000);
}

TEST_P(SyncConformanceTest, WhoHoldsAMutexLongAndOftenStarvesNobody) {
  mutex lock;
  std::atomic<bool> stop{false};
  std::atomic<int> got{0};
  callers all(GetParam());
  all.start([&] {
    while (!stop) {
      const std::lock_guard hold(lock);
      compute(100us);
    }
  });
  // The other way round: who needs it shortly and rarely gets it though the first never pauses.
  for (int t = 0; t < 2; ++t) {
    all.start([&] {
      for (int i = 0; i < 5; ++i) {
        yield();
        const std::lock_guard hold(lock);
        if (++got == 10) stop = true;
      }
    });
  }
  all.join();
  EXPECT_EQ(got, 10);
}

TEST_P(SyncConformanceTest, ATimedLockGivesUpOnAHeldMutexAndTakesAFreeOne) {
  mutex lock;
  lock.lock();
  std::atomic<int> gave_up{0};
  callers all(GetParam());
  for (int t = 0; t < 4; ++t) {
    all.start([&, t] {
      const auto begin = steady_clock::now();
      if (!lock.try_lock_for(5ms + t * 1ms)) ++gave_up;
      EXPECT_GE(steady_clock::now() - begin, 5ms);
    });
  }
  all.join();
  EXPECT_EQ(gave_up, 4);
  all.start([&] { EXPECT_THROW((lock.unlock(), lock.unlock()), std::logic_error); });
  all.join();
  EXPECT_TRUE(lock.try_lock());
}

// ------------------------------------------------------------------------------------- rw_mutex

TEST_P(SyncConformanceTest, ReadersAreTogetherAndWritersAlone) {
  const std::uint64_t start = seed();
  rw_mutex lock;
  std::atomic<int> inside{0};  // a writer counts for 10,000
  {
    callers all(GetParam());
    for (unsigned t = 0; t < 10; ++t) {
      all.start([&, t] {
        std::mt19937_64 random(start + t);
        for (int i = 0; i < 500; ++i) {
          if (t < 2) {
            const std::lock_guard hold(lock);
            EXPECT_EQ(inside.fetch_add(10'000), 0);
            if (random() % 4 == 0) yield();
            inside.fetch_sub(10'000);
          } else {
            const std::shared_lock hold(lock);
            EXPECT_LT(inside.fetch_add(1), 10'000);
            if (random() % 4 == 0) yield();
            inside.fetch_sub(1);
          }
        }
      });
    }
  }
  EXPECT_TRUE(lock.try_lock());
}

TEST_P(SyncConformanceTest, AWriterGetsInThoughReadersComeWithoutPause) {
  rw_mutex lock;
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  callers all(GetParam());
  for (int t = 0; t < 4; ++t) {
    all.start([&] {
      while (!stop) {
        const std::shared_lock hold(lock);
        compute(20us);
        yield();  // so that there is always a reader inside
      }
    });
  }
  all.start([&] {
    for (int i = 0; i < 20; ++i) {
      const std::lock_guard hold(lock);
      ++written;
    }
    stop = true;
  });
  all.join();
  EXPECT_EQ(written, 20);
}

TEST_P(SyncConformanceTest, ReadersGetInThoughWritersComeWithoutPause) {
  rw_mutex lock;
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  callers all(GetParam());
  for (int t = 0; t < 3; ++t) {
    all.start([&] {
      while (!stop) {
        const std::lock_guard hold(lock);
        compute(20us);
        yield();
      }
    });
  }
  all.start([&] {
    for (int i = 0; i < 20; ++i) {
      const std::shared_lock hold(lock);
      ++reads;
    }
    stop = true;
  });
  all.join();
  EXPECT_EQ(reads, 20);
}

// ----------------------------------------------------------------------------------------- cond

TEST_P(SyncConformanceTest, ABroadcastWakesEveryWaiterAndASignalOne) {
  mutex lock;
  cond changed;
  constexpr int n = 20;
  int waiting = 0;
  int woken = 0;
  bool all_may_go = false;
  int may_go = 0;
  callers all(GetParam());
  for (int t = 0; t < n; ++t) {
    all.start([&] {
      std::unique_lock hold(lock);
      ++waiting;
      changed.wait(hold, [&] { return all_may_go || may_go > 0; });
      --may_go;
      ++woken;
    });
  }
  const auto count = [&](const int& what) {
    const std::lock_guard hold(lock);
    return what;
  };
  yield_until([&] { return count(waiting) == n; });
  for (int i = 1; i <= 3; ++i) {
    {
      const std::lock_guard hold(lock);
      ++may_go;
    }
    changed.notify_one();
    yield_until([&] { return count(woken) == i; });
  }
  {
    const std::lock_guard hold(lock);
    all_may_go = true;
  }
  changed.notify_all();
  all.join();
  EXPECT_EQ(woken, n);
}

TEST_P(SyncConformanceTest, ABoundedQueueOfConditionsLosesNothing) {
  mutex lock;
  cond not_empty;
  cond not_full;
  std::vector<int> queue;
  long long sum = 0;
  constexpr int each = 2'000;
  {
    callers all(GetParam());
    for (int t = 0; t < 3; ++t) {
      all.start([&] {
        for (int i = 1; i <= each; ++i) {
          std::unique_lock hold(lock);
          not_full.wait(hold, [&] { return queue.size() < 4; });
          queue.push_back(i);
          not_empty.notify_one();
        }
      });
      all.start([&] {
        for (int i = 0; i < each; ++i) {
          std::unique_lock hold(lock);
          not_empty.wait(hold, [&] { return !queue.empty(); });
          sum += queue.back();
          queue.pop_back();
          not_full.notify_one();
        }
      });
    }
  }
  EXPECT_EQ(sum, 3LL * each * (each + 1) / 2);
}

TEST_P(SyncConformanceTest, AConditionWithADeadlineReturnsWithTheLock) {
  mutex lock;
  cond never;
  callers all(GetParam());
  for (int t = 0; t < 4; ++t) {
    all.start([&] {
      std::unique_lock hold(lock);
      const auto until = steady_clock::now() + 5ms;
      EXPECT_EQ(never.wait_until(hold, until), std::cv_status::timeout);
      EXPECT_GE(steady_clock::now(), until);
      EXPECT_TRUE(hold.owns_lock());
    });
  }
}

// ----------------------------------------------------------------------------------- wait_group

TEST_P(SyncConformanceTest, AGroupLetsAllWaitersGoWhenTheLastIsDone) {
  for (int round = 0; round < 20; ++round) {
    wait_group begin(1);
    wait_group end(16);
    std::atomic<int> done{0};
    callers all(GetParam());
    for (int t = 0; t < 16; ++t) {
      all.start([&] {
        begin.wait();
        ++done;
        end.done();
        end.wait();
        EXPECT_EQ(done, 16);
      });
    }
    EXPECT_EQ(done, 0);
    begin.done();
    end.wait();
    EXPECT_EQ(done, 16);
    all.join();
  }
}

TEST_P(SyncConformanceTest, AGroupBelowZeroIsTold) {
  wait_group group(1);
  std::atomic<int> told{0};
  callers all(GetParam());
  for (int t = 0; t < 4; ++t) {
    all.start([&] {
      try {
        group.done();
      } catch (const std::logic_error&) {
        ++told;
      }
    });
  }
  all.join();
  EXPECT_EQ(told, 3);
  EXPECT_TRUE(group.wait_for(0s));
}

// ----------------------------------------------------------------------------------------- once

TEST_P(SyncConformanceTest, OnceRunsOnceAndEverybodySeesItDone) {
  for (int round = 0; round < 50; ++round) {
    once only;
    int plain = 0;
    callers all(GetParam());
    for (int t = 0; t < 8; ++t) {
      all.start([&] {
        only.call([&] {
          yield();
          ++plain;
        });
        EXPECT_EQ(plain, 1);
      });
    }
  }
}

TEST_P(SyncConformanceTest, OnceThatFailsIsTriedAgainAndRecursionIsTold) {
  once only;
  std::atomic<int> tries{0};
  std::atomic<int> failures{0};
  {
    callers all(GetParam());
    for (int t = 0; t < 8; ++t) {
      all.start([&] {
        try {
          only.call([&] {
            yield();
            if (++tries < 4) only.call([] {});
          });
        } catch (const std::logic_error&) {
          ++failures;
        }
      });
    }
  }
  EXPECT_EQ(tries, 4);
  EXPECT_EQ(failures, 3);
}

// ------------------------------------------------------------------------ semaphore, atomic_value

TEST_P(SyncConformanceTest, ASemaphoreLetsInAsManyAsItHas) {
  semaphore room(3);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  {
    callers all(GetParam());
    for (int t = 0; t < 12; ++t) {
      all.start([&] {
        for (int i = 0; i < 100; ++i) {
          room.acquire();
          const int now = ++inside;
          EXPECT_LE(now, 3);
          for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
          }
          yield();
          --inside;
          room.release();
        }
      });
    }
  }
  EXPECT_EQ(room.available(), 3);
  EXPECT_GE(most, 1);
}

TEST_P(SyncConformanceTest, ReadersOfAnAtomicValueSeeWholeVersionsAcrossParks) {
  struct pair {
    int a;
    int b;
  };
  atomic_value<pair> value(pair{0, 0});
  std::atomic<bool> stop{false};
  chan<int> never(0);
  callers all(GetParam());
  for (int t = 0; t < 6; ++t) {
    all.start([&] {
      int last = 0;
      while (!stop) {
        const auto now = value.load();
        int out = 0;
        if (now->a % 64 == 0) static_cast<void>(never.recv_for(10us, out));
        yield();  // the snapshot may be dropped on another thread
        EXPECT_EQ(now->a, -now->b);
        EXPECT_GE(now->a, last);
        last = now->a;
      }
    });
  }
  all.start([&] {
    for (int i = 1; i <= 2'000; ++i) {
      value.store(pair{i, -i});
      if (i % 8 == 0) yield();
    }
    stop = true;
  });
  all.join();
  EXPECT_EQ(value.load()->a, 2'000);
}

TEST_P(SyncConformanceTest, EverythingAtOnceWithDeadlinesHangsNowhere) {
  const std::uint64_t start = seed();
  std::array<mutex, 3> locks;
  rw_mutex shared;
  semaphore permits(2);
  cond changed;
  callers all(GetParam());
  for (unsigned t = 0; t < 12; ++t) {
    all.start([&, t] {
      std::mt19937_64 random(start + t);
      for (int i = 0; i < 300; ++i) {
        const auto wait = std::chrono::nanoseconds(random() % 100'000);
        mutex& lock = locks[random() % locks.size()];
        switch (random() % 5) {
          case 0: {
            std::unique_lock hold(lock, wait);
            if (hold) static_cast<void>(changed.wait_for(hold, wait));
            break;
          }
          case 1: {
            const std::scoped_lock hold(locks[0], locks[1], locks[2]);
            changed.notify_one();
            break;
          }
          case 2: {
            const std::unique_lock hold(shared, wait);
            break;
          }
          case 3: {
            const std::shared_lock hold(shared, wait);
            yield();
            break;
          }
          default:
            if (permits.try_acquire_for(wait)) permits.release();
        }
      }
    });
  }
  all.join();
  for (mutex& lock : locks) EXPECT_TRUE(lock.try_lock());
  EXPECT_TRUE(shared.try_lock());
  EXPECT_EQ(permits.available(), 2);
}

}  // namespace
}  // namespace sigrun::test
