// SPDX-License-Identifier: Apache-2.0
//
// The signal stack of a thread that the runtime made: sized from what this CPU's frame needs, with
// a guard page below, taken away again; and one that was there before is left alone.
#include "sigsafe/signal_stack.hpp"

#include <gtest/gtest.h>

#include <sys/auxv.h>
#include <sys/mman.h>
#include <csignal>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace sigrun::sigsafe {
namespace {

std::string permissions_at(std::uint64_t address) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    std::istringstream fields(line);
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    char dash = 0;
    std::string permissions;
    fields >> std::hex >> low >> dash >> high >> permissions;
    if (address >= low && address < high) return permissions;
  }
  return "unmapped";
}

void on_a_fresh_thread(void (*body)()) { std::thread(body).join(); }

void drop_present_stack() {
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
}

TEST(signal_stack_test, holds_the_kernels_frame_and_is_guarded_from_below) {
  on_a_fresh_thread([] {
    drop_present_stack();
    thread_block self;
    ASSERT_EQ(make_signal_stack(self), 0);
    EXPECT_GE(self.stack_size, getauxval(AT_MINSIGSTKSZ) + 16 * 1024);
    const auto low = reinterpret_cast<std::uint64_t>(self.stack_low);
    EXPECT_EQ(permissions_at(low - 1).substr(0, 3), "---");
    EXPECT_EQ(permissions_at(low).substr(0, 2), "rw");
    stack_t now{};
    sigaltstack(nullptr, &now);
    EXPECT_EQ(now.ss_sp, self.stack_low);
    free_signal_stack(self);
  });
}

TEST(signal_stack_test, is_disabled_before_it_is_unmapped) {
  on_a_fresh_thread([] {
    drop_present_stack();
    thread_block self;
    ASSERT_EQ(make_signal_stack(self), 0);
    const auto low = reinterpret_cast<std::uint64_t>(self.stack_low);
    free_signal_stack(self);
    stack_t now{};
    sigaltstack(nullptr, &now);
    EXPECT_EQ(now.ss_flags, SS_DISABLE);
    EXPECT_EQ(self.stack_low, nullptr);
    EXPECT_NE(permissions_at(low - 1).substr(0, 3), "---");  // the guard page went with it
  });
}

TEST(signal_stack_test, leaves_a_stack_alone_that_was_there_before) {
  on_a_fresh_thread([] {
    std::vector<unsigned char> theirs(64 * 1024);
    stack_t before{};
    before.ss_sp = theirs.data();
    before.ss_size = theirs.size();
    ASSERT_EQ(sigaltstack(&before, nullptr), 0);
    thread_block self;
    ASSERT_EQ(make_signal_stack(self), 0);
    EXPECT_EQ(self.stack_low, nullptr);
    stack_t now{};
    sigaltstack(nullptr, &now);
    EXPECT_EQ(now.ss_sp, theirs.data());
    drop_present_stack();
  });
}

}  // namespace
}  // namespace sigrun::sigsafe
