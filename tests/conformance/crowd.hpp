// SPDX-License-Identifier: Apache-2.0
//
// The same test by different kinds of callers: plain threads, goroutines on one, two and many
// processors, and both kinds together.
#pragma once

#include <sigrun/go.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sigrun::test {

enum class callers { threads, one_processor, two_processors, eight_processors, mixed };

inline std::string callers_name(const ::testing::TestParamInfo<callers>& info) {
  switch (info.param) {
    case callers::threads:
      return "Threads";
    case callers::one_processor:
      return "OneProcessor";
    case callers::two_processors:
      return "TwoProcessors";
    case callers::eight_processors:
      return "EightProcessors";
    case callers::mixed:
      break;
  }
  return "Mixed";
}

/// Callers that run at the same time. Joins them at its end.
class crowd {
 public:
  explicit crowd(callers kind) noexcept : kind_(kind) {}
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;
  ~crowd() { join(); }

  template <class F>
  void start(F f) {
    const bool thread = kind_ == callers::threads || (kind_ == callers::mixed && started_ % 2 == 0);
    ++started_;
    if (thread) {
      threads_.emplace_back(std::move(f));
    } else {
      goroutines_.push_back(go(std::move(f)));
    }
  }
  void join() {
    for (auto& one : threads_) foreign_call([&one] { one.join(); });
    for (auto& one : goroutines_) one.join();
    threads_.clear();
    goroutines_.clear();
  }

 private:
  callers kind_;
  int started_ = 0;
  std::vector<std::thread> threads_;
  std::vector<goroutine> goroutines_;
};

/// A test that hangs ends the program, and says so by its wait status. The seed is printed;
/// SIGRUN_SEED=n in the environment repeats it.
class Conformance : public ::testing::TestWithParam<callers> {
 protected:
  void SetUp() override {
    alarm(110);
    const char* const given = std::getenv("SIGRUN_SEED");
    seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "SIGRUN_SEED=" << seed << '\n';
    if (GetParam() == callers::one_processor) max_procs(1);
    if (GetParam() == callers::two_processors) max_procs(2);
    if (GetParam() == callers::mixed) max_procs(2);
    if (GetParam() == callers::eight_processors) max_procs(8);
  }
  void TearDown() override { alarm(0); }

  /// Runs `body` as one of the callers, so that it too is of the kind under test.
  template <class F>
  void as_caller(F body) const {
    crowd one(GetParam() == callers::mixed ? callers::two_processors : GetParam());
    one.start(std::move(body));
  }
  /// How often to repeat what `by_threads` times are enough for where every step is a system call.
  int many(int by_threads) const {
    const bool threads = GetParam() == callers::threads || GetParam() == callers::mixed;
    return threads ? by_threads : 10 * by_threads;
  }
  /// Numbers for the n-th caller.
  std::mt19937_64 random(std::uint64_t n) const { return std::mt19937_64(seed * 1000 + n); }

  std::uint64_t seed = 0;
};

inline const auto every_kind =
    ::testing::Values(callers::threads, callers::one_processor, callers::two_processors,
                      callers::eight_processors, callers::mixed);

}  // namespace sigrun::test
