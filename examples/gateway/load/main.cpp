// SPDX-License-Identifier: Apache-2.0
//
//   gateway_load PORT CONNECTIONS
//
// Clients of the gateway that forgive nothing: each keeps its connection as long as the gateway
// does, writes a note, reads it back, has it summed up, and begins again. Nothing is tried twice: a
// refused or broken connection, another status, another text than was written, all are failures.
// Plain sockets and threads, and nothing of the library: what is seen here is seen outside.
//
// A line on standard input asks for a line of figures since the last one; its end ends the clients.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

struct figures {
  std::uint64_t requests = 0;
  std::uint64_t failed = 0;
  std::uint64_t connections = 0;
  std::vector<std::uint32_t> us;              // each request's time
  std::map<std::string, std::uint64_t> by;    // who answered
  std::map<std::string, std::uint64_t> said;  // what failed
};

constexpr std::size_t times_max = 4'000'000;  // beyond these, requests are counted only

std::mutex lock;
figures now;
std::atomic<bool> over{false};

struct answer {
  int status = 0;  // 0: none
  bool close = false;
  std::string who;
  std::string body;
};

class client {
 public:
  explicit client(std::uint16_t port) : port_(port) {}
  ~client() { drop(); }
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  // One request and its answer, counted.
  answer ask(std::string_view method, const std::string& path, const std::string& body,
             std::string_view wanted) {
    const auto began = clock_type::now();
    std::string what;
    answer got;
    if (fd_ < 0) what = connect();
    if (what.empty()) what = exchange(method, path, body, got);
    if (what.empty() && got.status / 100 != 2) what = "status " + std::to_string(got.status);
    if (what.empty() && got.body.find(wanted) == std::string::npos) what = "another body";
    if (!what.empty() || got.close) drop();
    const auto us =
        std::chrono::duration_cast<std::chrono::microseconds>(clock_type::now() - began);
    const std::lock_guard hold(lock);
    ++now.requests;
    if (now.us.size() < times_max) now.us.push_back(static_cast<std::uint32_t>(us.count()));
    if (!got.who.empty()) ++now.by[got.who];
    if (!what.empty()) {
      ++now.failed;
      ++now.said[std::string(method) + " " + path.substr(0, path.find_last_of('/')) + ": " + what];
    }
    return got;
  }

 private:
  void drop() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    kept_.clear();
  }

  std::string connect() {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return "no socket";
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port_);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return "refused";
    const std::lock_guard hold(lock);
    ++now.connections;
    return {};
  }

  bool more() {
    char part[4096];
    const ssize_t got = ::recv(fd_, part, sizeof part, 0);
    if (got > 0) kept_.append(part, static_cast<std::size_t>(got));
    return got > 0;
  }

  std::string field(std::string_view head, std::string_view name) {
    const std::size_t at = head.find("\r\n" + std::string(name) + ": ");
    if (at == std::string_view::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return std::string(head.substr(begin, head.find("\r\n", begin) - begin));
  }

  std::string exchange(std::string_view method, const std::string& path, const std::string& body,
                       answer& got) {
    const std::string text =
        std::string(method) + " " + path +
        " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    if (::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
      return "cannot be sent";
    }
    std::size_t end = 0;
    while ((end = kept_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return kept_.empty() ? "closed without an answer" : "half an answer";
    }
    const std::string head = kept_.substr(0, end + 2);
    kept_.erase(0, end + 4);
    got.status = std::atoi(head.c_str() + std::string_view("HTTP/1.1 ").size());
    got.close = field(head, "Connection") == "close";
    got.who = field(head, "X-Gateway");
    const std::size_t size = std::strtoull(field(head, "Content-Length").c_str(), nullptr, 10);
    while (kept_.size() < size) {
      if (!more()) return "half a body";
    }
    got.body = kept_.substr(0, size);
    kept_.erase(0, size);
    return {};
  }

  const std::uint16_t port_;
  int fd_ = -1;
  std::string kept_;  // what has come beyond the last answer
};

void live(std::uint16_t port, int number) {
  client one(port);
  const std::string name = "client " + std::to_string(number);
  const answer made = one.ask("POST", "/notes", name, name);
  const std::size_t id_at = made.body.find("\"id\":");
  if (id_at == std::string::npos) return;
  const std::string path = "/notes/" + std::to_string(std::atoi(made.body.c_str() + id_at + 5));
  for (std::uint64_t turn = 0; !over; ++turn) {
    const std::string text = name + " turn " + std::to_string(turn);
    one.ask("PUT", path, text, text);
    for (int i = 0; i < 4; ++i) one.ask("GET", path, {}, text);
    one.ask("GET", path + "/summary", {}, "\"words\":4");
  }
}

std::uint32_t at_rank(const std::vector<std::uint32_t>& sorted, double rank) {
  if (sorted.empty()) return 0;
  const auto at = static_cast<std::size_t>(rank * static_cast<double>(sorted.size()));
  return sorted[std::min(at, sorted.size() - 1)];
}

void report() {
  figures since;
  {
    const std::lock_guard hold(lock);
    std::swap(since, now);
  }
  std::sort(since.us.begin(), since.us.end());
  const auto list = [](const char* key, const std::map<std::string, std::uint64_t>& all) {
    std::printf(",\"%s\":{", key);
    const char* between = "";
    for (const auto& [name, count] : all) {
      std::printf("%s\"%s\":%llu", between, name.c_str(), static_cast<unsigned long long>(count));
      between = ",";
    }
    std::printf("}");
  };
  std::printf("{\"requests\":%llu,\"failed\":%llu,\"connections\":%llu,\"p50_us\":%u,\"p99_us\":%u",
              static_cast<unsigned long long>(since.requests),
              static_cast<unsigned long long>(since.failed),
              static_cast<unsigned long long>(since.connections), at_rank(since.us, 0.5),
              at_rank(since.us, 0.99));
  list("by", since.by);
  list("said", since.said);
  std::printf("}\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 3 ? std::atoi(argv[1]) : 0;
  const int clients = argc == 3 ? std::atoi(argv[2]) : 0;
  if (port <= 0 || port > 65535 || clients <= 0 || clients > 1000) {
    std::fprintf(stderr, "usage: %s PORT CONNECTIONS\n", argv[0]);
    return 2;
  }
  std::vector<std::thread> all;
  for (int i = 0; i < clients; ++i) all.emplace_back(live, static_cast<std::uint16_t>(port), i);
  for (int c = 0; (c = std::getchar()) != EOF;) {
    if (c == '\n') report();
  }
  over = true;
  for (std::thread& one : all) one.join();
  report();
  return 0;
}
