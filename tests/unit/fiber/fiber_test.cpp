// SPDX-License-Identifier: Apache-2.0
//
// Goal: what C++ and the C library keep per thread stays with the fiber: exceptions, errno,
// floating-point control words; on one thread and across several; and tools see whole stacks.

#include "fiber/fiber.hpp"
#include "fiber/valgrind.hpp"
#include "unit/fiber/bed.hpp"

#include <gtest/gtest.h>

#include <unwind.h>
#include <cerrno>
#include <cfenv>

#include <array>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sigrun::fiber {
namespace {

using test::test_fiber;
using test::worker;

// Not inlined: the compiler may keep the address of errno across a park, see docs/scheduler.md.
[[gnu::noinline]] int read_errno() { return errno; }
[[gnu::noinline]] void write_errno(int value) { errno = value; }

TEST(Fiber, RunsParksAndEnds) {
  worker here;
  std::string log;
  test_fiber fiber([&](test_fiber& self) {
    log += 'a';
    self.park();
    log += 'b';
  });
  EXPECT_EQ(log, "");
  fiber.resume(here);
  EXPECT_EQ(log, "a");
  EXPECT_FALSE(fiber.done());
  fiber.resume(here);
  EXPECT_EQ(log, "ab");
  EXPECT_TRUE(fiber.done());
}

TEST(Fiber, EachHasItsErrno) {
  worker here;
  std::vector<int> seen;
  const auto body = [&seen](int value) {
    return [&seen, value](test_fiber& self) {
      seen.push_back(read_errno());
      write_errno(value);
      self.park();
      seen.push_back(read_errno());
    };
  };
  test_fiber one(body(ENOENT));
  test_fiber two(body(EAGAIN));
  write_errno(EPERM);
  one.resume(here);
  two.resume(here);
  one.resume(here);
  two.resume(here);
  EXPECT_EQ(seen, (std::vector<int>{0, 0, ENOENT, EAGAIN}));
  EXPECT_EQ(read_errno(), EPERM);
}

TEST(Fiber, ErrnoGoesAlongToAnotherThread) {
  worker here;
  int seen = -1;
  test_fiber fiber([&](test_fiber& self) {
    write_errno(ENOSPC);
    self.park();
    seen = read_errno();
  });
  fiber.resume(here);
  int of_thread = -1;
  std::thread([&] {
    worker there;
    write_errno(EBUSY);
    fiber.resume(there);
    of_thread = read_errno();
  }).join();
  EXPECT_EQ(seen, ENOSPC);
  EXPECT_EQ(of_thread, EBUSY);
}

std::string rethrown() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  }
}

TEST(Fiber, EachRethrowsItsOwnExceptionAfterParkingInACatchBlock) {
  worker here;
  std::vector<std::string> seen;
  const auto body = [&seen](const char* name) {
    return [&seen, name](test_fiber& self) {
      try {
        throw std::runtime_error(name);
      } catch (...) {
        self.park();
        seen.push_back(rethrown());
        self.park();
        try {
          throw std::runtime_error(std::string("inner ") + name);
        } catch (...) {
          self.park();
          seen.push_back(rethrown());
        }
        seen.push_back(rethrown());
      }
    };
  };
  test_fiber one(body("one"));
  test_fiber two(body("two"));
  try {
    throw std::runtime_error("thread");
  } catch (...) {
    for (int round = 0; round < 4; round++) {
      one.resume(here);
      two.resume(here);
      EXPECT_EQ(rethrown(), "thread");
    }
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"one", "two", "inner one", "one", "inner two", "two"}));
  EXPECT_TRUE(one.done() && two.done());
  EXPECT_EQ(std::current_exception(), nullptr);
}

