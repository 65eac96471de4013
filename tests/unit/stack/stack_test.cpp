// SPDX-License-Identifier: Apache-2.0
//
// Goal: stacks cost what the header says (address space, memory, mappings), are guarded on every
// kernel, are given back, and run out by a value and not by a crash.

#include "stack/stack.hpp"
#include "support/child_process.hpp"
#include "support/proc_self.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <csignal>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TOOL_WATCHES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TOOL_WATCHES 1
#endif
#endif

namespace sigrun::stack {
namespace {

constexpr std::size_t page = 4096;

long mappings() {
  const std::string text = test::read_file("/proc/self/maps");
  return std::count(text.begin(), text.end(), '\n');
}

/// A number of /proc/self/status, in its unit.
long status(const std::string& name) {
  std::istringstream lines(test::read_file("/proc/self/status"));
  std::string line;
  while (std::getline(lines, line)) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) {
      return std::stol(line.substr(name.size() + 1));
    }
  }
  return -1;
}

bool a_tool_maps_too() {
#ifdef TOOL_WATCHES
  return true;
#else
  return false;
#endif
}

TEST(Stack, IsUsableFromItsTopDownToItsGuard) {
  const stack_span span = allocate();
  ASSERT_NE(span.low, nullptr);
  EXPECT_EQ(span.size(), default_reserve - page);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(span.top) % 64, 0u);
  std::memset(span.low, 1, span.size());
  release(span);
}

