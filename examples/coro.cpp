// SPDX-License-Identifier: Apache-2.0
//
// Signals with C++20 coroutines and no other event loop: one coroutine prints each SIGUSR1 and
// real-time signal with its payload; another waits for SIGTERM or SIGINT and stops the first.
//
//   example_coro & kill -USR1 %1; kill -TERM %1
#include <sigrun/coro.hpp>
#include <sigrun/signal.hpp>

#include <csignal>
#include <cstdio>
#include <stop_token>

using sigrun::coro::loop;
using sigrun::coro::task;

void print(const sigrun::signal_event& event) {
  std::printf("%s from %d, value %d\n", sigrun::signal_name(event.signo).data(), event.pid,
              event.value_int());
  std::fflush(stdout);
}

task<> print_signals(loop& on, sigrun::signal_chan ch, std::stop_token stop) {
  while (auto event = co_await on.recv(ch, stop)) print(*event);
}

task<> wait_for_the_end(loop& on, sigrun::signal_chan ch, std::stop_source& stop) {
  if (auto event = co_await on.recv(ch)) print(*event);
  stop.request_stop();
}

int main() {
  sigrun::signal_chan work(64);
  sigrun::notify(work, SIGUSR1, SIGRTMIN);
  sigrun::signal_chan end(1);
  sigrun::notify(end, SIGTERM, SIGINT);

  loop on;
  std::stop_source stop;
  on.spawn(print_signals(on, work, stop.get_token()));
  on.spawn(wait_for_the_end(on, end, stop));
  std::puts("ready");
  std::fflush(stdout);
  on.run();
}
