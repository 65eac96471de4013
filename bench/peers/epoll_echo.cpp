// SPDX-License-Identifier: Apache-2.0
//
// The floor of an echo server: one read and one write per request and no state per connection, in
// one thread with one epoll set, or in as many as the argument says. With "http" behind it, each
// read is answered with the same HTTP response, whatever was asked.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

void watch(int set, int fd) {
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.fd = fd;
  epoll_ctl(set, EPOLL_CTL_ADD, fd, &interest);
}

int listen_on_loopback() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof at;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), bytes) != 0 || listen(fd, 1024) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&at), &bytes) != 0) {
    std::perror("peer_epoll_echo");
    std::exit(1);
  }
  std::printf("ready %d\n", ntohs(at.sin_port));
  std::fflush(stdout);
  return fd;
}

void accept_all(int listener, int set) {
  int fd;
  while ((fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(set, fd);
  }
}

constexpr char response[] =
    "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n\r\nhello\n";
bool speaks_http = false;

void echo_once(int fd) {
  char buffer[4096];
  ssize_t n = read(fd, buffer, sizeof buffer);
  if (n > 0 && speaks_http) {
    n = sizeof response - 1;
    std::memcpy(buffer, response, sizeof response - 1);
  }
  if (n <= 0 || write(fd, buffer, static_cast<std::size_t>(n)) != n) close(fd);
}

// Each thread has its set; they share the listener, so who accepts a connection serves it.
void serve(int listener) {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  watch(set, listener);
  for (;;) {
    epoll_event ready[256];
    const int n = epoll_wait(set, ready, 256, -1);
    for (int i = 0; i < n; ++i) {
      if (ready[i].data.fd == listener) {
        accept_all(listener, set);
      } else {
        echo_once(ready[i].data.fd);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int listener = listen_on_loopback();
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  speaks_http = argc > 2;
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(serve, listener);
  serve(listener);
}
