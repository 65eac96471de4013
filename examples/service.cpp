// SPDX-License-Identifier: Apache-2.0
//
// A small service in which every signal is an ordinary value. The main thread receives what steers
// the service; a second thread receives a flood of real-time signals whose payload is work, and
// hands it to two workers over a channel. `./dev demo` runs it and sends it all of these.
//
//   SIGUSR1      prints its own journey            SIGHUP         counts a reload
//   SIGRTMIN+1   one piece of work each            SIGTERM, INT   ends: nothing taken is lost
#include <sigrun/signal.hpp>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "send_burst.hpp"

namespace {

constexpr int work_signal = sigrun::signal_rt_min + 1;

std::atomic<int> config_version{1};

double us(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; }

// Microseconds from hop to hop. The first is known when the sender put its clock into the payload,
// which kill(2) cannot.
void print_journey(const sigrun::signal_event& event) {
  const sigrun::signal_stamps& at = event.at;
  char sent[24] = "?";
  if (event.value_bits != 0) {
    std::snprintf(sent, sizeof sent, "%.1f", us(example::age_ns(event.value_bits, at.taken)));
  }
  std::printf(
      "journey: #%llu %s: sent --%s--> taken --%.1f--> queued --%.1f--> dispatched "
      "--%.1f--> received (us; %s, pid %d)\n",
      static_cast<unsigned long long>(event.sequence), sigrun::signal_name(event.signo).data(),
      sent, us(at.queued - at.taken), us(at.dispatched - at.queued),
      us(at.received - at.dispatched), sigrun::to_string(event.cause).data(), event.pid);
}

struct books {
  std::uint64_t received = 0;
  std::uint64_t in_order = 0;
};

// Checks that work arrives in the order it was sent, and passes it on.
books receive_work(const sigrun::signal_chan& signals, const sigrun::chan<std::uint64_t>& jobs) {
  books count;
  for (const sigrun::signal_event& event : signals) {
    const std::uint64_t number = example::number_of(event.value_bits);
    if (number == count.received) ++count.in_order;
    ++count.received;
    if (number == 0 || number % 500 == 499) print_journey(event);
    jobs.send(number);
  }
  jobs.close();
  return count;
}

// Returns the signal that ended it.
int steer(const sigrun::signal_chan& control) {
  for (const sigrun::signal_event& event : control) {
    print_journey(event);
    if (event.signo == SIGHUP) {
      std::printf("reload: version %d\n", ++config_version);
    } else if (event.signo != SIGUSR1) {
      return event.signo;
    }
  }
  return 0;
}

bool print_books(const books& work, const sigrun::channel_stats& channel, std::uint64_t done) {
  const sigrun::signal_stats all = sigrun::stats();
  std::printf("books: received %llu, in order %llu, done by workers %llu\n",
              static_cast<unsigned long long>(work.received),
              static_cast<unsigned long long>(work.in_order),
              static_cast<unsigned long long>(done));
  std::printf("channel: delivered %llu, merged %llu, dropped %llu\n",
              static_cast<unsigned long long>(channel.delivered),
              static_cast<unsigned long long>(channel.merged),
              static_cast<unsigned long long>(channel.dropped));
  std::printf(
      "process: received %llu, dispatched %llu, merged %llu, dropped %llu, unclaimed %llu\n",
      static_cast<unsigned long long>(all.received),
      static_cast<unsigned long long>(all.dispatched), static_cast<unsigned long long>(all.merged),
      static_cast<unsigned long long>(all.dropped), static_cast<unsigned long long>(all.unclaimed));
  return work.in_order == work.received && done == work.received;
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);

  // Subscribe first: threads that start later have these signals blocked from their birth on.
  const sigrun::signal_chan control(16);
  const sigrun::signal_chan work(4096);
  sigrun::notify(control, SIGUSR1, SIGHUP, SIGTERM, SIGINT);
  sigrun::notify(work, work_signal);

  const sigrun::chan<std::uint64_t> jobs(64);
  std::atomic<std::uint64_t> done{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i) {
    workers.emplace_back([&] {
      for ([[maybe_unused]] const std::uint64_t number : jobs) ++done;
    });
  }
  books count;
  std::thread receiver([&] { count = receive_work(work, jobs); });

  std::printf("ready, pid %d\n", getpid());
  const int ended_by = steer(control);

  // A channel's counters end with its subscription, so they are read first. stop() delivers what
  // the kernel still holds; close() lets the receiver drain it and then ends its loop.
  const sigrun::channel_stats counted = sigrun::stats(work);
  sigrun::stop(work);
  work.close();
  receiver.join();
  for (std::thread& worker : workers) worker.join();
  const bool right = print_books(count, counted, done.load());
  std::printf("stopped by %s, configuration version %d\n", sigrun::signal_name(ended_by).data(),
              config_version.load());
  return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
