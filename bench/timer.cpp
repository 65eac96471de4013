// SPDX-License-Identifier: Apache-2.0
//
// bench_timer: how late a sleep of 100 µs ends, and what starting and stopping a timer costs; one
// P. bench_timer preempt: how late a sleep of 5 ms ends while another goroutine computes;
// bench_timer preemptible: while it does so in a function marked SIGRUN_PREEMPTIBLE.
#include "samples.hpp"

#include <sigrun/go.hpp>
#include <sigrun/preempt.hpp>
#include <sigrun/time.hpp>

#include <chrono>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;

std::vector<double> overshoot(int count, std::chrono::nanoseconds wait) {
  std::vector<double> late;
  for (int i = -5; i < count; ++i) {
    const std::int64_t begin = bench::now();
    sigrun::sleep_for(wait);
    const std::int64_t took = bench::now() - begin;
    if (i >= 0) late.push_back(static_cast<double>(took - wait.count()));
  }
  return late;
}

void nothing() {}

std::vector<double> pairs() {
  return bench::per_operation(400, 1000, [](long n) {
    for (long i = 0; i < n; ++i) sigrun::after_func(1h, nothing).stop();
  });
}

// A new timer each time, alone and with a million others pending; one timer again and again; and
// all of the million.
void start_and_stop(bench::report& report) {
  report.samples("pair", pairs());
  auto one = sigrun::after_func(1h, nothing);
  report.samples("reset", bench::per_operation(400, 1000, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     one.stop();
                     one.reset(1h);
                   }
                 }));
  constexpr int million = 1'000'000;
  const auto wait = [](int i) { return 1h + (i % 1000) * 1ms; };
  std::vector<sigrun::timer> all;
  all.reserve(million);
  for (int i = 0; i < million; ++i) all.push_back(sigrun::after_func(wait(i), nothing));
  report.samples("pending", pairs());
  const std::int64_t begin = bench::now();
  for (auto& t : all) t.stop();
  for (int i = 0; i < million; ++i) all[static_cast<std::size_t>(i)].reset(wait(i));
  report.value("million_ns", static_cast<double>(bench::now() - begin) / million);
}

[[noreturn]] void spin() {
  for (std::uint64_t x = 1;; x = x * 6364136223846793005U + 1) asm volatile("" : : "r"(x));
}

[[noreturn]] SIGRUN_PREEMPTIBLE void spin_preemptible() {
  for (std::uint64_t x = 1;; x = x * 6364136223846793005U + 1) asm volatile("" : : "r"(x));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  sigrun::max_procs(1);
  return sigrun::run([what] {
    bench::report report;
    if (!what.empty()) {
      sigrun::go(what == "preemptible" ? &spin_preemptible : &spin);
      report.samples("late", overshoot(25, 5ms));
    } else {
      report.samples("late", overshoot(500, 100us));
      start_and_stop(report);
    }
    report.print();
  });
}
