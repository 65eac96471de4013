// SPDX-License-Identifier: Apache-2.0
//
// bench_echo_client [--http] MILLISECONDS SERVER [ARG...]
//
// Starts SERVER, which says "ready PORT", and keeps first 50 and then 500 connections busy, each
// with one request at a time: 64 bytes that come back, or an HTTP request. Prints per number of
// connections what a request cost the server in processor time, requests per second, and how long a
// request took.
#include "child.hpp"
#include "samples.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

struct protocol {
  std::string request;
  bool http = false;

  /// The length of an answer whose first bytes are these; 0 as long as that is not known.
  std::size_t answer_bytes(std::string_view begin) const {
    if (!http) return request.size();
    const std::size_t head = begin.find("\r\n\r\n");
    const std::size_t field = begin.find("\r\nContent-Length: ");
    if (head == std::string_view::npos) return 0;
    const std::size_t body =
        field < head ? std::strtoul(begin.data() + field + 18, nullptr, 10) : 0;
    return head + 4 + body;
  }
};

protocol echo() {
  protocol p{std::string(64, '\0')};
  p.request.replace(0, 4, "ping");
  return p;
}

/// What a program sends that is no browser.
protocol hello() {
  return {"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n",
          true};
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct connection {
  int fd;
  std::size_t received;
  std::int64_t sent_at;
  std::array<char, 1024> answer;  // and a NUL
};

class load {
 public:
  load(const protocol& spoken, int port, std::size_t connections)
      : protocol_(spoken), connections_(connections) {
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

  void send(connection& c) const {
    const std::string& request = protocol_.request;
    c.sent_at = bench::now();
    if (write(c.fd, request.data(), request.size()) != static_cast<ssize_t>(request.size())) {
      fail("write");
    }
  }

  /// True when the answer is complete.
  bool receive(connection& c) const {
    const ssize_t n = read(c.fd, c.answer.data() + c.received, c.answer.size() - c.received - 1);
    if (n <= 0) fail("the server closed the connection: read");
    c.received += static_cast<std::size_t>(n);
    c.answer[c.received] = '\0';
    const std::size_t wanted = protocol_.answer_bytes({c.answer.data(), c.received});
    if (wanted == 0 || c.received < wanted) return false;
    c.received = 0;
    return true;
  }

  const protocol& protocol_;
  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  std::vector<connection> connections_;
};

void measure(bench::report& report, const protocol& spoken, const bench::child& server,
             std::size_t connections, std::int64_t duration_ns) {
  load l(spoken, server.number(), connections);
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
  const bool http = argc > 1 && std::string_view(argv[1]) == "--http";
  if (http) {
    --argc;
    ++argv;
  }
  const std::int64_t milliseconds = argc > 2 ? std::atol(argv[1]) : 0;
  if (milliseconds <= 0) {
    std::fprintf(stderr, "usage: %s [--http] MILLISECONDS SERVER [ARG...]\n", argv[0]);
    return 2;
  }
  bench::report report;
  {
    const protocol spoken = http ? hello() : echo();
    const bench::child server(argv + 2);
    measure(report, spoken, server, 50, milliseconds * 1'000'000);
    measure(report, spoken, server, 500, milliseconds * 1'000'000);
  }
  report.print();
}
