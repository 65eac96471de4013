// SPDX-License-Identifier: Apache-2.0
//
// Stops its workers at SIGTERM or Ctrl-C, says who asked for it, and dies of that very signal, so
// that its parent sees the truth. A second signal, while the workers finish, kills it at once.
#include <sigrun/process.hpp>
#include <sigrun/signal.hpp>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::stop_source source;
  const auto subscription = sigrun::notify_stop(source, {SIGTERM, SIGINT});

  std::vector<std::jthread> workers;
  for (int i = 0; i < 2; ++i) {
    workers.emplace_back([token = source.get_token(), i] {
      std::mutex lock;
      std::condition_variable_any wake;
      std::unique_lock hold(lock);
      // A second of work at a time, which a stop request interrupts.
      while (!token.stop_requested()) {
        wake.wait_for(hold, token, std::chrono::seconds(1), [] { return false; });
      }
      std::printf("worker %d has finished\n", i);
    });
  }
  std::printf("ready\n");
  workers.clear();  // joins

  const sigrun::signal_event cause = *subscription.cause();
  std::printf("stopped by %s from pid %d\n", sigrun::signal_name(cause.signo).data(), cause.pid);
  std::fflush(stdout);  // die_by skips what exit(3) would do
  sigrun::process::die_by(cause.signo);
}
