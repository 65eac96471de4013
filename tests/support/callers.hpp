// SPDX-License-Identifier: Apache-2.0
//
// The same test over plain threads, over goroutines, and over both together.
#pragma once

#include <sigrun/go.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sigrun::test {

enum class caller_kind { threads, goroutines, mixed };

inline std::string caller_name(const ::testing::TestParamInfo<caller_kind>& info) {
  switch (info.param) {
    case caller_kind::threads:
      return "threads";
    case caller_kind::goroutines:
      return "goroutines";
    case caller_kind::mixed:
      break;
  }
  return "mixed";
}

/// Functions that run concurrently and are joined at the end of a scope.
class callers {
 public:
  explicit callers(caller_kind kind) : kind_(kind) {}
  template <class F>
  void start(F f) {
    const bool thread =
        kind_ == caller_kind::threads || (kind_ == caller_kind::mixed && started_ % 2 == 1);
    ++started_;
    if (thread) {
      threads_.emplace_back(std::move(f));
    } else {
      goroutines_.push_back(go(std::move(f)));
    }
  }
  void join() {
    for (auto& goroutine : std::exchange(goroutines_, {})) goroutine.join();
    for (auto& thread : std::exchange(threads_, {})) thread.join();
  }
  ~callers() { join(); }
  callers(const callers&) = delete;
  callers& operator=(const callers&) = delete;

 private:
  caller_kind kind_;
  int started_ = 0;
  std::vector<std::thread> threads_;
  std::vector<goroutine> goroutines_;
};

/// Yields until `ready()`, from a goroutine or a thread.
template <class F>
void yield_until(F ready) {
  while (!ready()) yield();
}

/// SIGRUN_SEED replays a run; the seed is printed by every test that uses it.
inline std::uint64_t seed() {
  const char* const given = std::getenv("SIGRUN_SEED");
  const std::uint64_t value =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::uint64_t{std::random_device{}()};
  std::cout << "SIGRUN_SEED=" << value << "\n";
  return value;
}

}  // namespace sigrun::test
