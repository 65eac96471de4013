// SPDX-License-Identifier: Apache-2.0
//
// bench_handler_cost BATCHES
//
// What sigtramp, sighandler and sigsend cost beyond a handler that does nothing: batches of tgkill
// to the own thread, in turn for SIGUSR1, which Sigrun takes in its handler, and SIGUSR2, whose
// handler is empty and has the same flags and stack. Prints both and the difference of
// neighbouring batches as one line of JSON.
//
// The thread that dispatches is on the same CPU and never preempts this one (SCHED_BATCH), and one
// signal before each batch wakes it: so the batch measures the handler, and no wake. `wake_ns` is
// what the signal that finds the dispatcher asleep costs more.
#include "page.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/signal.hpp>

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using bench::now;

constexpr int batch = 200;  // well below the queue's capacity: nothing is held back or merged
const int pid = getpid();

void signal_myself(int signo) { syscall(SYS_tgkill, pid, pid, signo); }

double one_batch(int signo) {
  const std::int64_t begin = now();
  for (int i = 0; i < batch; ++i) signal_myself(signo);
  return static_cast<double>(now() - begin) / batch;
}

void empty_handler(int, siginfo_t*, void*) {}

void become_quiet() {
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  sched_setaffinity(0, sizeof here, &here);
  const sched_param none{};
  sched_setscheduler(0, SCHED_BATCH, &none);
}

void use_alternate_stack() {
  constexpr std::size_t bytes = 64 * 1024;
  stack_t stack{};
  stack.ss_size = bytes;
  stack.ss_sp = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sigaltstack(&stack, nullptr);
}

// glibc's sigaction adds nothing to the handler's way: the kernel calls it directly.
void install_empty_handler() {
  struct sigaction action {};
  action.sa_sigaction = empty_handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
}

void drain(const sigrun::signal_chan& signals, int count) {
  for (int i = 0; i < count; ++i) {
    if (!signals.recv()) std::exit(1);
  }
}

double median(std::vector<double>& v) {
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

}  // namespace

int main(int argc, char** argv) {
  const int batches = argc > 1 ? std::atoi(argv[1]) : 0;
  if (batches <= 0) {
    std::fprintf(stderr, "usage: %s BATCHES\n", argv[0]);
    return 2;
  }
  become_quiet();
  use_alternate_stack();
  install_empty_handler();
  sigrun::configure_signals({.way = sigrun::way_in::handler});
  sigrun::signal_chan signals(1024);
  sigrun::notify(signals, SIGUSR1);
  sigrun::open_thread();

  std::vector<double> ours;
  std::vector<double> empty;
  std::vector<double> beyond;
  std::vector<double> wake;
  constexpr int warm_up = 20;
  for (int i = -warm_up; i < batches; ++i) {
    const double e = one_batch(SIGUSR2);
    const std::int64_t begin = now();
    signal_myself(SIGUSR1);
    const auto first = static_cast<double>(now() - begin);
    const double o = one_batch(SIGUSR1);
    drain(signals, batch + 1);
    if (i < 0) continue;
    empty.push_back(e);
    ours.push_back(o);
    beyond.push_back(o - e);
    wake.push_back(first - o);
  }
  const sigrun::signal_stats stats = sigrun::stats();
  const auto expected = static_cast<std::uint64_t>((batches + warm_up) * (batch + 1));
  if (stats.by_handler != expected || stats.merged != 0 || stats.dropped != 0) {
    std::fprintf(stderr, "bench_handler_cost: %llu of %llu signals came through the handler\n",
                 static_cast<unsigned long long>(stats.by_handler),
                 static_cast<unsigned long long>(expected));
    return 1;
  }
  std::printf("{\"n\": %d, \"ours_ns\": %.1f, \"empty_ns\": %.1f, \"beyond_ns\": %.1f, ", batches,
              median(ours), median(empty), median(beyond));
  std::printf("\"wake_ns\": %.1f}\n", median(wake));
}
