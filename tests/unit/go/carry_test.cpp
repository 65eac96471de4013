// SPDX-License-Identifier: Apache-2.0
//
// Goal: what C++ and the C library keep for each thread stays with the goroutine, whichever thread
// it wakes on; and a foreign call is a call like any other, on a bigger stack. Eight Ps on whatever
// CPUs there are, so that goroutines do change threads.

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <cfenv>

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace sigrun {
namespace {

constexpr int crowd = 32;
constexpr int rounds = 100;

// Not inlined: the compiler may keep the address of errno across a call that blocks.
[[gnu::noinline]] int read_errno() { return errno; }
[[gnu::noinline]] void write_errno(int value) { errno = value; }

std::string rethrown() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// Runs body(i) in `crowd` goroutines and waits for all.
template <class F>
void in_a_crowd(F body) {
  const int before = max_procs(8);
  std::vector<goroutine> all;
  for (int i = 0; i < crowd; i++) all.push_back(go([&body, i] { body(i); }));
  for (goroutine& each : all) each.join();
  max_procs(before);
}

TEST(Carry, AnExceptionBeingHandledIsTheGoroutinesOwnAfterItBlocked) {
  std::atomic<int> wrong{0};
  chan<int> turnstile(3);
  in_a_crowd([&](int i) {
    for (int round = 0; round < rounds; round++) {
      const std::string name = std::to_string(i) + "/" + std::to_string(round);
      try {
        throw std::runtime_error(name);
      } catch (const std::runtime_error& outer) {
        turnstile.send(i);
        try {
          throw std::logic_error("inner " + name);
        } catch (...) {
          yield();
          if (rethrown() != "inner " + name) wrong++;
        }
        turnstile.recv();
        if (rethrown() != name || outer.what() != name) wrong++;
      }
      if (std::current_exception() != nullptr || std::uncaught_exceptions() != 0) wrong++;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Carry, ADestructorMayBlockWhileItsGoroutineUnwinds) {
  std::atomic<int> wrong{0};
  struct yields_at_its_end {
    std::atomic<int>& wrong;
    ~yields_at_its_end() {
      yield();
      if (std::uncaught_exceptions() != 1) wrong++;
      // An exception inside, begun and ended during the unwinding, that blocks as well.
      try {
        throw 1;
      } catch (int) {
        yield();
      }
      if (std::uncaught_exceptions() != 1) wrong++;
    }
  };
  in_a_crowd([&](int i) {
    for (int round = 0; round < rounds; round++) {
      try {
        const yields_at_its_end guard{wrong};
        throw i;
      } catch (int caught) {
        if (caught != i) wrong++;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Carry, ErrnoIsTheGoroutinesOwn) {
  std::atomic<int> wrong{0};
  in_a_crowd([&](int i) {
    if (read_errno() != 0) wrong++;  // a goroutine begins without an error
    for (int round = 0; round < rounds; round++) {
      write_errno(i * 1000 + round);
      yield();
      if (read_errno() != i * 1000 + round) wrong++;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Carry, TheRoundingModeIsTheGoroutinesOwn) {
  constexpr int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  std::atomic<int> wrong{0};
  in_a_crowd([&](int i) {
    const int mode = modes[i % 4];
    std::fesetround(mode);
    for (int round = 0; round < rounds; round++) {
      yield();
      if (std::fegetround() != mode) wrong++;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  go([&] {
    if (std::fegetround() != FE_TONEAREST) wrong++;
  }).join();
  EXPECT_EQ(wrong, 0) << "nothing stays with the threads";
}

TEST(Carry, AGoroutineInheritsTheRoundingModeOfWhoStartsIt) {
  int seen = -1;
  std::fesetround(FE_UPWARD);
  goroutine started = go([&] { seen = std::fegetround(); });
  std::fesetround(FE_TONEAREST);
  started.join();
  EXPECT_EQ(seen, FE_UPWARD);
}

// Returns its argument; each frame takes a page.
[[gnu::noinline]] int page_deep(int n) {
  char room[4096];
  asm volatile("" : : "r"(room) : "memory");
  return n == 0 ? 0 : page_deep(n - 1) + 1;
}

TEST(ForeignCall, HasTheThreadsStackAndComesBackToTheGoroutine) {
  std::atomic<int> wrong{0};
  in_a_crowd([&](int i) {
    for (int round = 0; round < 10; round++) {
      // 1 MiB: sixteen times what the goroutine has.
      if (foreign_call([] { return page_deep(256); }) != 256) wrong++;
      const auto id = goroutine_id();
      yield();
      if (goroutine_id() != id) wrong++;
    }
    (void)i;
  });
  EXPECT_EQ(wrong, 0);
}

TEST(ForeignCall, AnExceptionComesBackAndMayBeHandledAcrossBlocking) {
  std::atomic<int> wrong{0};
  in_a_crowd([&](int i) {
    for (int round = 0; round < rounds; round++) {
      const std::string name = std::to_string(i) + "/" + std::to_string(round);
      try {
        foreign_call([&] { throw std::runtime_error(name); });
        wrong++;
      } catch (...) {
        yield();
        // And one foreign call more while an exception is being handled.
        foreign_call([&] { wrong += rethrown() != name; });
        if (rethrown() != name) wrong++;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace sigrun
