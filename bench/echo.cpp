// SPDX-License-Identifier: Apache-2.0
//
// bench_echo PROCS: an echo server with a goroutine per connection. Says "ready PORT".
#include <sigrun/go.hpp>
#include <sigrun/net.hpp>

#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

namespace {

void serve(sigrun::net::tcp_stream stream) {
  char bytes[4096];
  std::error_code error;
  while (const std::size_t n = stream.read(bytes, error)) {
    stream.write_all({bytes, n}, error);
    if (error) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int procs = argc > 1 ? std::atoi(argv[1]) : 0;
  if (procs > 0) sigrun::max_procs(procs);
  return sigrun::run([] {
    auto listener = sigrun::net::tcp_listener::listen(*sigrun::net::endpoint::parse("127.0.0.1:0"));
    std::printf("ready %d\n", listener.local_endpoint().port());
    std::fflush(stdout);
    for (;;) sigrun::go(serve, listener.accept());
  });
}
