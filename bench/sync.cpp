// SPDX-License-Identifier: Apache-2.0
//
// bench_sync BENCH PROCS: select4, mutex and reload through the public API, as peers/go_sched has
// them.
#include "samples.hpp"

#include <sigrun/atomic_value.hpp>
#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/select.hpp>
#include <sigrun/sync.hpp>

#include <atomic>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

void ready_select(bench::report& report) {
  const sigrun::chan<long> a(0);
  const sigrun::chan<long> b(0);
  const sigrun::chan<long> c(0);
  const sigrun::chan<long> d(1);
  std::optional<long> value;
  report.samples("ready", bench::per_operation(400, 5000, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     d.send(i);
                     sigrun::select(sigrun::recv_case(a, value), sigrun::recv_case(b, value),
                                    sigrun::recv_case(c, value), sigrun::recv_case(d, value));
                   }
                 }));
}

void blocking_select(bench::report& report) {
  const sigrun::chan<long> four[4] = {sigrun::chan<long>(0), sigrun::chan<long>(0),
                                      sigrun::chan<long>(0), sigrun::chan<long>(0)};
  const sigrun::chan<long> back(0);
  auto server = sigrun::go([a = four[0], b = four[1], c = four[2], d = four[3], back] {
    std::optional<long> value;
    for (;;) {
      sigrun::select(sigrun::recv_case(a, value), sigrun::recv_case(b, value),
                     sigrun::recv_case(c, value), sigrun::recv_case(d, value));
      if (!value) return;
      back.send(*value);
    }
  });
  report.samples("blocking", bench::per_operation(500, 1000, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     four[i & 3].send(i);
                     if (!back.recv()) std::abort();
                   }
                 }));
  four[0].close();
  server.join();
}

void mutex(bench::report& report) {
  sigrun::mutex m;
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
                   std::vector<sigrun::goroutine> all;
                   for (int i = 0; i < 8; ++i) {
                     all.push_back(sigrun::go([&, n] { lock_often(n / 8); }));
                   }
                   for (auto& g : all) g.join();
                 }));
}

// What a reader of a configuration pays: alone, and as many at once as there are
// processors.
void reload(bench::report& report) {
  struct config {
    long a;
    long b;
  };
  sigrun::atomic_value<config> current(config{1, 2});
  std::atomic<long> kept{0};
  const auto read_often = [&](long n) {
    long sum = 0;
    for (long i = 0; i < n; ++i) {
      const auto now = current.load();
      sum += now->a + now->b;
    }
    kept += sum;
  };
  const auto all_at_once = [&](long n) {
    std::vector<sigrun::goroutine> all;
    for (int i = 0; i < sigrun::max_procs(); ++i) {
      all.push_back(sigrun::go([&, n] { read_often(n); }));
    }
    for (auto& g : all) g.join();
  };
  report.samples("load", bench::per_operation(300, 200'000, read_often));
  report.samples("together", bench::per_operation(100, 2'000'000, all_at_once));
  if (kept == 0) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 2 ? argv[1] : "";
  bench::report report;
  return sigrun::run([&] {
    if (argc > 2) sigrun::max_procs(std::atoi(argv[2]));
    if (what == "select4") {
      ready_select(report);
      blocking_select(report);
    } else if (what == "mutex") {
      mutex(report);
    } else if (what == "reload") {
      reload(report);
    } else {
      std::fprintf(stderr, "usage: %s select4|mutex|reload PROCS\n", argv[0]);
      return 2;
    }
    report.print();
    return 0;
  });
}
