// SPDX-License-Identifier: Apache-2.0
//
// A process that ends by exit() while goroutines talk: whatever runs then, static destructors among
// it, the scheduler and its netpoller stay whole.
#include "support/child_process.hpp"

#include <sigrun/go.hpp>
#include <sigrun/net.hpp>

#include <gtest/gtest.h>

#include <sched.h>

#include <atomic>
#include <cstdlib>

namespace {

std::atomic<int> rounds{0};
bool linger = false;

// Runs after all static destructors of this program.
[[gnu::destructor]] void look_on() {
  if (!linger) return;
  const int enough = rounds.load() + 2000;
  while (rounds.load() < enough) ::sched_yield();
}

// What the test does in a process of its own.
[[noreturn]] void end_amid_traffic() {
  for (int i = 0; i < 4; ++i) {
    auto [here, there] = sigrun::net::unix_stream::pair();
    sigrun::go([there = std::move(there)]() mutable {
      char byte[1];
      while (there.read(byte) == 1) there.write_all(std::string_view(byte, 1));
    });
    sigrun::go([here = std::move(here)]() mutable {
      char byte[1] = {'x'};
      for (;;) {
        here.write_all(std::string_view(byte, 1));
        here.read_full(byte);
        ++rounds;
      }
    });
  }
  while (rounds.load() < 100) ::sched_yield();
  linger = true;
  std::exit(7);
}

TEST(ExitProcess, goroutines_talk_until_it_is_over) {
  if (std::getenv("SIGRUN_TEST_EXIT") != nullptr) end_amid_traffic();
  sigrun::test::child_options options;
  options.environment = {"SIGRUN_TEST_EXIT=1"};
  const auto result = sigrun::test::run_child(
      {sigrun::test::self_path(), "--gtest_filter=ExitProcess.goroutines_talk_until_it_is_over"},
      options);
  EXPECT_TRUE(result.exited_with(7)) << result.describe();
}

}  // namespace
