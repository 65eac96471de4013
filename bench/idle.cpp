// SPDX-License-Identifier: Apache-2.0
//
// bench_idle: the scheduler runs, goroutines wait for a channel, for a connection and for a timer
// far away, and nothing comes. Says "ready 0".
#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/net.hpp>

#include <chrono>
#include <cstdio>

int main() {
  return sigrun::run([] {
    const sigrun::chan<int> never(0);
    for (int i = 0; i < 100; ++i) sigrun::go([never] { never.recv(); });
    auto listener = sigrun::net::tcp_listener::listen(*sigrun::net::endpoint::parse("127.0.0.1:0"));
    std::printf("ready 0\n");
    std::fflush(stdout);
    int value = 0;
    sigrun::go([never, value]() mutable { never.recv_for(std::chrono::hours(1), value); });
    listener.accept();
  });
}
