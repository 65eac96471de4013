// SPDX-License-Identifier: Apache-2.0
//
// The scheduler behaves as a Go programmer expects: what the tests of Go's runtime look at, in our
// words. A test never sleeps for order: it waits until the scheduler's own figures or the list of
// goroutines show what it wants to see, and a dead-man alarm ends one that waits for ever.
#include "support/child_process.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;

#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
constexpr bool by_tsan = true;
#else
constexpr bool by_tsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = by_tsan;
#endif

class SchedConformance : public ::testing::Test {
 protected:
  void SetUp() override { alarm(110); }
  void TearDown() override { alarm(0); }
};

/// A pipe whose reading end blocks whoever reads until bytes are let in.
class gate {
 public:
  gate() {
    if (::pipe2(fds_, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  }
  gate(const gate&) = delete;
  gate& operator=(const gate&) = delete;
  ~gate() {
    ::close(fds_[0]);
    ::close(fds_[1]);
  }
  void pass() const {
    char byte = 0;
    while (::read(fds_[0], &byte, 1) < 0) {
    }
  }
  void open(int n) const {
    const std::string bytes(static_cast<std::size_t>(n), '.');
    EXPECT_EQ(::write(fds_[1], bytes.data(), bytes.size()), n);
  }

 private:
  int fds_[2] = {-1, -1};
};

/// Lets others run until `happened`.
template <class F>
void until(F happened) {
  while (!happened()) yield();
}

/// A goroutine's sleep, where that is what is tested.
void doze(std::chrono::nanoseconds wait) {
  sleep_for(wait);  // tidy: allow sleep, it is what is tested
}

std::string state_of(std::uint64_t id) {
  for (const goroutine_info& info : goroutines()) {
    if (info.id == id) return info.state;
  }
  return "gone";
}

/// Waits until the goroutine is listed as waiting for `what`.
void until_it_waits_for(const goroutine& g, const std::string& what) {
  until([&] { return state_of(g.id()) == what; });
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t available_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key; meminfo >> key;) {
    std::size_t kib = 0;
    if (key == "MemAvailable:" && meminfo >> kib) return kib * 1024;
  }
  return 0;
}

// ------------------------------------------------------------------------------- many, and order

TEST_F(SchedConformance, AMillionGoroutinesLiveAtOnce) {
  if (sanitized) GTEST_SKIP() << "a sanitizer keeps more for each goroutine than there is memory";
  if (available_bytes() < std::size_t{7} << 30) GTEST_SKIP() << "less than 7 GiB of memory";
  // A virtual machine whose host hands out each page anew may need a minute for 4 GiB alone.
  ::alarm(300);
  constexpr int n = 1'000'000;
  const std::size_t before = resident_bytes();
  chan<int> close_me(0);
  std::atomic<int> here{0};
  wait_group all;
  all.add(n);
  for (int i = 0; i < n; ++i) {
    go([&, close_me] {
      here.fetch_add(1, std::memory_order_relaxed);
      close_me.recv();
      all.done();
    });
  }
  until([&] { return here.load() == n; });
  EXPECT_GE(goroutine_count(), std::size_t{n});
  const std::size_t each = (resident_bytes() - before) / n;
  EXPECT_LE(each, 4400U) << "bytes of memory for a parked goroutine";
  close_me.close();
  all.wait();
}

TEST_F(SchedConformance, YieldingGoroutinesTakeTurns) {
  constexpr int rounds = 50;
  max_procs(1);
  // A thread that the kernel does not run for 10 ms loses its processor, and its goroutine its
  // turn. Such a round does not count.
  for (;;) {
    const auto before = statistics_of_scheduler();
    std::string order;
    run([&] {
      wait_group all;
      all.add(3);
      for (const char name : {'a', 'b', 'c'}) {
        go([&, name] {
          for (int i = 0; i < rounds; ++i) {
            order += name;
            yield();
          }
          all.done();
        });
      }
      all.wait();
    });
    const auto after = statistics_of_scheduler();
    if (after.preempt_requests != before.preempt_requests) continue;
    ASSERT_EQ(order.size(), 3U * rounds);
    for (std::size_t i = 3; i < order.size(); ++i) {
      ASSERT_EQ(order[i], order[i - 3]) << order;
    }
    break;
  }
}

TEST_F(SchedConformance, ASpinningGoroutineDoesNotStarveTheOthers) {
  max_procs(1);
  run([] {
    std::atomic<bool> enough{false};
    goroutine spinner = go([&] {
      while (!enough.load(std::memory_order_relaxed)) {
      }
    });
    goroutine other = go([&] {
      for (int i = 0; i < 100; ++i) yield();
      enough = true;
    });
    other.join();
    spinner.join();
  });
  EXPECT_GE(statistics_of_scheduler().handoffs, 1U);
}

TEST_F(SchedConformance, ALoopWithPreemptPointsStaysOnItsProcessor) {
  max_procs(1);
  run([] {
    std::atomic<bool> enough{false};
    goroutine loop = go([&] {
      while (!enough.load(std::memory_order_relaxed)) preempt_point();
    });
    goroutine other = go([&] { enough = true; });
    other.join();
    loop.join();
  });
}

TEST_F(SchedConformance, StealingSpreadsTheWorkOverTwoProcessors) {
  max_procs(2);
  const std::uint64_t before = statistics_of_scheduler().steals;
  std::atomic<int> together{0};
  run([&] {
    while (statistics_of_scheduler().steals == before) {
      // Both halves of a pair have to run at the same time, on two threads.
      std::atomic<int> arrived{0};
      auto half = [&] {
        arrived.fetch_add(1);
        while (arrived.load() < 2) {
        }
        together.fetch_add(1);
      };
      goroutine one = go(half);
      goroutine two = go(half);
      one.join();
      two.join();
    }
  });
  EXPECT_GE(together.load(), 2);
}

TEST_F(SchedConformance, TheNumberOfProcessorsMayChangeUnderLoad) {
  constexpr int workers = 20;
  constexpr int rounds = 2000;
  std::atomic<int> done{0};
  std::atomic<long> sum{0};
  chan<int> ch(4);
  std::vector<goroutine> all;
  for (int i = 0; i < workers; ++i) {
    all.push_back(go([&, ch] {
      for (int k = 0; k < rounds; ++k) {
        ch.send(1);
        sum += *ch.recv();
        if (k % 16 == 0) yield();
      }
      ++done;
    }));
  }
  for (int n = 1; done.load() < workers; n = n % 8 + 1) {
    EXPECT_GE(max_procs(n), 1);
    EXPECT_EQ(max_procs(), n);
    std::this_thread::yield();
  }
  for (goroutine& one : all) one.join();
  EXPECT_EQ(sum.load(), long{workers} * rounds);
}

// Nobody comes back to a P that max_procs() has retired, and the P that is left is never idle here.
TEST_F(SchedConformance, TimersOfARetiredProcessorFireThoughTheOthersAreBusy) {
  constexpr int starters = 4;
  constexpr int each = 4;
  max_procs(starters);
  std::atomic<int> there{0};
  std::atomic<int> fired{0};
  std::vector<goroutine> all;
  for (int i = 0; i < starters; ++i) {
    all.push_back(go([&] {
      for (++there; there.load() < starters;) preempt_point();  // each on a P of its own
      for (int k = 0; k < each; ++k) after_func(20ms, [&fired] { ++fired; });
    }));
  }
  for (goroutine& one : all) one.join();
  max_procs(1);
  const auto busy = [&fired] {
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    while (fired.load() < starters * each && std::chrono::steady_clock::now() < give_up) yield();
  };
  goroutine one = go(busy);
  goroutine two = go(busy);
  one.join();
  two.join();
  EXPECT_EQ(fired.load(), starters * each);
}

TEST_F(SchedConformance, SettingsOutOfRangeAreRefused) {
  EXPECT_THROW(max_procs(0), std::invalid_argument);
  EXPECT_THROW(max_procs(257), std::invalid_argument);
  EXPECT_THROW(max_threads(0), std::invalid_argument);
}

// ---------------------------------------------------------------------------------- ends and joins

TEST_F(SchedConformance, GoexitRunsTheDestructorsAndEndsTheGoroutine) {
  bool destroyed = false;
  bool seen = false;
  bool after = false;
  goroutine g = go([&] {
    struct mark {
      bool& set;
      ~mark() { set = true; }
    };
    const mark at_end{destroyed};
    try {
      goexit();
    } catch (...) {
      seen = true;
      throw;
    }
    after = true;
  });
  g.join();
  EXPECT_TRUE(destroyed);
  EXPECT_TRUE(seen);
  EXPECT_FALSE(after);
  EXPECT_THROW(goexit(), std::logic_error) << "a plain thread";
}

TEST_F(SchedConformance, JoinRethrowsWhatLeftTheGoroutine) {
  goroutine g = go([] { throw std::runtime_error("left"); });
  EXPECT_TRUE(g.joinable());
  try {
    g.join();
    FAIL() << "nothing thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "left");
  }
  EXPECT_FALSE(g.joinable());
  EXPECT_THROW(g.join(), std::logic_error);
  goroutine inner = go([] {
    goroutine deeper = go([] { throw 7; });
    deeper.join();
  });
  EXPECT_THROW(inner.join(), int);
}

TEST_F(SchedConformance, AGoroutineThatJoinsItselfIsTold) {
  goroutine self;
  bool told = false;
  chan<int> ready(0);
  chan<int> ended(0);
  self = go([&, ready, ended] {
    ready.recv();
    try {
      self.join();
    } catch (const std::logic_error&) {
      told = true;
    }
    ended.close();
  });
  ready.close();
  ended.recv();
  EXPECT_TRUE(told);
}

TEST_F(SchedConformance, AHandleMayGoBeforeItsGoroutine) {
  chan<int> there(0);
  chan<int> back(0);
  {
    goroutine g = go([=] {
      there.recv();
      back.close();
    });
    EXPECT_FALSE(g.done());
    EXPECT_NE(g.id(), 0U);
  }
  there.close();
  EXPECT_FALSE(back.recv().has_value());
  goroutine g = go([] {});
  until([&] { return g.done(); });
  g.join();
  goroutine{}.detach();
}

TEST_F(SchedConformance, ArgumentsAreCopiedAndMovedAsForThreads) {
  auto moved = std::make_unique<int>(5);
  int by_reference = 0;
  struct large {
    char bytes[3000] = {};
  } large_value;
  large_value.bytes[2999] = 'x';
  go([](std::unique_ptr<int> p, int& out,
        const large& l) { out = *p + (l.bytes[2999] == 'x' ? 1 : 0); },
     std::move(moved), std::ref(by_reference), large_value)
      .join();
  EXPECT_EQ(by_reference, 6);
}

TEST_F(SchedConformance, AnExceptionThatNobodyCanGetEndsTheProcess) {
  for (const bool dropped_after : {false, true}) {
    const auto end = run_child([dropped_after] {
      return run([dropped_after] {
        chan<int> never(0);
        {
          goroutine g = go([] { throw std::runtime_error("nobody gets me"); });
          if (dropped_after) until([&] { return g.done(); });
        }
        never.recv();
        return 0;
      });
    });
    EXPECT_TRUE(end.killed_by(SIGABRT)) << end.describe();
    EXPECT_NE(end.err.find("nobody gets me"), std::string::npos) << end.describe();
  }
}

TEST_F(SchedConformance, RunReturnsTheStatusAndRethrows) {
  EXPECT_EQ(run([] { return 7; }), 7);
  EXPECT_EQ(run([] {}), 0);
  EXPECT_THROW(run([] { throw std::runtime_error("main"); }), std::runtime_error);
}

TEST_F(SchedConformance, TheProcessEndsWhileGoroutinesRun) {
  for (const bool by_exit : {false, true}) {
    const auto end = run_child([by_exit] {
      max_procs(2);
      return run([by_exit] {
        chan<int> never(0);
        static const gate& shut = *new gate;  // never closed: it is read until the end
        go([never] { never.recv(); });
        go([] { foreign_call([] { shut.pass(); }); });
        go([] {
          for (std::atomic<int> i{0};; ++i) {
          }
        });
        go([] {
          for (;;) yield();
        });
        for (int i = 0; i < 100; ++i) yield();
        if (by_exit) std::exit(5);
        return 5;
      });
    });
    EXPECT_TRUE(end.exited_with(5)) << end.describe();
  }
}

// ------------------------------------------------------------------------- exceptions, errno,
// threads

TEST_F(SchedConformance, ExceptionsStayWithTheirGoroutine) {
  max_procs(8);
  constexpr int n = 64;
  std::atomic<int> right{0};
  chan<int> meet(0);
  std::vector<goroutine> all;
  for (int i = 0; i < n; ++i) {
    all.push_back(go([&, meet, i] {
      for (int round = 0; round < 50; ++round) {
        try {
          try {
            throw i;
          } catch (...) {
            // Parked within the handler; whoever goes on is likely to be on another thread.
            if (i % 2 == 0) {
              meet.send(i);
            } else {
              meet.recv();
            }
            yield();
            if (std::uncaught_exceptions() != 0) return;
            throw;
          }
        } catch (const int mine) {
          if (mine != i || std::uncaught_exceptions() != 0) return;
        }
        if (std::current_exception() != nullptr) return;
      }
      ++right;
    }));
  }
  for (goroutine& one : all) one.join();
  EXPECT_EQ(right.load(), n);
}

// The compiler takes the address of errno for constant within a function.
[[gnu::noinline]] int read_errno() {
  asm volatile("" ::: "memory");
  return errno;
}
[[gnu::noinline]] void write_errno(int value) {
  asm volatile("" ::: "memory");
  errno = value;
}

TEST_F(SchedConformance, ErrnoTravelsWithItsGoroutine) {
  max_procs(8);
  constexpr int n = 64;
  std::atomic<int> right{0};
  std::vector<goroutine> all;
  for (int i = 0; i < n; ++i) {
    all.push_back(go([&, i] {
      write_errno(1000 + i);
      for (int round = 0; round < 500; ++round) {
        if (round % 50 == 0) foreign_call([] { std::this_thread::yield(); });
        yield();
        if (read_errno() != 1000 + i) return;
      }
      ++right;
    }));
  }
  for (goroutine& one : all) one.join();
  EXPECT_EQ(right.load(), n);
}

[[gnu::noinline]] int thread_id() {
  asm volatile("" ::: "memory");
  return ::gettid();
}

TEST_F(SchedConformance, ALockedGoroutineKeepsItsThreadForItself) {
  max_procs(4);
  constexpr int locked_ones = 8;
  constexpr int rounds = 300;
  std::atomic<int> right{0};
  std::atomic<bool> over{false};
  // Threads that belong to one goroutine now, by number modulo the size.
  static std::atomic<int> owners[1 << 16] = {};
  chan<int> ch(0);
  auto may_be_here = [](int self) {
    const int owner = owners[thread_id() % (1 << 16)].load();
    return owner == 0 || owner == self;
  };
  std::vector<goroutine> others;
  std::atomic<int> trespasses{0};
  for (int i = 0; i < 8; ++i) {
    others.push_back(go([&, ch] {
      while (!over.load()) {
        if (!may_be_here(-1)) ++trespasses;
        yield();
      }
    }));
  }
  std::vector<goroutine> all;
  for (int i = 1; i <= locked_ones; ++i) {
    all.push_back(go([&, ch, i] {
      lock_os_thread();
      lock_os_thread();
      unlock_os_thread();
      const int home = thread_id();
      owners[home % (1 << 16)] = i;
      bool kept = true;
      for (int round = 0; round < rounds; ++round) {
        if (i % 2 == 0) {
          ch.send(round);
        } else {
          ch.recv();
        }
        if (round % 3 == 0) yield();
        if (round % 50 == 0) foreign_call([] { std::this_thread::yield(); });
        kept = kept && thread_id() == home;
      }
      owners[home % (1 << 16)] = 0;
      if (i % 4 != 0) unlock_os_thread();  // the others: by their end
      if (kept) ++right;
    }));
  }
  for (goroutine& one : all) one.join();
  over = true;
  for (goroutine& one : others) one.join();
  EXPECT_EQ(right.load(), locked_ones);
  EXPECT_EQ(trespasses.load(), 0);
}

// ---------------------------------------------------------------------------------- foreign calls

TEST_F(SchedConformance, AHundredBlockedForeignCallsHoldNobodyUp) {
  max_procs(1);
  constexpr int n = 100;
  const gate shut;
  std::atomic<int> inside{0};
  std::vector<goroutine> blocked;
  for (int i = 0; i < n; ++i) {
    blocked.push_back(go([&] {
      foreign_call([&] {
        ++inside;
        shut.pass();
      });
    }));
  }
  goroutine free_one = go([&] {
    until([&] { return inside.load() == n; });
    chan<int> ch(0);
    goroutine echo = go([ch] {
      for (const int v : ch) static_cast<void>(v);
    });
    for (int i = 0; i < 100; ++i) ch.send(i);
    ch.close();
    echo.join();
  });
  free_one.join();
  EXPECT_EQ(inside.load(), n);
  EXPECT_GE(statistics_of_scheduler().foreign_retakes, 1U);
  shut.open(n);
  for (goroutine& one : blocked) one.join();
}

TEST_F(SchedConformance, AForeignCallReturnsAndThrowsAsAFunctionDoes) {
  go([] {
    EXPECT_EQ(foreign_call([] { return 3; }), 3);
    int x = 1;
    int& same = foreign_call([&]() -> int& { return x; });
    EXPECT_EQ(&same, &x);
    EXPECT_THROW(foreign_call([] { throw std::runtime_error("through"); }), std::runtime_error);
    EXPECT_EQ(foreign_call([] { return foreign_call([] { return goroutine_id(); }); }), 0U);
    EXPECT_NE(goroutine_id(), 0U);
  }).join();
}

TEST_F(SchedConformance, AtTheThreadLimitGoroutinesWait) {
  constexpr int limit = 3;
  max_procs(2);
  max_threads(limit);
  const gate shut;
  std::atomic<int> inside{0};
  std::atomic<bool> ran{false};
  std::vector<goroutine> blocked;
  for (int i = 0; i < limit; ++i) {
    blocked.push_back(go([&] {
      foreign_call([&] {
        ++inside;
        shut.pass();
      });
    }));
  }
  while (inside.load() < limit) std::this_thread::yield();
  goroutine waits = go([&] { ran = true; });
  while (statistics_of_scheduler().threads_refused == 0) std::this_thread::yield();
  EXPECT_LE(statistics_of_scheduler().threads, limit);
  EXPECT_FALSE(ran.load());
  shut.open(limit);
  waits.join();
  for (goroutine& one : blocked) one.join();
  EXPECT_LE(statistics_of_scheduler().threads, limit);
}

// Its processor, on which the timer was started, is taken while the other one is idle.
TEST_F(SchedConformance, ATimerFiresWhileAllElseIsInForeignCalls) {
  max_procs(2);
  const gate shut;
  std::atomic<int> woken{0};
  goroutine blocked = go([&] {
    go([&] {
      doze(300ms);
      ++woken;
      shut.open(1);
    });
    foreign_call([&] { shut.pass(); });
    EXPECT_EQ(woken.load(), 1);
  });
  blocked.join();
}

TEST_F(SchedConformance, ATimerStartedInAForeignCallFires) {
  max_procs(2);
  go([] {
    foreign_call([] {
      doze(50ms);
      timer later(100ms);
      EXPECT_TRUE(later.channel().recv().has_value());
    });
  }).join();
}

TEST_F(SchedConformance, PlainThreadsAndGoroutinesWorkTogether) {
  constexpr int each = 2000;
  mutex lock;
  chan<int> ch(0);
  long sum = 0;
  auto producer = [&, ch] {
    for (int i = 1; i <= each; ++i) ch.send(i);
  };
  auto consumer = [&, ch] {
    for (int i = 1; i <= each; ++i) {
      const int value = *ch.recv();
      const std::lock_guard hold(lock);
      sum += value;
    }
  };
  std::vector<std::thread> threads;
  std::vector<goroutine> gs;
  for (int i = 0; i < 4; ++i) {
    (i % 2 == 0) ? threads.emplace_back(producer), 0 : (gs.push_back(go(producer)), 0);
    (i % 2 == 0) ? gs.push_back(go(consumer)), 0 : (threads.emplace_back(consumer), 0);
  }
  for (std::thread& one : threads) one.join();
  for (goroutine& one : gs) one.join();
  EXPECT_EQ(sum, 4L * each * (each + 1) / 2);
}

TEST_F(SchedConformance, AChildForkedInAGoroutineMayCleanUpAndExec) {
  if (sanitized) GTEST_SKIP() << "a sanitizer's own threads do not survive a fork";
  const auto end = run_child([] {
    max_procs(2);
    return run([] {
      const pid_t child = ::fork();
      if (child == 0) {
        // The only thread; it is the goroutine's. Others are gone with their threads.
        ::execl("/bin/true", "true", static_cast<char*>(nullptr));
        ::_exit(9);
      }
      int status = -1;
      foreign_call([&] { ::waitpid(child, &status, 0); });
      chan<int> alive(1);
      go([alive] { alive.send(1); });
      return WIFEXITED(status) && alive.recv() == 1 ? WEXITSTATUS(status) : 8;
    });
  });
  EXPECT_TRUE(end.exited_with(0)) << end.describe();
}

// ------------------------------------------------------------------------------ deadlock and lists

TEST_F(SchedConformance, AllAsleepIsReportedWithWhatEachWaitsFor) {
  if (by_tsan) GTEST_SKIP() << "TSan has a thread of its own, which might wake somebody";
  const auto end = run_child([] {
    return run([] {
      chan<int> never(0);
      set_goroutine_name("head");
      mutex lock;
      lock.lock();
      goroutine locked = go({.name = "second"}, [&] { lock.lock(); });
      goroutine waits = go({.name = "third"}, [&] { locked.join(); });
      never.recv();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.describe();
  for (const char* part : {"all goroutines are asleep - deadlock!", "[chan receive", "head",
                           "[sync.Mutex.Lock", "second", "[join", "third"}) {
    EXPECT_NE(end.err.find(part), std::string::npos) << part << "\n" << end.describe();
  }
}

TEST_F(SchedConformance, WhoSleepsOrMayBeWokenFromOutsideIsNoDeadlock) {
  const auto end = run_child([] {
    chan<int> from_thread(0);
    return run([&] {
      doze(400ms);
      const gate shut;
      std::thread outside([&] {
        shut.pass();
        from_thread.send(3);
      });
      go([&] {
        doze(400ms);
        shut.open(1);
      });
      const int status = *from_thread.recv();
      outside.join();
      return status;
    });
  });
  EXPECT_TRUE(end.exited_with(3)) << end.describe();
}

TEST_F(SchedConformance, TheListSaysWhoWaitsForWhat) {
  chan<int> ch(0);
  mutex lock;
  lock.lock();
  const gate shut;
  wait_group group;
  group.add();
  goroutine receiver = go({.name = "receiver"}, [=] { ch.recv(); });
  goroutine locker = go({.name = "locker"}, [&] { const std::lock_guard hold(lock); });
  goroutine waiter = go([&] { group.wait(); });
  goroutine foreign = go([&] { foreign_call([&] { shut.pass(); }); });
  until_it_waits_for(foreign, "foreign call");
  goroutine joiner = go([&] { foreign.join(); });
  goroutine sleeper = go([&] { doze(1h); });
  until_it_waits_for(receiver, "chan receive");
  until_it_waits_for(locker, "sync.Mutex.Lock");
  until_it_waits_for(waiter, "sync.WaitGroup.Wait");
  until_it_waits_for(joiner, "join");
  until_it_waits_for(sleeper, "sleep");
  const std::string text = goroutines_text();
  EXPECT_NE(text.find("goroutine " + std::to_string(receiver.id()) + " [chan receive"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("receiver"), std::string::npos) << text;
  ch.close();
  lock.unlock();
  group.done();
  shut.open(1);
  receiver.join();
  locker.join();
  waiter.join();
  joiner.join();
  EXPECT_EQ(state_of(receiver.id()), "gone");
}

TEST_F(SchedConformance, NamesParentsAndLabelsAreListed) {
  chan<int> ready(0);
  chan<int> end(0);
  goroutine outer = go({.name = "outer"}, [=] {
    EXPECT_EQ(goroutine_name(), "outer");
    set_goroutine_label("request", "42");
    set_goroutine_label("gone", "x");
    set_goroutine_label("gone", "");
    goroutine inner = go([=] {
      set_goroutine_name("a name that is longer than any that is kept");
      set_goroutine_label("step", "two");
      ready.close();
      end.recv();
    });
    inner.join();
  });
  ready.recv();
  bool found = false;
  for (const goroutine_info& info : goroutines()) {
    if (info.parent_id != outer.id()) continue;
    found = true;
    EXPECT_EQ(info.name, std::string("a name that is longer than any that is kept").substr(0, 31));
    const std::vector<std::pair<std::string, std::string>> labels{{"request", "42"},
                                                                  {"step", "two"}};
    EXPECT_EQ(info.labels, labels);
    EXPECT_NE(info.created_at, nullptr);
  }
  EXPECT_TRUE(found);
  end.close();
  outer.join();
  EXPECT_EQ(goroutine_id(), 0U);
  EXPECT_EQ(goroutine_name(), "");
}

TEST_F(SchedConformance, NumbersAreNeverUsedAgain) {
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    goroutine g = go([] {});
    EXPECT_TRUE(seen.insert(g.id()).second);
    g.join();
  }
}

}  // namespace
}  // namespace sigrun::test