TEST(Stack, ReservesThePowerOfTwoThatHoldsTheWish) {
  const std::vector<std::pair<std::size_t, std::size_t>> wishes = {{1, 16 * 1024},
                                                                   {16 * 1024, 16 * 1024},
                                                                   {16 * 1024 + 1, 32 * 1024},
                                                                   {100'000, 128 * 1024},
                                                                   {8 << 20, 8 << 20},
                                                                   {(64 << 20) + 1, 128 << 20},
                                                                   {max_reserve, max_reserve}};
  for (const auto& [wish, reserved] : wishes) {
    const stack_span span = allocate(wish);
    ASSERT_NE(span.low, nullptr) << wish;
    EXPECT_EQ(span.size(), reserved - page) << wish;
    *span.low = std::byte{1};
    span.top[-1] = std::byte{1};
    release(span);
  }
}

TEST(Stack, LargerThanTheLargestIsRefused) {
  EXPECT_EQ(allocate(max_reserve + 1).low, nullptr);
  EXPECT_EQ(allocate(SIZE_MAX).low, nullptr);
}

TEST(Stack, AnAddressSaysToWhichStackItBelongs) {
  const stack_span one = allocate();
  const stack_span two = allocate(1 << 20);
  for (const stack_span& span : {one, two}) {
    for (const std::byte* at : {span.low, span.low + span.size() / 2, span.top - 1}) {
      const location found = find(at);
      EXPECT_EQ(found.where, place::stack);
      EXPECT_EQ(found.span.low, span.low);
      EXPECT_EQ(found.span.top, span.top);
      EXPECT_EQ(found.span.id, span.id);
    }
    for (const std::byte* at : {span.low - 1, span.low - page}) {
      const location found = find(at);
      EXPECT_EQ(found.where, place::guard);
      EXPECT_EQ(found.span.low, span.low);
    }
  }
  const int local = 0;
  EXPECT_EQ(find(&local).where, place::elsewhere);
  EXPECT_EQ(find(nullptr).where, place::elsewhere);
  EXPECT_EQ(find(reinterpret_cast<void*>(&mappings)).where, place::elsewhere);
  release(two);
  release(one);
}

TEST(Stack, WhatIsReleasedIsHandedOutAgain) {
  const stack_span first = allocate(32 * 1024);
  release(first);
  const statistics before = read_statistics();
  const stack_span second = allocate(32 * 1024);
  EXPECT_EQ(second.low, first.low);
  EXPECT_EQ(read_statistics().carved, before.carved);
  release(second);
}

TEST(Stack, HighWaterIsTheDeepestPageTouchedSinceMemoryWasGivenBack) {
  const stack_span span = allocate(512 * 1024);
  discard_below(span, span.top);
  EXPECT_EQ(high_water(span), 0u);
  span.top[-1] = std::byte{1};
  EXPECT_EQ(high_water(span), page);
  span.top[-300'000] = std::byte{1};
  EXPECT_EQ(high_water(span), (300'000 / page + 1) * page);
  *span.low = std::byte{1};
  EXPECT_EQ(high_water(span), span.size());
  discard_below(span, span.top - 2 * page + 1);
  EXPECT_EQ(high_water(span), page) << "the page of the address stays, what is below it goes";
  EXPECT_EQ(span.top[-1], std::byte{1});
  release(span);
}

TEST(Stack, AFewReleasedOnesKeepTheirMemoryAndTheRestGiveItBack) {
  constexpr std::size_t count = warm_max + 100;
  constexpr std::size_t reserve = 2 << 20;  // a size that no other test uses
  std::vector<stack_span> all;
  const statistics before = read_statistics();
  for (std::size_t i = 0; i < count; i++) {
    all.push_back(allocate(reserve));
    all.back().top[-1] = std::byte{1};
  }
  EXPECT_EQ(read_statistics().in_use, before.in_use + count);
  for (const stack_span& span : all) release(span);
  const statistics after = read_statistics();
  EXPECT_EQ(after.in_use, before.in_use);
  EXPECT_EQ(after.warm, before.warm + warm_max);
  EXPECT_EQ(after.cold, before.cold + 100);
  const auto touched = std::count_if(all.begin(), all.end(),
                                     [](const stack_span& span) { return high_water(span) != 0; });
  EXPECT_EQ(static_cast<std::size_t>(touched), warm_max);
}

TEST(Stack, ThreadsNeverGetTheSameOneAtATime) {
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int t = 1; t <= 4; t++) {
    threads.emplace_back([t, &shared] {
      std::vector<stack_span> mine;
      for (int round = 0; round < 2000; round++) {
        mine.push_back(allocate(64 * 1024));
        std::memcpy(mine.back().top - sizeof t, &t, sizeof t);
        if (round % 5 != 4) continue;
        for (const stack_span& span : mine) {
          int owner = 0;
          std::memcpy(&owner, span.top - sizeof owner, sizeof owner);
          if (owner != t) shared++;
          release(span);
        }
        mine.clear();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, 0);
}

// ---- in processes of their own: they fault, run out, or count what they have

// A size that no test of this process allocates, so that a child's stacks are carved anew.
constexpr std::size_t fresh_reserve = 16 << 20;

test::child_result faults_at(guard_kind kind, std::ptrdiff_t below_low) {
  return test::run_child([=] {
    guard_by(kind, 10);
    const stack_span span = allocate(fresh_reserve);
    if (span.guard != kind) return kind == guard_kind::installed ? 77 : 3;
    *span.low = std::byte{1};  // the lowest byte is the stack's
    struct sigaction action {};
    static const std::byte* expected;
    expected = span.low - below_low;
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
      const bool at_it = info->si_addr == expected && info->si_code > 0 &&
                         find(info->si_addr).where == place::guard;
      _exit(at_it ? 0 : 4);
    };
    sigaction(SIGSEGV, &action, nullptr);
    *const_cast<std::byte*>(expected) = std::byte{1};
    return 5;
  });
}

TEST(StackGuard, FaultsRightBelowTheStackAndAPageFurther) {
  for (const guard_kind kind : {guard_kind::installed, guard_kind::mapped}) {
    for (const std::ptrdiff_t below : {std::ptrdiff_t{1}, std::ptrdiff_t{page}}) {
      const test::child_result result = faults_at(kind, below);
      if (result.exited_with(77)) continue;  // a kernel before 6.13, an emulator
      EXPECT_TRUE(result.exited_with(0)) << int(kind) << " " << below << result.describe();
    }
  }
}

TEST(StackGuard, SurvivesThatItsStackIsReusedAndEmptied) {
  const test::child_result result = test::run_child([] {
    std::vector<stack_span> all;
    for (std::size_t i = 0; i < warm_max + 1; i++) all.push_back(allocate());
    for (const stack_span& span : all) release(span);
    const stack_span cold = all.back();
    struct sigaction action {};
    action.sa_handler = [](int) { _exit(0); };
    sigaction(SIGSEGV, &action, nullptr);
    cold.low[-1] = std::byte{1};
    return 1;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackGuard, WithoutInstalledGuardsABoundedNumberIsMapped) {
  const test::child_result result = test::run_child([] {
    guard_by(guard_kind::mapped, 100);
    const long before = mappings();
    const statistics first = read_statistics();
    std::vector<stack_span> all;
    for (int i = 0; i < 300; i++) {
      all.push_back(allocate(fresh_reserve));
      if (all.back().low == nullptr) return 2;
      all.back().top[-1] = std::byte{1};
    }
    const statistics now = read_statistics();
    if (now.guards_installed != first.guards_installed) return 3;
    if (now.guards_mapped != first.guards_mapped + 100) return 3;
    if (now.tripwires != first.tripwires + 200) return 3;
    if (all[99].guard != guard_kind::mapped || all[100].guard != guard_kind::tripwire) return 4;
    // A mapped guard is handed out with its stack again, and costs nothing anew.
    for (const stack_span& span : all) release(span);
    for (int i = 0; i < 300; i++) allocate(fresh_reserve);
    if (read_statistics().guards_mapped != now.guards_mapped) return 5;
    if (a_tool_maps_too()) return 0;  // the sanitizer maps for itself
    return mappings() <= before + 2 * 100 + 8 ? 0 : 6;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackGuard, MappedOnesLeaveHalfOfTheSystemsMappingsToTheProgram) {
  if (a_tool_maps_too()) GTEST_SKIP() << "the sanitizer maps for itself";
  const long limit = std::stol(test::read_file("/proc/sys/vm/max_map_count"));
  if (limit > 200'000) GTEST_SKIP() << "would take too long with " << limit << " mappings";
  const test::child_result result = test::run_child([limit] {
    guard_by(guard_kind::mapped, -1);
    const statistics first = read_statistics();
    const std::size_t count = static_cast<std::size_t>(limit) / 2;
    for (std::size_t i = 0; i < count; i++) {
      if (allocate(fresh_reserve).low == nullptr) return 2;
    }
    const statistics now = read_statistics();
    const std::size_t mapped = now.guards_mapped - first.guards_mapped;
    if (mapped != static_cast<std::size_t>(limit) / 4) return 3;
    if (now.tripwires - first.tripwires != count - mapped) return 4;
    return mappings() < limit / 2 + 200 ? 0 : 5;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackGuard, ATouchedTripwireEndsTheProcessAtRelease) {
  const test::child_result result = test::run_child([] {
    guard_by(guard_kind::tripwire, 0);
    const stack_span good = allocate(fresh_reserve);
    *good.low = std::byte{1};
    release(good);
    test::announce_ready();
    const stack_span bad = allocate(fresh_reserve);
    bad.low[-1] = std::byte{1};
    release(bad);
    return 0;
  });
  EXPECT_TRUE(result.killed_by(SIGABRT)) << result.describe();
  EXPECT_NE(result.err.find("a stack without a guard page has overflowed"), std::string::npos);
}

TEST(StackMemory, AHundredThousandCostAPageEachAndNoMappings) {
  if (a_tool_maps_too()) GTEST_SKIP() << "the sanitizer's shadow counts too";
  const test::child_result result = test::run_child([] {
    constexpr long count = 100'000;
    std::vector<stack_span> all(count);
    const stack_span probe = allocate();
    if (probe.guard != guard_kind::installed) return 77;
    const long maps = mappings();
    const long resident = status("VmRSS");
    const long tables = status("VmPTE");
    for (stack_span& span : all) {
      span = allocate();
      if (span.low == nullptr) return 2;
      span.top[-1] = std::byte{1};
    }
    const long bytes_each = (status("VmRSS") - resident + status("VmPTE") - tables) * 1024 / count;
    std::printf("%ld bytes each, %ld mappings more\n", bytes_each, mappings() - maps);
    if (mappings() > maps + 2) return 3;
    if (bytes_each > 4400) return 4;
    std::set<const std::byte*> tops;
    for (const stack_span& span : all) tops.insert(span.top);
    if (tops.size() != all.size()) return 5;
    for (const stack_span& span : all) release(span);
    return status("VmRSS") < resident + 16 * 1024 ? 0 : 6;
  });
  if (result.exited_with(77)) GTEST_SKIP() << "this kernel has no MADV_GUARD_INSTALL";
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StackMemory, OutOfAddressSpaceIsAValueAndHealsWithARelease) {
  if (a_tool_maps_too()) GTEST_SKIP() << "the sanitizer needs the address space";
  const test::child_result result = test::run_child([] {
    const rlim_t now = static_cast<rlim_t>(status("VmSize")) * 1024;
    const rlimit limit{now + (100 << 20), now + (100 << 20)};
    setrlimit(RLIMIT_AS, &limit);
    std::vector<stack_span> all;
    all.reserve(4096);
    for (;;) {
      const stack_span span = allocate();
      if (span.low == nullptr) break;
      span.top[-1] = std::byte{1};
      all.push_back(span);
      if (all.size() == 4096) return 2;
    }
    // 64 MiB, then halves of it: nearly all of the 100 MiB can be used.
    if (all.size() < (95u << 20) / default_reserve) return 3;
    if (allocate(32 << 20).low != nullptr) return 4;
    release(all.back());
    return allocate().low == all.back().low ? 0 : 5;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

}  // namespace
}  // namespace sigrun::stack
