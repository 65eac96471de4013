// SPDX-License-Identifier: Apache-2.0
//
// Goal: a goroutine in a marked function may be stopped between any two instructions and goes on
// exactly; anywhere else it is not stopped, and the reason is counted. The requests are made by
// hand, as sysmon makes them, so that there are many and at the moments that matter.
//
// SIGRUN_TEST_PREEMPTIONS sets how often goroutines are stopped while they hold patterns in all
// registers: 20,000 by default, some seconds; the contract asks for 1,000,000.

#include "support/child_process.hpp"
#include "support/spin_registers.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/preempt.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include "arch/context.hpp"
#include "arch/preempt.hpp"
#include "fiber/sanitizer.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cfenv>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sigrun {
namespace {

using namespace std::chrono_literals;
using sched::machine;
using sched::preempt_state;

std::uint64_t counted(preempt_state what) {
  return sched::the_scheduler().preempt_counts[static_cast<std::size_t>(what)].load();
}
std::uint64_t injected() { return counted(preempt_state::injected); }

bool books_balance() {
  std::uint64_t answers = 0;
  for (const auto what :
       {preempt_state::injected, preempt_state::outside, preempt_state::no_room,
        preempt_state::in_runtime, preempt_state::yielded, preempt_state::unanswered}) {
    answers += counted(what);
  }
  return answers == counted(preempt_state::asked);
}

std::vector<machine*> machines() {
  sched::scheduler& s = sched::the_scheduler();
  const std::lock_guard hold(s.lock);
  std::vector<machine*> all;
  for (machine* m = s.all_ms; m != nullptr; m = m->next) {
    if (m->tid != 0) all.push_back(m);
  }
  return all;
}

/// Asks every M in turn, as soon as it has answered, until told to stop.
class asker {
 public:
  asker() : thread_([this] { ask_all(); }) {}
  asker(const asker&) = delete;
  asker& operator=(const asker&) = delete;
  ~asker() {
    over_ = true;
    thread_.join();
  }

