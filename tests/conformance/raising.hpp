// SPDX-License-Identifier: Apache-2.0
//
// What the tests of raised signals share.
#pragma once

#include <sigrun/go.hpp>
#include <sigrun/raise.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace sigrun::test {

struct stopped : std::runtime_error {
  stopped() : std::runtime_error("stopped") {}
};

/// What the list of goroutines says of one; empty when it has ended.
inline std::optional<goroutine_info> info_of(std::uint64_t id) {
  for (goroutine_info& info : goroutines()) {
    if (info.id == id) return std::move(info);
  }
  return std::nullopt;
}

/// Waits, on whatever the caller is, until the goroutine is in that state.
inline void until_state(std::uint64_t id, const std::string& state) {
  for (;;) {
    const auto info = info_of(id);
    if (info && info->state == state) return;
    std::this_thread::yield();
    yield();
  }
}

inline void until(const std::function<bool()>& done) {
  while (!done()) {
    std::this_thread::yield();
    yield();
  }
}

inline void books_balance(const raise_stats& s) {
  EXPECT_EQ(s.raised, s.handled + s.merged + s.dropped + s.dropped_by_exit + s.waiting);
}

class Raise : public ::testing::Test {
 protected:
  void SetUp() override {
    alarm(110);
    max_procs(2);
  }
  void TearDown() override {
    books_balance(raised_stats());
    alarm(0);
  }
};

}  // namespace sigrun::test
