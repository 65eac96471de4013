// SPDX-License-Identifier: Apache-2.0
//
// bench_http hello PROCS: answers "hello". Says "ready PORT".
// bench_http stop: holds its requests until SIGTERM, lets their handlers end 50 ms later, says when
// the last one did and when all was drained ("ended NANOSECONDS", "drained NANOSECONDS" of
// CLOCK_MONOTONIC), and exits at once.
#include "page.hpp"

#include <sigrun/go.hpp>
#include <sigrun/http_server.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

namespace http = sigrun::http;

int listen(http::server& server) {
  const auto at = server.listen(*sigrun::net::endpoint::parse("127.0.0.1:0"));
  std::printf("ready %d\n", at.port());
  std::fflush(stdout);
  return 0;
}

int hello() {
  http::router routes;
  routes.get("/hello", [](http::request&, http::response& p) { p.text("hello\n"); });
  http::server server(routes);
  listen(server);
  sigrun::chan<sigrun::signal_event> stop(1);
  sigrun::notify(stop, SIGTERM);
  stop.recv();
  return 0;
}

int stop() {
  sigrun::wait_group hold(1);
  std::atomic<std::int64_t> ended{0};
  http::server server([&](http::request&, http::response& p) {
    hold.wait();
    p.text("hello\n");
    ended = bench::now();
  });
  sigrun::chan<sigrun::signal_event> stopping(1);
  sigrun::notify(stopping, SIGTERM);
  listen(server);
  stopping.recv();
  server.refuse();
  sigrun::sleep_for(std::chrono::milliseconds(50));
  hold.done();
  server.shutdown(std::chrono::seconds(10));
  const std::int64_t drained = bench::now();
  std::printf("ended %lld\ndrained %lld\n", static_cast<long long>(ended.load()),
              static_cast<long long>(drained));
  std::fflush(stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (argc > 2) sigrun::max_procs(std::atoi(argv[2]));
  return sigrun::run(what == "stop" ? stop : hello);
}
