// SPDX-License-Identifier: Apache-2.0
//
// The scheduler driven by hand, for tests: the calling thread is the only M, there is one P and no
// sysmon, time is a virtual clock, and the next goroutine is drawn from the run queue by a seed.
// The same seed gives the same run, goroutine by goroutine.
//
//   stepper s(seed);
//   go(...);                 // between steps the test is a plain thread that never blocks
//   while (s.step()) {
//   }
//   s.advance(1'000'000);    // timers fire
#pragma once

#include "sched/machine.hpp"

#include <cstdint>

namespace sigrun::sched {

class stepper {
 public:
  /// The scheduler must not have been started. The virtual clock begins at one second,
  /// or where the last stepper's ended.
  explicit stepper(std::uint64_t seed) noexcept;
  stepper(const stepper&) = delete;
  stepper& operator=(const stepper&) = delete;
  /// Goroutines that have not ended stay where they are for ever; start() may be called then.
  ~stepper();

  /// Runs one goroutine until it parks, yields or ends; false when none is runnable.
  bool step() noexcept;
  /// Steps until none is runnable; how many there were. Ends the test after `most`.
  int run(int most = 1'000'000) noexcept;
  /// Moves the clock on by `ns` and fires what is due, without running goroutines.
  void advance(std::int64_t ns) noexcept;
  /// Runs, and moves the clock to the next deadline when nobody can run, until there is neither.
  /// Returns how much time has passed.
  std::int64_t run_through(int most = 1'000'000) noexcept;
  /// The next deadline; sys::never without one.
  std::int64_t next_deadline() const noexcept;

 private:
  std::uint32_t draw(std::uint32_t below) noexcept;
  machine m_;
  std::uint64_t random_;
};

}  // namespace sigrun::sched
