// SPDX-License-Identifier: Apache-2.0
//
// Goal: a goroutine that is stopped between two instructions goes on exactly, with all that belongs
// to it: registers, flags, modes, errno, exceptions.
//
// SIGRUN_TEST_PREEMPTIONS sets how often goroutines are stopped while they hold patterns in all
// registers: 10,000 by default, some seconds; the contract asks for 1,000,000. SIGRUN_TEST_SEED
// sets the first seed.

#include "asker.hpp"
#include "support/spin_registers.hpp"

#include "arch/context.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace sigrun::test {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}
std::uint64_t wished_preemptions() {
  return from_environment("SIGRUN_TEST_PREEMPTIONS", SIGRUN_ASAN ? 2'000 : 10'000);
}

/// Goroutines that hold patterns in all registers, until so many have been stopped in all. Returns
/// what was wrong.
class patterns {
 public:
  explicit patterns(std::uint64_t preemptions) : goal_(injected() + preemptions) {
    alarm(static_cast<unsigned>(100 + preemptions / 500));
  }
  std::string run() {
    const std::uint64_t first_seed = from_environment("SIGRUN_TEST_SEED", 1);
    std::vector<goroutine> all;
    for (std::uint64_t seed = first_seed; seed < first_seed + 6; ++seed) {
      all.push_back(go({.stack_size = 256 * 1024}, [this, seed] { hold(seed); }));
    }
    {
      const asker asking;
      for (goroutine& one : all) one.join();
    }
    std::printf("%llu calls, registers %s, %llu injected, %llu outside\n",
                static_cast<unsigned long long>(calls_.load()), vector_kinds().c_str(),
                static_cast<unsigned long long>(injected()),
                static_cast<unsigned long long>(counted(preempt_state::outside)));
    return wrong_;
  }

 private:
  void hold(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const std::string kinds = vector_kinds();
    register_file in;
    register_file out;
    while (injected() < goal_) {
      const char kind = kinds[random() % kinds.size()];
      const std::uint64_t rounds = 1 + random() % 100'000;
      randomise(in, random);
      randomise(out, random);
      const register_file want = expected(kind, in, out, rounds);
      spin_registers(kind, in, out, rounds);
      calls_.fetch_add(1, std::memory_order_relaxed);
      const std::string difference = first_difference(want, out);
      if (difference.empty()) continue;
      const std::lock_guard hold(lock_);
      wrong_ += "seed " + std::to_string(seed) + " " + kind + ": " + difference + "\n";
    }
  }

  const std::uint64_t goal_;
  std::atomic<std::uint64_t> calls_{0};
  std::mutex lock_;  // never held across marked code
  std::string wrong_;
};

TEST_F(Preemption, KeepsEveryRegisterAndTheRedZone) {
  EXPECT_EQ(patterns(wished_preemptions()).run(), "");
}

std::atomic<std::uint64_t> others_handled{0};

TEST_F(Preemption, OtherSignalsMayComeAtAnyMoment) {
  for (const int signo : {SIGUSR1, SIGUSR2}) {
    struct sigaction action {};
    action.sa_handler = [](int) { others_handled.fetch_add(1); };
    // One on the signal stack, one on the goroutine's own.
    action.sa_flags = SA_RESTART | (signo == SIGUSR1 ? SA_ONSTACK : 0);
    sigaction(signo, &action, nullptr);  // for good: the last ones may come late
  }
  std::atomic<bool> over{false};
  std::thread sending([&] {
    for (int i = 0; !over.load(); ++i) {
      for (machine* m : machines()) tgkill(getpid(), m->tid, i % 2 == 0 ? SIGUSR1 : SIGUSR2);
      wait_a_moment();
    }
  });
  EXPECT_EQ(patterns(wished_preemptions() / 10).run(), "");
  over = true;
  sending.join();
  EXPECT_GT(others_handled.load(), 0u);
}

SIGRUN_PREEMPTIBLE void spin_a_little() {
  for (int i = 0; i < 10'000; ++i) asm volatile("" : : "r"(i));
}

[[gnu::noinline]] void set_errno(int value) { errno = value; }
[[gnu::noinline]] int get_errno() { return errno; }

TEST_F(Preemption, ErrnoAndTheExceptionBeingHandledTravelAlong) {
  const std::uint64_t goal = injected() + 100;
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  std::vector<goroutine> all;
  for (int i = 1; i <= 4; ++i) {
    all.push_back(go([&, i] {
      const std::string mine = "exception " + std::to_string(i);
      while (!over.load()) {
        set_errno(i);
        try {
          throw std::runtime_error(mine);
        } catch (...) {
          for (int n = 0; n < 100; ++n) spin_a_little();
          try {
            throw;
          } catch (const std::runtime_error& error) {
            if (error.what() != mine) ++wrong;
          }
        }
        if (std::uncaught_exceptions() != 0) ++wrong;
        if (get_errno() != i) ++wrong;
      }
    }));
  }
  {
    const asker asking;
    while (injected() < goal) wait_a_moment();
    over = true;
    for (goroutine& one : all) one.join();
  }
  EXPECT_EQ(wrong.load(), 0);
}

// Flush to zero, and the other rounding.
arch::control_words unusual_modes() {
  arch::control_words modes = arch::read_control_words();
#if defined(__x86_64__)
  modes.mxcsr |= 0xa040;
#else
  modes.fpcr |= 3U << 23;
#endif
  return modes;
}

SIGRUN_PREEMPTIBLE bool spin_with(const arch::control_words& mine, const std::atomic<bool>& done) {
  const arch::control_words before = arch::read_control_words();
  arch::load_control_words(mine);
  while (!read(done)) {
  }
  const arch::control_words after = arch::read_control_words();
  arch::load_control_words(before);
  return after == mine;
}

TEST_F(Preemption, FloatingPointModesStayWithTheirGoroutine) {
  max_procs(1);
  const std::uint64_t goal = injected() + 100;
  std::atomic<bool> done{false};
  std::atomic<bool> kept{true};
  std::atomic<int> wrong{0};
  std::vector<goroutine> all;
  for (int i = 0; i < 2; ++i) {
    all.push_back(go([&] {
      if (!spin_with(unusual_modes(), done)) kept = false;
    }));
  }
  const arch::control_words usual{};
  const auto watch = [&] {
    while (!done.load()) {
      if (arch::read_control_words() != usual) ++wrong;
      yield();
    }
  };
  all.push_back(go(watch));
  all.push_back(go(watch));
  {
    const asker asking;
    while (injected() < goal) wait_a_moment();
    done = true;
    for (goroutine& one : all) one.join();
  }
  EXPECT_TRUE(kept.load());
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(Preemption, AMarkedGoroutineMayLeaveByAnException) {
  struct thrower {
    SIGRUN_PREEMPTIBLE static void run(const std::atomic<bool>& done, int depth) {
      while (!read(done)) {
      }
      if (depth > 0) run(done, depth - 1);
      throw std::runtime_error("thrown");
    }
  };
  const std::uint64_t before = injected();
  std::atomic<bool> done{false};
  goroutine one = go([&] { thrower::run(done, 10); });
  {
    const asker asking;
    while (injected() < before + 10) wait_a_moment();
    done = true;
    EXPECT_THROW(one.join(), std::runtime_error);
  }
}

}  // namespace
}  // namespace sigrun::test
