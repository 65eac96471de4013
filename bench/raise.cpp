// SPDX-License-Identifier: Apache-2.0
//
// bench_raise goroutine PROCS: what it costs to raise a signal and to handle it: at oneself,
// handled at the next preemption point; at one that waits, which is woken, handles it and waits on,
// there and back; and many at a time. And a preemption point at which nothing is to be done.
// bench_raise kernel: raise(3), whose handler does nothing.
#include "samples.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/raise.hpp>

#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

namespace {

constexpr int many = 32;  // half of the queue

void at_oneself(bench::report& report) {
  const sigrun::goroutine_ref self = sigrun::this_goroutine();
  report.samples("bare_point", bench::per_operation(200, 50'000, [](long n) {
                   for (long i = 0; i < n; ++i) sigrun::preempt_point();
                 }));
  long handled = 0;
  long raised = 0;
  const sigrun::raise_handler count(SIGUSR1, [&](const sigrun::signal_event&) { ++handled; });
  report.samples("point", bench::per_operation(200, 50'000, [](long n) {
                   for (long i = 0; i < n; ++i) sigrun::preempt_point();
                 }));
  report.samples("self", bench::per_operation(200, 1'000, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     self.raise(SIGUSR1);
                     sigrun::preempt_point();
                   }
                   raised += n;
                 }));
  report.samples("many", bench::per_operation(200, 32L * many, [&](long n) {
                   for (long i = 0; i < n; i += many) {
                     for (int k = 0; k < many; ++k) self.raise(SIGUSR1);
                     sigrun::preempt_point();
                   }
                   raised += n;
                 }));
  if (handled != raised) std::abort();
}

void at_another(bench::report& report) {
  const sigrun::chan<int> stop(0);
  std::atomic<long> handled{0};
  sigrun::goroutine target = sigrun::go([&] {
    const sigrun::raise_handler count(SIGUSR1,
                                      [&](const sigrun::signal_event&) { handled.fetch_add(1); });
    stop.recv();
  });
  long raised = 0;
  report.samples("other", bench::per_operation(150, 500, [&](long n) {
                   for (long i = 0; i < n; ++i) {
                     target.raise(SIGUSR1);
                     ++raised;
                     while (handled.load(std::memory_order_relaxed) != raised) sigrun::yield();
                   }
                 }));
  stop.close();
  target.join();
}

extern "C" void do_nothing(int, siginfo_t*, void*) {}

void by_kernel(bench::report& report) {
  struct sigaction action {};
  action.sa_sigaction = do_nothing;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  report.samples("self", bench::per_operation(200, 500, [](long n) {
                   for (long i = 0; i < n; ++i) raise(SIGUSR1);
                 }));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  bench::report report;
  if (what == "kernel") {
    by_kernel(report);
  } else if (what == "goroutine" && argc > 2) {
    sigrun::max_procs(std::atoi(argv[2]));
    sigrun::run([&report] {
      at_oneself(report);
      at_another(report);
    });
  } else {
    std::fprintf(stderr, "usage: %s goroutine PROCS | kernel\n", argv[0]);
    return 2;
  }
  report.print();
  return 0;
}
