// SPDX-License-Identifier: Apache-2.0
//
// A program of somebody else: it knows the public headers and sigrun::core, and nothing more.

#include <sigrun/signal.hpp>

#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdio>

int main() {
  alarm(30);  // a dead man's switch
  const sigrun::signal_chan signals(8);
  sigrun::notify(signals, SIGUSR1);
  kill(getpid(), SIGUSR1);
  sigrun::signal_event event;
  const auto status = signals.recv_for(std::chrono::seconds(10), event);
  if (status != sigrun::chan_status::ok || event.signo != SIGUSR1 || event.pid != getpid()) {
    std::puts("consumer: the signal did not arrive");
    return 1;
  }
  sigrun::stop(signals);
  std::puts("consumer: received SIGUSR1");
  return 0;
}
