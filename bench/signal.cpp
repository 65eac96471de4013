// SPDX-License-Identifier: Apache-2.0
//
// Sigrun's side of the signal benches, through the public API alone. HOW is thread (the main thread
// blocks in recv()), epoll (a foreign loop that waits for the channel's fd) or goroutine (the main
// goroutine of run() does).
#include "receiver.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>

#include <sys/epoll.h>
#include <unistd.h>

#include <csignal>

namespace {

// A flood is taken whole: the channel grows while the reader is behind.
constexpr std::size_t depth = 1024;

const int sender = getppid();

bool take(bench::receiver& r, const sigrun::signal_event& event) {
  // A payload counts only when the record says truly who sent it.
  if (event.cause == sigrun::signal_cause::queue && event.pid == sender) {
    return r.on_signal_with(event.signo, event.value_int());
  }
  return r.on_signal(event.signo, static_cast<int>(event.count));
}

void thread_loop(bench::receiver& r, const sigrun::signal_chan& signals) {
  while (auto event = signals.recv()) {
    if (!take(r, *event)) return;
  }
}

void epoll_loop(bench::receiver& r, const sigrun::signal_chan& signals) {
  const int ep = epoll_create1(0);
  epoll_event interest{};
  interest.events = EPOLLIN;
  epoll_ctl(ep, EPOLL_CTL_ADD, signals.fd(), &interest);
  r.ready();
  for (;;) {
    epoll_event ready;
    epoll_wait(ep, &ready, 1, -1);
    sigrun::signal_event event;
    while (signals.try_recv(event)) {
      if (!take(r, event)) return;
    }
  }
}

// Everything that was taken must be in the channel or in a counter. The end signal, which may have
// come more than once, is taken out of the sum.
void write_counters(bench::shared_page& page, const sigrun::signal_chan& signals) {
  const sigrun::channel_stats channel = sigrun::stats(signals);  // ends with the subscription
  sigrun::stop(signals);
  std::uint64_t ends = 1;
  sigrun::signal_event event;
  while (signals.try_recv(event)) ends += event.count;
  const sigrun::signal_stats process = sigrun::stats();
  page.taken = static_cast<std::int64_t>(process.received - ends);
  page.merged = static_cast<std::int64_t>(process.merged + channel.merged);
  page.dropped = static_cast<std::int64_t>(process.dropped + channel.dropped);
}

void receive(bench::receiver& r) {
  sigrun::signal_chan signals(depth);
  sigrun::notify_options options;
  options.full = sigrun::overflow::unbounded;
  sigrun::notify(signals, {r.signo(), bench::end_signal}, options);
  if (r.how("epoll")) {
    epoll_loop(r, signals);
  } else {
    r.ready();
    thread_loop(r, signals);
  }
  write_counters(r.page(), signals);
}

}  // namespace

int main(int argc, char** argv) {
  bench::receiver r(argc, argv);
  if (r.how("goroutine")) return sigrun::run([&r] { receive(r); });
  receive(r);
}