TEST(Fiber, ACatchBlockMayBeFinishedOnAnotherThread) {
  worker here;
  std::string seen;
  test_fiber fiber([&](test_fiber& self) {
    try {
      throw std::runtime_error("begun elsewhere");
    } catch (...) {
      self.park();
      seen = rethrown();
    }
    EXPECT_EQ(std::current_exception(), nullptr);
  });
  fiber.resume(here);
  EXPECT_EQ(std::current_exception(), nullptr);
  std::thread([&] {
    worker there;
    try {
      throw std::runtime_error("of the thread");
    } catch (...) {
      fiber.resume(there);
      EXPECT_EQ(rethrown(), "of the thread");
    }
  }).join();
  EXPECT_EQ(seen, "begun elsewhere");
}

TEST(Fiber, ADestructorMayParkWhileItsStackUnwinds) {
  worker here;
  struct parks_at_its_end {
    test_fiber& self;
    int& uncaught;
    ~parks_at_its_end() {
      self.park();
      uncaught = std::uncaught_exceptions();
    }
  };
  int uncaught = -1;
  bool caught = false;
  test_fiber fiber([&](test_fiber& self) {
    try {
      const parks_at_its_end guard{self, uncaught};
      throw std::runtime_error("on its way");
    } catch (const std::runtime_error&) {
      caught = true;
    }
  });
  fiber.resume(here);
  EXPECT_EQ(std::uncaught_exceptions(), 0) << "the thread has none";
  std::thread([&] {
    worker there;
    fiber.resume(there);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
  }).join();
  EXPECT_EQ(uncaught, 1);
  EXPECT_TRUE(caught);
}

