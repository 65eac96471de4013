// SPDX-License-Identifier: Apache-2.0
//
// peer_fiber BENCH [N]: Boost.Fiber on one thread with its default scheduler (round robin), for the
// benches yield, spawn_join, chan, mutex, idle_memory and timer.
#include "../memory.hpp"
#include "../samples.hpp"

#include <boost/fiber/all.hpp>

#include <chrono>
#include <cstdlib>
#include <vector>

namespace {

namespace fibers = boost::fibers;
using status = fibers::channel_op_status;

// A hundred thousand parked fibers are not worth ending one by one.
[[noreturn]] void finish(const bench::report& report) {
  report.print();
  std::fflush(stdout);
  std::_Exit(0);
}

// Of `count` fibers that do nothing but yield, the first reads the clock. Switches are counted, so
// the result does not depend on whose turn it is.
std::vector<double> yields(int count) {
  constexpr int batches = 400;
  constexpr long per_batch = 5000;
  std::vector<double> v;
  long switches = 0;
  bool stop = false;
  std::vector<fibers::fiber> others;
  for (int i = 1; i < count; ++i) {
    others.emplace_back([&] {
      while (!stop) {
        ++switches;
        boost::this_fiber::yield();
      }
    });
  }
  for (int i = -40; i < batches; ++i) {
    const long first = switches;
    const std::int64_t begin = bench::now();
    while (switches - first < per_batch) {
      ++switches;
      boost::this_fiber::yield();
    }
    const auto took = static_cast<double>(bench::now() - begin);
    if (i >= 0) v.push_back(took / static_cast<double>(switches - first));
  }
  stop = true;
  for (auto& f : others) f.join();
  return v;
}

void yield_bench(bench::report& report) {
  report.samples("two", yields(2));
  report.samples("thousand", yields(1000));
}

void spawn_join(bench::report& report) {
  fibers::pooled_fixedsize_stack stacks;
  report.samples("one", bench::per_operation(300, 1000, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     fibers::fiber(std::allocator_arg, stacks, [] {}).join();
                   }
                 }));
  std::vector<fibers::fiber> all;
  report.samples("batch", bench::per_operation(200, 1000, [&](long n) {
                   all.clear();
                   for (long i = 0; i < n; ++i) all.emplace_back(std::allocator_arg, stacks, [] {});
                   for (auto& f : all) f.join();
                 }));
}

void chan(bench::report& report) {
  {
    fibers::unbuffered_channel<long> there;
    fibers::unbuffered_channel<long> back;
    fibers::fiber echo([&] {
      long value;
      while (there.pop(value) == status::success) back.push(value);
    });
    report.samples("round_trip", bench::per_operation(500, 1000, [&](long n) {
                     long value;
                     for (long i = 0; i < n; ++i) {
                       there.push(i);
                       back.pop(value);
                     }
                   }));
    there.close();
    echo.join();
  }
  fibers::buffered_channel<long> queue(128);
  fibers::fiber consumer([&] {
    long value;
    while (queue.pop(value) == status::success) {
    }
  });
  report.samples("buffered", bench::per_operation(500, 10'000, [&](long n) {
                   for (long i = 0; i < n; ++i) queue.push(i);
                 }));
  queue.close();
  consumer.join();
}

void mutex(bench::report& report) {
  fibers::mutex m;
  long guarded = 0;
  const auto lock_often = [&](long n) {
    for (long i = 0; i < n; ++i) {
      m.lock();
      ++guarded;
      m.unlock();
    }
  };
  report.samples("free", bench::per_operation(500, 10'000, lock_often));
  report.samples("contended", bench::per_operation(400, 16'000, [&](long n) {
                   std::vector<fibers::fiber> all;
                   for (int i = 0; i < 8; ++i) all.emplace_back([&] { lock_often(n / 8); });
                   for (auto& f : all) f.join();
                 }));
}

void idle_memory(bench::report& report, long count) {
  fibers::fixedsize_stack stacks(64 * 1024);
  fibers::promise<void> end;
  const auto ended = end.get_future().share();
  std::vector<fibers::fiber> all;
  all.reserve(static_cast<std::size_t>(count));
  const bench::memory before = bench::memory_now();
  const std::int64_t begin = bench::now();
  for (long i = 0; i < count; ++i) {
    all.emplace_back(fibers::launch::dispatch, std::allocator_arg, stacks, [&] { ended.wait(); });
  }
  bench::report_memory(report, before, count, bench::now() - begin);
  finish(report);
}

void timer(bench::report& report) {
  constexpr std::int64_t wait_ns = 100'000;
  std::vector<double> late;
  for (int i = -10; i < 500; ++i) {
    const std::int64_t begin = bench::now();
    boost::this_fiber::sleep_for(std::chrono::nanoseconds(wait_ns));
    const std::int64_t took = bench::now() - begin;
    if (i >= 0) late.push_back(static_cast<double>(took - wait_ns));
  }
  report.samples("late", late);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  bench::report report;
  if (what == "yield") {
    yield_bench(report);
  } else if (what == "spawn_join") {
    spawn_join(report);
  } else if (what == "chan") {
    chan(report);
  } else if (what == "mutex") {
    mutex(report);
  } else if (what == "idle_memory" && argc > 2) {
    idle_memory(report, std::atol(argv[2]));
  } else if (what == "timer") {
    timer(report);
  } else {
    std::fprintf(stderr, "usage: %s yield|spawn_join|chan|mutex|idle_memory COUNT|timer\n",
                 argv[0]);
    return 2;
  }
  finish(report);
}
