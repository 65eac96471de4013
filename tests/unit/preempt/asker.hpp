// SPDX-License-Identifier: Apache-2.0
//
// Requests made by hand, as sysmon makes them, so that there are many and at the moments that
// matter.
#pragma once

#include <sigrun/go.hpp>
#include <sigrun/preempt.hpp>

#include "fiber/sanitizer.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace sigrun::test {

using sched::machine;
using sched::preempt_state;

inline std::uint64_t counted(preempt_state what) {
  return sched::the_scheduler().preempt_counts[static_cast<std::size_t>(what)].load();
}
inline std::uint64_t injected() { return counted(preempt_state::injected); }

inline bool books_balance() {
  std::uint64_t answers = 0;
  for (const auto what :
       {preempt_state::injected, preempt_state::outside, preempt_state::no_room,
        preempt_state::in_runtime, preempt_state::yielded, preempt_state::unanswered}) {
    answers += counted(what);
  }
  return answers == counted(preempt_state::asked);
}

inline std::vector<machine*> machines() {
  sched::scheduler& s = sched::the_scheduler();
  const std::lock_guard hold(s.lock);
  std::vector<machine*> all;
  for (machine* m = s.all_ms; m != nullptr; m = m->next) {
    if (m->tid != 0) all.push_back(m);
  }
  return all;
}

/// Between two looks at something. On a busy machine sched_yield(2) would wait for everybody's
/// turn.
inline void wait_a_moment() {
  using namespace std::chrono_literals;
  std::this_thread::sleep_for(20us);  // tidy: allow sleep, the condition is looked at again
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
      wait_a_moment();
    }
  }
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// In every build one instruction of the caller's own: at -O0 std::atomic's members are calls.
[[gnu::always_inline]] inline bool read(const std::atomic<bool>& flag) {
  return __atomic_load_n(reinterpret_cast<const bool*>(&flag), __ATOMIC_RELAXED);
}

// Waits for `done`, in marked code that holds nothing. (g++ refuses the mark on inline functions.)
[[maybe_unused]] SIGRUN_PREEMPTIBLE static void spin_until(const std::atomic<bool>& done) {
  while (!read(done)) {
  }
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
    while (!books_balance()) wait_a_moment();
    alarm(0);
  }
};

}  // namespace sigrun::test