 private:
  void ask_all() {
    while (!over_.load()) {
      for (machine* m : machines()) {
        if (m->preempt.load() != preempt_state::asked) sched::ask(*m);
      }
      std::this_thread::yield();
    }
  }
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// In every build one instruction of the caller's own: at -O0 std::atomic's members are calls.
[[gnu::always_inline]] inline bool read(const std::atomic<bool>& flag) {
  return __atomic_load_n(reinterpret_cast<const bool*>(&flag), __ATOMIC_RELAXED);
}

// Waits for `done`, in marked code that holds nothing.
SIGRUN_PREEMPTIBLE void spin_until(const std::atomic<bool>& done) {
  while (!read(done)) {
  }
}
[[gnu::noinline]] void spin_unmarked_until(const std::atomic<bool>& done) {
  while (!read(done)) {
  }
}

preempt_state ask_once(machine& m) {
  for (;;) {
    sched::ask(m);
    preempt_state answer = preempt_state::none;
    while ((answer = m.preempt.load()) == preempt_state::asked) std::this_thread::yield();
    // sysmon may ask too, and g0 takes an answer away: then once more.
    if (answer != preempt_state::none) return answer;
  }
}

/// Runs f in a goroutine, asks its M when f says that it is about to be in marked code, and again
/// while it is not there yet; returns the first other answer.
template <class F>
preempt_state answer_while(F f) {
  std::atomic<machine*> here{nullptr};
  std::atomic<bool> done{false};
  goroutine asked = go([&] {
    lock_os_thread();
    f([&] { here = sched::current_machine(); }, done);
    unlock_os_thread();
  });
  machine* m = nullptr;
  while ((m = here.load()) == nullptr) std::this_thread::yield();
  preempt_state answer = preempt_state::outside;
  while (answer == preempt_state::outside) answer = ask_once(*m);
  done = true;
  asked.join();
  return answer;
}

class Preemption : public ::testing::Test {
 protected:
  void SetUp() override {
    if (SIGRUN_TSAN) GTEST_SKIP() << "nothing is preempted under TSan";
    alarm(100);  // a dead man's switch
    go([] {}).join();
    max_procs(2);
  }
  void TearDown() override {
    if (SIGRUN_TSAN) return;
    // A signal that is on its way is counted soon; one that is not would be missed for ever.
    while (!books_balance()) std::this_thread::yield();
    alarm(0);
  }
};

std::uint64_t wished_preemptions() {
  const char* text = std::getenv("SIGRUN_TEST_PREEMPTIONS");
  if (text != nullptr) return std::strtoull(text, nullptr, 10);
  return SIGRUN_ASAN ? 2'000 : 20'000;
}

TEST_F(Preemption, KeepsEveryRegisterAndTheRedZone) {
  const std::uint64_t goal = injected() + wished_preemptions();
  alarm(static_cast<unsigned>(100 + wished_preemptions() / 2000));
  std::atomic<std::uint64_t> calls{0};
  std::mutex lock;  // never held across marked code
  std::string wrong;
  std::vector<goroutine> all;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    all.push_back(go([&, seed] {
      std::mt19937_64 random(seed);
      const std::string kinds = test::vector_kinds();
      test::register_file in;
      test::register_file out;
      while (injected() < goal) {
        const char kind = kinds[random() % kinds.size()];
        const std::uint64_t rounds = 1 + random() % 100'000;
        test::randomise(in, random);
        test::randomise(out, random);
        const test::register_file want = expected(kind, in, out, rounds);
        test::spin_registers(kind, in, out, rounds);
        calls.fetch_add(1, std::memory_order_relaxed);
        const std::string difference = first_difference(want, out);
        if (difference.empty()) continue;
        const std::lock_guard hold(lock);
        wrong += "seed " + std::to_string(seed) + " " + kind + ": " + difference + "\n";
      }
    }));
  }
  {
    const asker asking;
    for (goroutine& one : all) one.join();
  }
  EXPECT_EQ(wrong, "");
  std::printf("%llu calls, registers %s, %llu injected, %llu outside\n",
              static_cast<unsigned long long>(calls.load()), test::vector_kinds().c_str(),
              static_cast<unsigned long long>(injected()),
              static_cast<unsigned long long>(counted(preempt_state::outside)));
}

[[gnu::noinline]] void set_errno(int value) { errno = value; }
[[gnu::noinline]] int get_errno() { return errno; }

TEST_F(Preemption, ErrnoAndTheExceptionBeingHandledTravelAlong) {
  const std::uint64_t goal = injected() + 200;
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
          test::register_file in{};
          test::register_file out{};
          in.mxcsr = 0x1f80;
          in.x87_control = 0x37f;
          in.flags = 0x202;
          test::spin_registers('x', in, out, 100'000);
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
    while (injected() < goal) std::this_thread::yield();
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
    while (injected() < goal) std::this_thread::yield();
    done = true;
    for (goroutine& one : all) one.join();
  }
  EXPECT_TRUE(kept.load());
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(Preemption, UsersMayHaveSigurgThemselves) {
  signal_chan urgent(64);
  std::atomic<bool> done{false};
  goroutine spinning = go([&] { spin_until(done); });
  const auto goes_on = [] {
    const std::uint64_t goal = injected() + 20;
    while (injected() < goal) std::this_thread::yield();
  };
  {
    const asker asking;
    for (int round = 0; round < 3; ++round) {
      notify(urgent, SIGURG);
      for (int i = 0; i < 20; ++i) {
        kill(getpid(), SIGURG);
        const auto event = urgent.recv();
        ASSERT_TRUE(event);
        EXPECT_EQ(event->signo, SIGURG);
        EXPECT_EQ(event->pid, getpid());
      }
      goes_on();
      signal_event other;
      EXPECT_FALSE(urgent.try_recv(other)) << "a request of the scheduler's came out";
      if (round == 0) stop(urgent);
      if (round == 1) ignore({SIGURG});
      if (round == 2) reset({SIGURG});
      kill(getpid(), SIGURG);
      goes_on();
    }
  }
  done = true;
  spinning.join();
}

TEST_F(Preemption, LeavesOtherCodeAlone) {
  std::atomic<machine*> here{nullptr};
  std::atomic<bool> done{false};
  goroutine spinning = go([&] {
    lock_os_thread();
    here = sched::current_machine();
    spin_unmarked_until(done);
    unlock_os_thread();
  });
  machine* m = nullptr;
  while ((m = here.load()) == nullptr) std::this_thread::yield();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ask_once(*m), preempt_state::outside);
  done = true;
  spinning.join();
}

TEST_F(Preemption, StopsMarkedCode) {
  // Locked to its thread it goes on there, and may be asked again at once.
  const std::uint64_t before = injected();
  std::atomic<bool> done{false};
  goroutine spinning = go([&] { spin_until(done); });
  {
    const asker asking;
    while (injected() < before + 100) std::this_thread::yield();
  }
  done = true;
  spinning.join();
}

TEST_F(Preemption, LeavesAGoroutineAloneInAForeignCall) {
  EXPECT_EQ(answer_while([](auto ready, const std::atomic<bool>& done) {
              foreign_call([&] {
                ready();
                spin_until(done);
              });
            }),
            preempt_state::in_runtime);
}

TEST_F(Preemption, LeavesTheRuntimesOwnSectionsAlone) {
  EXPECT_EQ(answer_while([](auto ready, const std::atomic<bool>& done) {
              machine* const m = sched::enter(sched::current_machine());
              ready();
              spin_until(done);
              sched::leave_section(m);
            }),
            preempt_state::in_runtime);
}

std::atomic<bool> timer_may_end{false};
std::atomic<machine*> timer_on{nullptr};

TEST_F(Preemption, LeavesG0Alone) {
  timer_may_end = false;
  timer_on = nullptr;
  sched::sched_timer timer;
  timer.fire = [](sched::sched_timer&) noexcept {
    timer_on = sched::current_machine();
    spin_until(timer_may_end);
  };
  go([&] { sched::timer_start(timer, sys::now_ns()); }).join();
  machine* m = nullptr;
  while ((m = timer_on.load()) == nullptr) std::this_thread::yield();
  preempt_state answer = preempt_state::outside;
  while (answer == preempt_state::outside) answer = ask_once(*m);
  EXPECT_EQ(answer, preempt_state::in_runtime);
  timer_may_end = true;
  go([&] { sched::timer_stop(timer); }).join();
}

// Frames of at least 256 bytes, until less than `left` bytes are left.
[[gnu::noinline]] void deep(std::uintptr_t low, std::uintptr_t left,
                            const std::atomic<bool>& done) {
  char room[256];
  asm volatile("" : : "r"(room) : "memory");
  if (reinterpret_cast<std::uintptr_t>(room) - low > left) {
    deep(low, left, done);
  } else {
    spin_until(done);
  }
  asm volatile("" : : "r"(room) : "memory");
}

TEST_F(Preemption, NeedsRoomOnTheStack) {
  const auto at_depth = [](std::uintptr_t left) {
    return answer_while([left](auto ready, const std::atomic<bool>& done) {
      const auto* const gp = sched::current_g();
      ready();
      deep(reinterpret_cast<std::uintptr_t>(gp->stack.low), left, done);
    });
  };
  EXPECT_EQ(at_depth(sched::preempt_need), preempt_state::no_room);
  EXPECT_EQ(at_depth(sched::preempt_need + 2 * arch::preemption_frame()), preempt_state::injected);
}

TEST_F(Preemption, NeedsASignalStackToBeDecidedOn) {
  EXPECT_EQ(answer_while([](auto ready, const std::atomic<bool>& done) {
              stack_t none{};
              none.ss_flags = SS_DISABLE;
              stack_t before{};
              sigaltstack(&none, &before);
              ready();
              spin_until(done);
              sigaltstack(&before, nullptr);
            }),
            preempt_state::no_room);
}

TEST_F(Preemption, IsNotDoneWhenNobodyAsked) {
  for (const bool plain : {false, true}) {
    // sysmon may ask meanwhile, on a busy machine: such a round does not count.
    for (;;) {
      const std::uint64_t asked = counted(preempt_state::asked);
      const std::uint64_t before = injected();
      std::atomic<int> tid{0};
      std::atomic<bool> done{false};
      const auto spin = [&] {
        tid = gettid();
        spin_until(done);
      };
      std::optional<std::thread> thread;
      std::optional<goroutine> spinning;
      if (plain) {
        thread.emplace(spin);
      } else {
        spinning.emplace(go(spin));
      }
      while (tid.load() == 0) std::this_thread::yield();
      for (int i = 0; i < 100; ++i) tgkill(getpid(), tid.load(), SIGURG);
      done = true;
      if (plain) {
        thread->join();
      } else {
        spinning->join();
      }
      if (counted(preempt_state::asked) != asked) continue;
      EXPECT_EQ(injected(), before);
      break;
    }
  }
}

TEST_F(Preemption, IsNotDoneInAForkedChild) {
  int status = -1;
  go([&] {
    lock_os_thread();
    const pid_t child = fork();
    if (child == 0) {
      machine* const m = sched::current_machine();
      m->preempt.store(preempt_state::asked);
      const std::uint64_t before = injected();
      const std::atomic<bool> over{true};
      for (int i = 0; i < 10; ++i) {
        raise(SIGURG);
        spin_until(over);
      }
      _exit(injected() == before && m->preempt.load() == preempt_state::asked ? 0 : 1);
    }
    foreign_call([&] { waitpid(child, &status, 0); });
    unlock_os_thread();
  }).join();
  EXPECT_EQ(status, 0);
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
    while (injected() < before + 10) std::this_thread::yield();
    done = true;
    EXPECT_THROW(one.join(), std::runtime_error);
  }
}

TEST_F(Preemption, IsSaidOfMarkedFunctionsAlone) {
  EXPECT_TRUE(is_preemptible(&spin_until));
  EXPECT_FALSE(is_preemptible(&spin_unmarked_until));
  EXPECT_FALSE(is_preemptible(nullptr));
  const auto marked = [](int n) SIGRUN_PREEMPTIBLE { return n + 1; };
  EXPECT_EQ(marked(1), 2);
}

}  // namespace
}  // namespace sigrun
