// SPDX-License-Identifier: Apache-2.0
//
// bench_sched BENCH PROCS: yield, spawn_join, chan and foreign_call through the public API, as
// peers/go_sched and peers/fiber.cpp have them.
#include "samples.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>

#include <atomic>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

// Of `count` goroutines that do nothing but yield, the first reads the clock. Switches are counted,
// so the result does not depend on whose turn it is. On one P only: the counter is not exclusive.
std::vector<double> yields(int count) {
  constexpr int batches = 400;
  constexpr long per_batch = 5000;
  static std::atomic<long> switches;
  static std::atomic<bool> stop;
  switches = 0;
  stop = false;
  const auto yield_once = [] {
    switches.store(switches.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    sigrun::yield();
  };
  std::vector<sigrun::goroutine> others;
  for (int i = 1; i < count; ++i) {
    others.push_back(sigrun::go([yield_once] {
      while (!stop.load(std::memory_order_relaxed)) yield_once();
    }));
  }
  std::vector<double> v;
  for (int i = -40; i < batches; ++i) {
    const long first = switches;
    const std::int64_t begin = bench::now();
    while (switches.load(std::memory_order_relaxed) - first < per_batch) yield_once();
    const auto took = static_cast<double>(bench::now() - begin);
    if (i >= 0) v.push_back(took / static_cast<double>(switches - first));
  }
  stop = true;
  for (auto& g : others) g.join();
  return v;
}

void yield(bench::report& report) {
  report.samples("two", yields(2));
  report.samples("thousand", yields(1000));
}

void spawn_join(bench::report& report) {
  report.samples("one", bench::per_operation(300, 1000, [](long n) {
                   for (long i = 0; i < n; ++i) sigrun::go([] {}).join();
                 }));
  std::vector<sigrun::goroutine> all;
  report.samples("batch", bench::per_operation(200, 1000, [&all](long n) {
                   all.clear();
                   for (long i = 0; i < n; ++i) all.push_back(sigrun::go([] {}));
                   for (auto& g : all) g.join();
                 }));
}

void chan(bench::report& report) {
  {
    const sigrun::chan<long> there(0);
    const sigrun::chan<long> back(0);
    auto echo = sigrun::go([there, back] {
      for (const long value : there) back.send(value);
    });
    report.samples("round_trip", bench::per_operation(500, 1000, [&](long n) {
                     for (long i = 0; i < n; ++i) {
                       there.send(i);
                       if (!back.recv()) std::abort();
                     }
                   }));
    there.close();
    echo.join();
  }
  const sigrun::chan<long> queue(128);
  auto consumer = sigrun::go([queue] {
    while (queue.recv()) {
    }
  });
  report.samples("buffered", bench::per_operation(500, 10'000, [&](long n) {
                   for (long i = 0; i < n; ++i) queue.send(i);
                 }));
  queue.close();
  consumer.join();
}

void foreign_call(bench::report& report) {
  report.samples("call", bench::per_operation(500, 10'000, [](long n) {
                   for (long i = 0; i < n; ++i) sigrun::foreign_call([] { asm volatile(""); });
                 }));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 2 ? argv[1] : "";
  bench::report report;
  return sigrun::run([&] {
    if (argc > 2) sigrun::max_procs(std::atoi(argv[2]));
    if (what == "yield") {
      yield(report);
    } else if (what == "spawn_join") {
      spawn_join(report);
    } else if (what == "chan") {
      chan(report);
    } else if (what == "foreign_call") {
      foreign_call(report);
    } else {
      std::fprintf(stderr, "usage: %s yield|spawn_join|chan|foreign_call PROCS\n", argv[0]);
      return 2;
    }
    report.print();
    return 0;
  });
}
