// SPDX-License-Identifier: Apache-2.0
//
// bench_idle_memory COUNT: what a goroutine costs in memory that waits for a channel.
#include "memory.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>

#include <atomic>
#include <cstdlib>

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 0;
  if (count <= 0) {
    std::fprintf(stderr, "usage: %s COUNT\n", argv[0]);
    return 2;
  }
  return sigrun::run([count] {
    const sigrun::chan<int> never(0);
    std::atomic<long> arrived{0};
    const bench::memory before = bench::memory_now();
    const std::int64_t begin = bench::now();
    for (long i = 0; i < count; ++i) {
      sigrun::go([&] {
        ++arrived;
        never.recv();
      });
    }
    while (arrived != count) sigrun::yield();
    const std::int64_t took = bench::now() - begin;
    for (int i = 0; i < 1000; ++i) sigrun::yield();  // the last one has arrived, but not parked
    bench::report report;
    bench::report_memory(report, before, count, took);
    report.print();
    std::fflush(stdout);
    std::_Exit(0);  // a million parked goroutines are not worth ending one by one
    return 0;
  });
}
