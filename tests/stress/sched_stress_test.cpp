// SPDX-License-Identifier: Apache-2.0
//
// The scheduler under everything at once, with more processors than CPUs: what is created ends,
// what is sent arrives once, what is locked is alone, and nobody sleeps for ever. What each
// goroutine does follows from the seed; who runs when does not.
#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/select.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// A number from the environment.
std::uint64_t wish(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class SchedStress : public ::testing::Test {
 protected:
  void SetUp() override {
    seed = wish("SIGRUN_SEED", std::random_device()());
    seconds = wish("SIGRUN_STRESS_SECONDS", 2);
    std::cout << "SIGRUN_SEED=" << seed << '\n';
    alarm(static_cast<unsigned>(120 + 2 * seconds));
    max_procs(8);
    end = clock::now() + std::chrono::seconds(seconds);
  }
  void TearDown() override {
    // Who has been joined is gone; who was detached is so a moment later.
    while (goroutine_count() != 0) std::this_thread::yield();
    alarm(0);
  }
  bool over() const { return clock::now() >= end; }
  std::mt19937_64 random(std::uint64_t n) const { return std::mt19937_64(seed * 1000 + n); }

  std::uint64_t seed = 0;
  std::uint64_t seconds = 0;
  clock::time_point end;
};

std::uint64_t below(std::mt19937_64& random, std::uint64_t n) { return random() % n; }

void rest(std::chrono::nanoseconds wait) {
  sleep_for(wait);  // tidy: allow sleep, one of the things a goroutine does
}

void busy_for(std::chrono::nanoseconds wait) {
  for (const auto until = clock::now() + wait; clock::now() < until;) {
  }
}

[[gnu::noinline]] int read_errno() {
  asm volatile("" ::: "memory");
  return errno;
}
[[gnu::noinline]] void write_errno(int value) {
  asm volatile("" ::: "memory");
  errno = value;
}
[[gnu::noinline]] int thread_id() {
  asm volatile("" ::: "memory");
  return ::gettid();
}

// ------------------------------------------------------------------------------ everything at once

/// What all workers share: tokens that must not get lost or doubled, and a counter under a lock.
struct common {
  static constexpr int tokens = 8;
  chan<int> ring{tokens};
  mutex lock;
  std::uint64_t counter = 0;  // under lock
  std::atomic<std::uint64_t> counted{0};
  std::atomic<int> failures{0};

  common() {
    for (int i = 0; i < tokens; ++i) ring.send(i);
  }
  void check(bool good) {
    if (!good) failures.fetch_add(1);
  }
};

void take_a_token_and_give_it_back(common& all, std::mt19937_64& random) {
  int token = -1;
  const int won =
      select_for(std::chrono::microseconds(below(random, 300)), recv_case(all.ring, token));
  if (won == select_timeout) return;
  all.check(token >= 0 && token < common::tokens);
  if (below(random, 2) == 0) yield();
  all.ring.send(token);
}

void count_under_the_lock(common& all, std::mt19937_64& random) {
  if (below(random, 4) == 0) {
    if (!all.lock.try_lock_for(std::chrono::microseconds(below(random, 200)))) return;
  } else {
    all.lock.lock();
  }
  const std::uint64_t before = all.counter;
  if (below(random, 8) == 0) yield();
  all.counter = before + 1;
  all.lock.unlock();
  all.counted.fetch_add(1);
}

void throw_across_parks(common& all, std::mt19937_64& random) {
  const auto mine = random();
  try {
    try {
      throw mine;
    } catch (...) {
      yield();
      rest(std::chrono::nanoseconds(below(random, 2000)));
      throw;
    }
  } catch (const std::uint64_t caught) {
    all.check(caught == mine);
  }
  all.check(std::uncaught_exceptions() == 0);
}

void start_a_child(common& all, std::mt19937_64& random) {
  const bool throws = below(random, 3) == 0;
  const bool leaves = below(random, 5) == 0;
  goroutine child = go([&all, throws, leaves, n = random() % 4] {
    for (std::uint64_t i = 0; i < n; ++i) yield();
    const int thread = thread_id();
    all.check(thread > 0);
    if (leaves) goexit();
    if (throws) throw std::runtime_error("child");
  });
  bool thrown = false;
  try {
    child.join();
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  all.check(thrown == (throws && !leaves));
}

void stay_on_a_thread(common& all, std::mt19937_64& random) {
  lock_os_thread();
  const int home = thread_id();
  for (std::uint64_t i = below(random, 4); i > 0; --i) {
    yield();
    take_a_token_and_give_it_back(all, random);
    all.check(thread_id() == home);
  }
  unlock_os_thread();
}

void keep_errno(common& all, std::mt19937_64& random) {
  const auto value = static_cast<int>(1000 + below(random, 1000));
  write_errno(value);
  yield();
  rest(std::chrono::nanoseconds(below(random, 3000)));
  all.check(read_errno() == value);
}

void one_thing(common& all, std::mt19937_64& random) {
  switch (below(random, 12)) {
    case 0:
      return yield();
    case 1:
      return take_a_token_and_give_it_back(all, random);
    case 2:
      return count_under_the_lock(all, random);
    case 3:
      return throw_across_parks(all, random);
    case 4:
      return start_a_child(all, random);
    case 5:
      return stay_on_a_thread(all, random);
    case 6:
      return keep_errno(all, random);
    case 7:
      return rest(std::chrono::microseconds(below(random, 300)));
    case 8:
      return foreign_call([] { std::this_thread::yield(); });
    case 9:
      return foreign_call([&] { busy_for(std::chrono::microseconds(below(random, 100))); });
    case 10:
      for (int i = 0; i < 100; ++i) preempt_point();
      return;
    case 11:
      return busy_for(std::chrono::microseconds(below(random, 50)));
  }
}

TEST_F(SchedStress, EverythingAtOnceLosesNothing) {
  constexpr int workers = 48;
  common all;
  std::vector<goroutine> crowd;
  for (int i = 0; i < workers; ++i) {
    crowd.push_back(go({.name = "worker"}, [this, &all, i] {
      std::mt19937_64 mine = random(static_cast<std::uint64_t>(i));
      while (!over()) one_thing(all, mine);
    }));
  }
  std::mt19937_64 mine = random(workers);
  while (!over()) {
    max_procs(static_cast<int>(1 + below(mine, 8)));
    if (below(mine, 4) == 0) {
      EXPECT_GE(goroutines().size(), 1U);
    }
    count_under_the_lock(all, mine);
    take_a_token_and_give_it_back(all, mine);
    busy_for(std::chrono::microseconds(below(mine, 2000)));
  }
  for (goroutine& one : crowd) one.join();
  EXPECT_EQ(all.failures.load(), 0);
  EXPECT_EQ(all.counter, all.counted.load());
  EXPECT_EQ(all.ring.size(), std::size_t{common::tokens});
}

// -------------------------------------------------------------------------------- park and ready

// A deadline and a value are always about to come at the same time.
TEST_F(SchedStress, AValueThatMeetsItsDeadlineArrivesOnceOrStays) {
  constexpr int pairs = 8;
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> received{0};
  std::vector<goroutine> crowd;
  for (int i = 0; i < pairs; ++i) {
    chan<int> ch(0);
    crowd.push_back(go([&, ch, i] {
      std::mt19937_64 mine = random(static_cast<std::uint64_t>(i));
      while (!over()) {
        rest(std::chrono::microseconds(below(mine, 30)));
        if (select_for(std::chrono::microseconds(below(mine, 30)), send_case(ch, i)) == 0) ++sent;
      }
      ch.close();
    }));
    crowd.push_back(go([&, ch, i] {
      std::mt19937_64 mine = random(static_cast<std::uint64_t>(100 + i));
      for (;;) {
        std::optional<int> value;
        const int won =
            select_for(std::chrono::microseconds(below(mine, 60)), recv_case(ch, value));
        if (won == select_timeout) continue;
        if (!value.has_value()) return;
        ++received;
      }
    }));
  }
  for (goroutine& one : crowd) one.join();
  EXPECT_GT(sent.load(), 0U);
  EXPECT_EQ(received.load(), sent.load());
}

// The scheduler falls idle between two requests, again and again, at different moments.
TEST_F(SchedStress, WhoIsIdleIsWokenForEachRequest) {
  for (const int procs : {1, 2, 8}) {
    max_procs(procs);
    const auto stop = clock::now() + std::chrono::milliseconds(1000 * seconds / 3);
    chan<int> there(0);
    chan<int> back(0);
    goroutine echo = go([=] {
      for (const int value : there) {
        goroutine inner = go([=] { back.send(value); });
        inner.join();
      }
    });
    std::mt19937_64 mine = random(static_cast<std::uint64_t>(procs));
    clock::duration longest{};
    for (int i = 0; clock::now() < stop; ++i) {
      busy_for(std::chrono::microseconds(below(mine, 200)));
      const auto begin = clock::now();
      there.send(i);
      ASSERT_EQ(back.recv(), i);
      longest = std::max(longest, clock::now() - begin);
    }
    there.close();
    echo.join();
    EXPECT_LT(longest, 5s);
  }
}

// Timers are started and stopped while Ms come to rest, so that none is slept over.
TEST_F(SchedStress, NoTimerIsSleptOver) {
  for (const int procs : {1, 2, 8}) {
    max_procs(procs);
    const auto stop = clock::now() + std::chrono::milliseconds(1000 * seconds / 3);
    std::vector<goroutine> crowd;
    std::atomic<std::int64_t> latest_ns{0};
    for (int i = 0; i < 6; ++i) {
      crowd.push_back(go([&, i] {
        std::mt19937_64 mine = random(static_cast<std::uint64_t>(10 * procs + i));
        while (clock::now() < stop) {
          const auto wait = std::chrono::microseconds(below(mine, 3000));
          timer other(wait / 2 + 100us);
          const auto due = clock::now() + wait;
          if (below(mine, 2) == 0) {
            foreign_call([&] { rest(wait); });
          } else {
            rest(wait);
          }
          const std::int64_t late = (clock::now() - due).count();
          std::int64_t seen = latest_ns.load();
          while (late > seen && !latest_ns.compare_exchange_weak(seen, late)) {
          }
        }
      }));
    }
    for (goroutine& one : crowd) one.join();
    EXPECT_LT(latest_ns.load(), 5'000'000'000);
  }
}

// --------------------------------------------------------------------------------- beginnings,
// ends

void grow(std::uint64_t random, int depth, wait_group& all, std::atomic<std::uint64_t>& leaves) {
  if (depth == 0) {
    ++leaves;
  } else {
    for (int i = 0; i < 2; ++i) {
      all.add();
      go([=, &all, &leaves] {
        grow(random * 6364136223846793005U + static_cast<std::uint64_t>(i), depth - 1, all, leaves);
        all.done();
      });
      if (random % 3 == 0) yield();
    }
  }
}

TEST_F(SchedStress, TreesOfGoroutinesGrowAndWither) {
  constexpr int depth = 10;
  for (std::uint64_t round = 0; !over(); ++round) {
    wait_group all;
    std::atomic<std::uint64_t> leaves{0};
    go([&] { grow(seed + round, depth, all, leaves); }).join();
    all.wait();
    ASSERT_EQ(leaves.load(), 1U << depth);
  }
}

// Every processor is lost all the time: to foreign calls, and to loops that do not yield.
TEST_F(SchedStress, ProcessorsThatAreTakenAreNeverInTwoHands) {
  max_procs(3);
  constexpr int workers = 16;
  common all;
  std::vector<goroutine> crowd;
  for (int i = 0; i < workers; ++i) {
    crowd.push_back(go([this, &all, i] {
      std::mt19937_64 mine = random(static_cast<std::uint64_t>(i));
      while (!over()) {
        if (below(mine, 100) == 0) busy_for(15ms);
        foreign_call([&] { busy_for(std::chrono::microseconds(10 + below(mine, 100))); });
        count_under_the_lock(all, mine);
        take_a_token_and_give_it_back(all, mine);
      }
    }));
  }
  for (goroutine& one : crowd) one.join();
  EXPECT_EQ(all.failures.load(), 0);
  EXPECT_EQ(all.counter, all.counted.load());
  EXPECT_EQ(all.ring.size(), std::size_t{common::tokens});
}

TEST_F(SchedStress, LockedGoroutinesComeAndGo) {
  constexpr int workers = 12;
  common all;
  std::vector<goroutine> crowd;
  for (int i = 0; i < workers; ++i) {
    crowd.push_back(go([this, &all, i] {
      std::mt19937_64 mine = random(static_cast<std::uint64_t>(i));
      while (!over()) {
        if (below(mine, 3) == 0) {
          goroutine child = go([&] {
            std::mt19937_64 own = random(mine());
            lock_os_thread();
            yield();
            take_a_token_and_give_it_back(all, own);
          });
          child.join();
        } else {
          stay_on_a_thread(all, mine);
        }
      }
    }));
  }
  for (goroutine& one : crowd) one.join();
  EXPECT_EQ(all.failures.load(), 0);
  EXPECT_EQ(all.ring.size(), std::size_t{common::tokens});
}

}  // namespace
}  // namespace sigrun::test
