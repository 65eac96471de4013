// SPDX-License-Identifier: Apache-2.0
//
// The least that some benches can cost: peer_floor sleep (a thread that sleeps 100 µs), stacks
// COUNT (reserved stacks of 64 KiB with a guard page, of which one page is touched) or calls (what
// a foreign call cannot do without: one compare-and-swap to leave its P and one to take it back).
#include "../memory.hpp"
#include "../samples.hpp"

#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cstdlib>

namespace {

void sleep(bench::report& report) {
  constexpr std::int64_t wait_ns = 100'000;
  const timespec wait{0, wait_ns};
  std::vector<double> late;
  for (int i = -10; i < 500; ++i) {
    const std::int64_t begin = bench::now();
    clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, nullptr);
    const std::int64_t took = bench::now() - begin;
    if (i >= 0) late.push_back(static_cast<double>(took - wait_ns));
  }
  report.samples("late", late);
}

void stacks(bench::report& report, long count) {
  constexpr std::size_t bytes = 64 * 1024;
  constexpr std::size_t page = 4096;
  constexpr int install_guard = 102;  // MADV_GUARD_INSTALL; without it in the kernel, no guard
  const bench::memory before = bench::memory_now();
  const std::int64_t begin = bench::now();
  void* low = mmap(nullptr, bytes * static_cast<std::size_t>(count), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (low == MAP_FAILED) std::exit(2);
  madvise(low, bytes * static_cast<std::size_t>(count), MADV_NOHUGEPAGE);
  auto* stack = static_cast<char*>(low);
  for (long i = 0; i < count; ++i, stack += bytes) {
    madvise(stack, page, install_guard);
    stack[bytes - sizeof(long)] = 1;
  }
  bench::report_memory(report, before, count, bench::now() - begin);
}

void calls(bench::report& report) {
  std::atomic<int> owner{1};
  report.samples("call", bench::per_operation(500, 10'000, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     int expected = 1;
                     owner.compare_exchange_strong(expected, 0);
                     expected = 0;
                     owner.compare_exchange_strong(expected, 1);
                   }
                 }));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  bench::report report;
  if (what == "sleep") {
    sleep(report);
  } else if (what == "stacks" && argc > 2) {
    stacks(report, std::atol(argv[2]));
  } else if (what == "calls") {
    calls(report);
  } else {
    std::fprintf(stderr, "usage: %s sleep|stacks COUNT|calls\n", argv[0]);
    return 2;
  }
  report.print();
}
