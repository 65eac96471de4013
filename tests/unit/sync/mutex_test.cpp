// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a user of mutex and rw_mutex may rely on: exclusion, deadlines, misuse, nobody
// starved.
#include "sync_fixture.hpp"

#include <atomic>
#include <memory>
#include <shared_mutex>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

class MutexTest : public SyncTest {};
class RwMutexTest : public SyncTest {};

static_assert(sizeof(mutex) <= 32 && sizeof(rw_mutex) <= 48);
constinit mutex global_mutex;
constinit rw_mutex global_rw_mutex;

TEST_F(MutexTest, KeepsOthersOut) {
  constexpr int rounds = 20'000;
  int plain = 0;
  {
    threads all;
    for (int t = 0; t < 8; ++t) {
      all.start([&] {
        for (int i = 0; i < rounds; ++i) {
          const std::lock_guard hold(global_mutex);
          ++plain;
        }
      });
    }
  }
  EXPECT_EQ(plain, 8 * rounds);
}

TEST_F(MutexTest, TryLockTakesItOnlyWhenItIsFree) {
  mutex lock;
  EXPECT_TRUE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_for(-1s));
  lock.unlock();
  EXPECT_TRUE(lock.try_lock_for(0s));
  lock.unlock();
}

TEST_F(MutexTest, ADeadlineEndsTheWaitNotEarlyAndLeavesNoTrace) {
  mutex lock;
  lock.lock();
  const auto begin = steady_clock::now();
  EXPECT_FALSE(lock.try_lock_until(begin + 20ms));
  EXPECT_GE(steady_clock::now() - begin, 20ms);
  EXPECT_FALSE(lock.try_lock_until(std::chrono::system_clock::now() + 1ms));
  EXPECT_EQ(detail::sync_access::waiting(lock), 0U);
  lock.unlock();
  lock.lock();
  lock.unlock();
}

TEST_F(MutexTest, WorksWithTheLocksOfTheStandardLibrary) {
  mutex a;
  mutex b;
  {
    const std::scoped_lock both(a, b);
    EXPECT_FALSE(a.try_lock());
    EXPECT_FALSE(b.try_lock());
  }
  std::unique_lock<mutex> hold(a, 10ms);
  EXPECT_TRUE(hold.owns_lock());
}

TEST_F(MutexTest, UnlockingWhatIsNotLockedThrowsAndChangesNothing) {
  mutex lock;
  EXPECT_EQ(logic_error_text([&] { lock.unlock(); }), "sigrun::mutex: unlock of unlocked mutex");
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
  EXPECT_THROW(lock.unlock(), std::logic_error);
}

TEST_F(MutexTest, AnotherThreadMayUnlockIt) {
  mutex lock;
  lock.lock();
  std::thread([&] { lock.unlock(); }).join();
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
}

TEST_F(MutexTest, AWaiterIsNotStarvedByOneThatLocksAgainAtOnce) {
  mutex lock;
  std::atomic<bool> stop{false};
  threads all;
  all.start([&] {
    while (!stop) {
      const std::lock_guard hold(lock);
      const auto until = steady_clock::now() + 100us;
      while (steady_clock::now() < until) {
      }
    }
  });
  for (int i = 0; i < 10; ++i) {
    // Without the hand-over this takes as long as it pleases the scheduler.
    EXPECT_TRUE(lock.try_lock_for(10s));
    lock.unlock();
  }
  stop = true;
}

