// SPDX-License-Identifier: Apache-2.0
//
//   send_burst PID SIGNAL COUNT
//
// Sends COUNT signals with numbered payload as fast as it can. When the receiver's user has no
// room left for pending signals (RLIMIT_SIGPENDING), the kernel says EAGAIN: it waits and goes on.
#include <sigrun/signal.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "send_burst.hpp"

int main(int argc, char** argv) {
  const int pid = argc == 4 ? std::atoi(argv[1]) : 0;
  const int signo = argc == 4 ? sigrun::parse_signal(argv[2]) : 0;
  const std::uint64_t count = argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 0;
  if (pid <= 0 || signo == 0 || count == 0 || count > example::number_max) {
    std::fprintf(stderr, "usage: send_burst PID SIGNAL COUNT (1 to %llu)\n",
                 static_cast<unsigned long long>(example::number_max));
    return 2;
  }
  std::uint64_t waits = 0;
  for (std::uint64_t number = 0; number < count;) {
    // std::chrono::steady_clock is CLOCK_MONOTONIC, as are the stamps of a signal_event.
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    std::error_code error;
    sigrun::send(pid, signo, example::payload(number, std::chrono::nanoseconds(now).count()),
                 error);
    if (!error) {
      ++number;
    } else if (error == std::errc::resource_unavailable_try_again) {
      ++waits;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else {
      std::fprintf(stderr, "send_burst: %s to %d: %s\n", sigrun::signal_name(signo).data(), pid,
                   error.message().c_str());
      return 1;
    }
  }
  std::printf("sent %llu of %s, waited for room %llu times\n",
              static_cast<unsigned long long>(count), sigrun::signal_name(signo).data(),
              static_cast<unsigned long long>(waits));
  return 0;
}
