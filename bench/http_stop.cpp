// SPDX-License-Identifier: Apache-2.0
//
// bench_http_stop ROUNDS SERVER [ARG...]
//
// Starts SERVER, has 100 requests under way on as many connections, sends SIGTERM, and waits for
// the end of the process. Prints how long that came after the end of the last handler, and how much
// of it went by until the server had drained; the server tells both times in its last lines, "ended
// NANOSECONDS" and "drained NANOSECONDS".
#include "child.hpp"
#include "samples.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>

namespace {

constexpr int connections = 100;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int ask(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("connect");
  constexpr std::string_view request = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
  if (write(fd, request.data(), request.size()) < 0) fail("write");
  return fd;
}

struct times {
  double drain, exit;
};

times one_round(char** server_command) {
  bench::child server(server_command);
  std::vector<int> fds;
  for (int i = 0; i < connections; ++i) fds.push_back(ask(server.number()));
  usleep(200'000);  // all are with their handlers
  kill(server.pid(), SIGTERM);
  const std::int64_t end = server.wait();
  const std::int64_t ended = server.said("ended");
  const std::int64_t drained = server.said("drained");
  int answered = 0;
  for (const int fd : fds) {
    char answer[512];
    answered += read(fd, answer, sizeof answer) > 0 ? 1 : 0;
    close(fd);
  }
  if (answered != connections || ended == 0 || drained == 0) {
    std::fprintf(stderr, "bench_http_stop: %d of %d answered\n", answered, connections);
    std::exit(1);
  }
  return {static_cast<double>(drained - ended), static_cast<double>(end - ended)};
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 2 ? std::atoi(argv[1]) : 0;
  if (rounds <= 0) {
    std::fprintf(stderr, "usage: %s ROUNDS SERVER [ARG...]\n", argv[0]);
    return 2;
  }
  std::vector<double> drain, exit;
  for (int i = 0; i < rounds; ++i) {
    const times took = one_round(argv + 2);
    drain.push_back(took.drain);
    exit.push_back(took.exit);
  }
  bench::report report;
  report.samples("drain", drain);
  report.samples("exit", exit);
  report.print();
}
