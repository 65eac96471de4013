// SPDX-License-Identifier: Apache-2.0
//
// bench_echo_client MILLISECONDS SERVER [ARG...]
//
// Starts SERVER, which says "ready PORT", and keeps first 50 and then 500 connections busy, each
// with one request of 64 bytes at a time. Prints per number of connections what a request cost the
// server in processor time, requests per second, and how long a request took.
#include "child.hpp"
#include "samples.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace {

constexpr std::size_t request_bytes = 64;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct connection {
  int fd;
  std::size_t received;
  std::int64_t sent_at;
};

class load {
 public:
  load(int port, std::size_t connections) : connections_(connections) {
    for (connection& c : connections_) open(c, port);
  }
  ~load() {
    for (const connection& c : connections_) close(c.fd);
    close(epoll_);
  }

  /// Keeps all connections busy until `end`; returns how long each request took.
  std::vector<double> run(std::int64_t end) {
    std::vector<double> took;
    took.reserve(1 << 20);
    for (connection& c : connections_) send(c);
    for (;;) {
      epoll_event ready[256];
      const int n = epoll_wait(epoll_, ready, 256, 1000);
      if (bench::now() >= end) break;
      for (int i = 0; i < n; ++i) {
        auto& c = *static_cast<connection*>(ready[i].data.ptr);
        if (!receive(c)) continue;
        const std::int64_t at = bench::now();
        took.push_back(static_cast<double>(at - c.sent_at));
        send(c);
      }
    }
    // What is still under way belongs to nobody's count, and must not reach the next load.
    for (connection& c : connections_) {
      while (!receive(c)) {
      }
    }
    return took;
  }

 private:
  void open(connection& c, int port) {
    c.received = 0;
    c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c.fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("connect");
    const int on = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.ptr = &c;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &interest);
  }

  static void send(connection& c) {
    static const char request[request_bytes] = "ping";
    c.sent_at = bench::now();
    if (write(c.fd, request, request_bytes) != request_bytes) fail("write");
  }

  /// True when the answer is complete.
  static bool receive(connection& c) {
    char answer[request_bytes];
    const ssize_t n = read(c.fd, answer, request_bytes - c.received);
    if (n <= 0) fail("the server closed the connection: read");
    c.received += static_cast<std::size_t>(n);
    if (c.received < request_bytes) return false;
    c.received = 0;
    return true;
  }

  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  std::vector<connection> connections_;
};

void measure(bench::report& report, const bench::child& server, std::size_t connections,
             std::int64_t duration_ns) {
  load l(server.number(), connections);
  l.run(bench::now() + duration_ns / 5);  // warm: every connection accepted, every buffer there
  const double cpu = server.cpu_ns();
  const std::int64_t begin = bench::now();
  const std::vector<double> took = l.run(begin + duration_ns);
  const auto seconds = static_cast<double>(bench::now() - begin) / 1e9;
  const auto requests = static_cast<double>(took.size() + connections);  // the last ones as well
  const std::string suffix = std::to_string(connections);
  report.value("cpu_us_" + suffix, (server.cpu_ns() - cpu) / requests / 1000);
  report.value("rate_" + suffix, requests / seconds);
  report.samples("took_" + suffix, took);
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t milliseconds = argc > 2 ? std::atol(argv[1]) : 0;
  if (milliseconds <= 0) {
    std::fprintf(stderr, "usage: %s MILLISECONDS SERVER [ARG...]\n", argv[0]);
    return 2;
  }
  bench::report report;
  {
    const bench::child server(argv + 2);
    measure(report, server, 50, milliseconds * 1'000'000);
    measure(report, server, 500, milliseconds * 1'000'000);
  }
  report.print();
}