TEST(Fiber, EachHasItsRoundingMode) {
  worker here;
  std::vector<int> seen;
  test_fiber one([&](test_fiber& self) {
    std::fesetround(FE_UPWARD);
    self.park();
    seen.push_back(std::fegetround());
  });
  test_fiber two([&](test_fiber& self) {
    seen.push_back(std::fegetround());
    std::fesetround(FE_TOWARDZERO);
    self.park();
    seen.push_back(std::fegetround());
  });
  one.resume(here);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  two.resume(here);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  one.resume(here);
  two.resume(here);
  EXPECT_EQ(seen, (std::vector<int>{FE_TONEAREST, FE_UPWARD, FE_TOWARDZERO}));
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

#if defined(__x86_64__)
TEST(Fiber, EachHasItsX87ControlWord) {
#if defined(RUNNING_ON_VALGRIND)
  if (RUNNING_ON_VALGRIND != 0) GTEST_SKIP() << "Valgrind knows one precision";
#endif
  worker here;
  const auto read = [] {
    std::uint16_t word = 0;
    asm volatile("fnstcw %0" : "=m"(word));
    return word;
  };
  const std::uint16_t single = 0x007f;  // 24-bit mantissas; mxcsr is left alone
  std::uint16_t seen = 0;
  test_fiber fiber([&](test_fiber& self) {
    asm volatile("fldcw %0" : : "m"(single));
    self.park();
    seen = read();
  });
  fiber.resume(here);
  EXPECT_EQ(read(), 0x037f);
  fiber.resume(here);
  EXPECT_EQ(seen, single);
  EXPECT_EQ(read(), 0x037f);
}
#endif

_Unwind_Reason_Code note_frame(_Unwind_Context* frame, void* argument) {
  auto& frames = *static_cast<std::vector<std::uintptr_t>*>(argument);
  frames.push_back(_Unwind_GetRegionStart(frame));
  return frames.size() < 200 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

TEST(Fiber, ABacktraceEndsWhereTheStackBegan) {
  worker here;
  std::vector<std::uintptr_t> frames;
  _Unwind_Reason_Code end = _URC_NO_REASON;
  test_fiber fiber([&](test_fiber&) { end = _Unwind_Backtrace(note_frame, &frames); });
  fiber.resume(here);
  EXPECT_EQ(end, _URC_END_OF_STACK);
  ASSERT_GT(frames.size(), 2u);
  EXPECT_EQ(frames.back(), reinterpret_cast<std::uintptr_t>(&arch::sigrun_context_start));
}

struct big_stack_call {
  test_fiber* self = nullptr;
  bool on_fiber = true;
  bool throws = false;
  std::vector<std::uintptr_t> frames;
};

void on_big_stack(void* argument) {
  auto& call = *static_cast<big_stack_call*>(argument);
  // Its address says which stack; under ASan locals may live elsewhere, frames do not.
  call.on_fiber = call.self->holds(__builtin_frame_address(0));
  std::array<char, 512 * 1024> more_than_a_fiber_has;
  asm volatile("" : : "r"(more_than_a_fiber_has.data()) : "memory");
  _Unwind_Backtrace(note_frame, &call.frames);
  if (call.throws) throw std::runtime_error("from the thread's stack");
}

TEST(Fiber, ACallOnTheThreadsStackHasRoomAndWalksBackIntoTheFiber) {
  worker here;
  big_stack_call call;
  test_fiber fiber([&](test_fiber& self) {
    call.self = &self;
    call_on_thread_stack(self.state(), self.on().self, on_big_stack, &call);
    self.park();
    call_on_thread_stack(self.state(), self.on().self, on_big_stack, &call);
  });
  fiber.resume(here);
  EXPECT_FALSE(call.on_fiber);
  ASSERT_FALSE(call.frames.empty());
  EXPECT_EQ(call.frames.back(), reinterpret_cast<std::uintptr_t>(&arch::sigrun_context_start));
  call.frames.clear();
  std::thread([&] {
    worker there;
    fiber.resume(there);
  }).join();
  EXPECT_TRUE(fiber.done());
  ASSERT_FALSE(call.frames.empty());
  EXPECT_EQ(call.frames.back(), reinterpret_cast<std::uintptr_t>(&arch::sigrun_context_start));
}

TEST(Fiber, AnExceptionLeavesACallOnTheThreadsStackIntoTheFiber) {
  worker here;
  std::vector<std::string> seen;
  test_fiber fiber([&](test_fiber& self) {
    big_stack_call call;
    call.self = &self;
    call.throws = true;
    for (int round = 0; round < 3; round++) {
      try {
        call_on_thread_stack(self.state(), self.on().self, on_big_stack, &call);
      } catch (const std::runtime_error& error) {
        self.park();
        seen.push_back(error.what());
      }
    }
  });
  for (int round = 0; round < 4; round++) fiber.resume(here);
  EXPECT_TRUE(fiber.done());
  EXPECT_EQ(seen, std::vector<std::string>(3, "from the thread's stack"));
}

// Each fiber is handed round the threads; each has an exception of its own in flight, an errno of
// its own, and memory of its own that a tool watches.
TEST(Fiber, ManyMoveBetweenThreadsWithEverythingThatIsTheirs) {
  constexpr int fibers = 64;
  constexpr int threads = 3;
  constexpr int rounds = 20;
  std::vector<std::unique_ptr<test_fiber>> all;
  std::array<int, fibers> good{};
  for (int i = 0; i < fibers; i++) {
    all.push_back(std::make_unique<test_fiber>([i, &good](test_fiber& self) {
      for (int round = 0; round < rounds; round++) {
        const std::string name = std::to_string(i) + "/" + std::to_string(round);
        write_errno(i * 1000 + round);
        try {
          throw std::runtime_error(name);
        } catch (...) {
          self.park();
          if (rethrown() == name && read_errno() == i * 1000 + round) good[std::size_t(i)]++;
        }
        self.park();
      }
    }));
  }
  // Fiber i is on thread (i + turn) % threads in each turn; turns follow one another.
  for (int turn = 0; turn < 2 * rounds + 1; turn++) {
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; t++) {
      pool.emplace_back([&, t] {
        worker here;
        for (int i = 0; i < fibers; i++) {
          if ((i + turn) % threads == t) all[std::size_t(i)]->resume(here);
        }
      });
    }
    for (std::thread& thread : pool) thread.join();
  }
  for (int i = 0; i < fibers; i++) {
    EXPECT_EQ(good[std::size_t(i)], rounds);
    EXPECT_TRUE(all[std::size_t(i)]->done());
  }
}

}  // namespace
}  // namespace sigrun::fiber