TEST_F(MutexTest, WaitersThatHaveWaitedLongAreServedInOrder) {
  mutex lock;
  lock.lock();
  std::vector<int> order;
  threads all;
  for (int i = 0; i < 6; ++i) {
    all.start([&, i] {
      const std::lock_guard hold(lock);
      order.push_back(i);
    });
    until_waiting(lock, static_cast<std::size_t>(i) + 1);
  }
  const auto late = steady_clock::now() + 2ms;
  while (steady_clock::now() < late) std::this_thread::yield();
  lock.unlock();
  all.join();
  // The first is woken to try, and nobody else tries: so the order is that of arrival.
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

TEST_F(MutexTest, AWokenWaiterThatGivesUpPassesTheWakeOn) {
  const std::uint64_t start = seed();
  mutex lock;
  int plain = 0;
  std::atomic<int> taken{0};
  {
    threads all;
    for (unsigned t = 0; t < 6; ++t) {
      all.start([&, t] {
        std::mt19937_64 random(start + t);
        for (int i = 0; i < 3'000; ++i) {
          const auto wait = std::chrono::nanoseconds(random() % 60'000);
          if (random() % 4 == 0) {
            lock.lock();
          } else if (!lock.try_lock_for(wait)) {
            continue;
          }
          ++plain;
          ++taken;
          if (random() % 8 == 0) std::this_thread::yield();
          lock.unlock();
        }
      });
    }
  }
  EXPECT_EQ(plain, taken);
  EXPECT_EQ(detail::sync_access::waiting(lock), 0U);
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(MutexTest, MayBeDestroyedByWhoeverLocksItLast) {
  for (int round = 0; round < 3'000; ++round) {
    struct shared {
      mutex lock;
      int users = 3;
    };
    shared* const object = new shared;
    const auto leave = [object](bool timed) {
      if (timed) {
        while (!object->lock.try_lock_for(2us)) {
        }
      } else {
        object->lock.lock();
      }
      const bool last = --object->users == 0;
      object->lock.unlock();
      if (last) delete object;
    };
    std::thread a(leave, false);
    std::thread b(leave, true);
    leave(round % 2 == 0);
    a.join();
    b.join();
  }
}

// ------------------------------------------------------------------------------------- rw_mutex

TEST_F(RwMutexTest, ReadersShareItAndAWriterHasItAlone) {
  rw_mutex lock;
  lock.lock_shared();
  EXPECT_TRUE(lock.try_lock_shared());
  EXPECT_FALSE(lock.try_lock());
  lock.unlock_shared();
  EXPECT_FALSE(lock.try_lock_for(1ms));
  lock.unlock_shared();
  EXPECT_TRUE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_shared());
  EXPECT_FALSE(lock.try_lock_shared_for(1ms));
  EXPECT_FALSE(lock.try_lock_until(steady_clock::now() + 1ms));
  lock.unlock();
  EXPECT_EQ(detail::sync_access::waiting(lock), 0U);
  { const std::shared_lock hold(global_rw_mutex); }
  { const std::unique_lock hold(global_rw_mutex); }
}

TEST_F(RwMutexTest, AWriterThatWaitsKeepsNewReadersOut) {
  rw_mutex lock;
  lock.lock_shared();
  std::atomic<bool> written{false};
  std::thread writer([&] {
    const std::lock_guard hold(lock);
    written = true;
  });
  until_waiting(lock, 1);
  EXPECT_FALSE(lock.try_lock_shared());
  EXPECT_FALSE(lock.try_lock_shared_for(1ms));
  EXPECT_FALSE(written);
  lock.unlock_shared();
  writer.join();
  EXPECT_TRUE(lock.try_lock_shared());
}

TEST_F(RwMutexTest, ReadersThatWaitGoBeforeTheNextWriter) {
  rw_mutex lock;
  lock.lock();
  std::string order;
  mutex order_lock;
  const auto note = [&](char c) {
    const std::lock_guard hold(order_lock);
    order += c;
  };
  threads all;
  all.start([&] {
    const std::lock_guard hold(lock);
    note('w');
  });
  until_waiting(lock, 1);
  wait_group readers(3);
  for (std::size_t i = 0; i < 3; ++i) {
    all.start([&] {
      const std::shared_lock hold(lock);
      note('r');
      readers.done();
      readers.wait();  // all three have it at the same time
    });
    until_waiting(lock, 2 + i);
  }
  lock.unlock();
  all.join();
  EXPECT_EQ(order, "rrrw");
}

TEST_F(RwMutexTest, AWriterThatGivesUpLetsInTheReadersItHeldUp) {
  rw_mutex lock;
  lock.lock_shared();
  threads all;
  std::atomic<bool> gave_up{false};
  std::atomic<bool> read{false};
  all.start([&] { gave_up = !lock.try_lock_for(50ms); });
  until_waiting(lock, 1);
  all.start([&] {
    const std::shared_lock hold(lock);
    read = true;
  });
  all.join();
  EXPECT_TRUE(gave_up);
  EXPECT_TRUE(read) << "while the first reader still has it";
  lock.unlock_shared();
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(RwMutexTest, UnlockingWhatIsNotLockedThrows) {
  rw_mutex lock;
  EXPECT_EQ(logic_error_text([&] { lock.unlock(); }),
            "sigrun::rw_mutex: unlock of unlocked rw_mutex");
  EXPECT_EQ(logic_error_text([&] { lock.unlock_shared(); }),
            "sigrun::rw_mutex: unlock_shared of unlocked rw_mutex");
  lock.lock_shared();
  EXPECT_THROW(lock.unlock(), std::logic_error);
  lock.unlock_shared();
  lock.lock();
  EXPECT_THROW(lock.unlock_shared(), std::logic_error);
  lock.unlock();
}

TEST_F(RwMutexTest, ReadersAndWritersWithDeadlinesNeverMeet) {
  const std::uint64_t start = seed();
  rw_mutex lock;
  std::atomic<int> readers{0};
  std::atomic<int> writers{0};
  int plain = 0;
  std::atomic<int> written{0};
  {
    threads all;
    for (unsigned t = 0; t < 8; ++t) {
      all.start([&, t] {
        std::mt19937_64 random(start + t);
        for (int i = 0; i < 2'000; ++i) {
          const auto wait = std::chrono::nanoseconds(random() % 50'000);
          const bool timed = random() % 2 == 0;
          if (random() % 4 == 0) {
            if (timed ? !lock.try_lock_for(wait) : (lock.lock(), false)) continue;
            EXPECT_EQ(writers.fetch_add(1), 0);
            EXPECT_EQ(readers, 0);
            ++plain;
            ++written;
            if (random() % 8 == 0) std::this_thread::yield();
            writers.fetch_sub(1);
            lock.unlock();
          } else {
            if (timed ? !lock.try_lock_shared_for(wait) : (lock.lock_shared(), false)) continue;
            readers.fetch_add(1);
            EXPECT_EQ(writers, 0);
            if (random() % 16 == 0) std::this_thread::yield();
            readers.fetch_sub(1);
            lock.unlock_shared();
          }
        }
      });
    }
  }
  EXPECT_EQ(plain, written);
  EXPECT_EQ(detail::sync_access::waiting(lock), 0U);
  EXPECT_TRUE(lock.try_lock());
}

}  // namespace
}  // namespace sigrun::test
