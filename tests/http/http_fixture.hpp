// SPDX-License-Identifier: Apache-2.0
//
// A server under test, and a client that sends any bytes and takes answers apart by itself: it
// shares no code with the server.
#pragma once

#include "support/leak_guard.hpp"

#include <sigrun/go.hpp>
#include <sigrun/http_server.hpp>
#include <sigrun/net.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sigrun::http::test {

using namespace std::chrono_literals;
using namespace std::string_literals;

struct reply {
  int status = 0;  // 0: there was none
  std::string status_line;
  std::multimap<std::string, std::string> fields;  // names in lower case
  std::string body;
  bool complete = false;  // the framing's end was seen

  std::string field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string() : found->second;
  }
};

/// A client's end. Reads have a dead-man limit.
class wire {
 public:
  explicit wire(net::tcp_stream stream) : stream_(std::move(stream)) {
    stream_.set_read_deadline_in(30s);
  }

  void send(std::string_view bytes) { stream_.write_all(bytes); }
  /// Whether it went well; for servers that may have hung up.
  bool try_send(std::string_view bytes) {
    std::error_code error;
    stream_.write_all(bytes, error);
    return !error;
  }
  net::tcp_stream& stream() { return stream_; }

  /// The next answer; `head` when it is one to HEAD.
  reply read(bool head = false) {
    reply r;
    const std::string text = until("\r\n\r\n");
    if (text.empty()) return r;
    std::size_t at = text.find("\r\n");
    r.status_line = text.substr(0, at);
    r.status = std::atoi(r.status_line.substr(9, 3).c_str());
    at += 2;
    while (at + 2 < text.size()) {
      const std::size_t end = text.find("\r\n", at);
      const std::size_t colon = text.find(':', at);
      std::string name = text.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      r.fields.emplace(name, text.substr(colon + 2, end - colon - 2));
      at = end + 2;
    }
    read_body(r, head);
    return r;
  }

  /// Whether the server ends the connection now, having sent nothing more.
  bool ended() {
    if (!rest_.empty()) return false;
    char byte[1];
    std::error_code error;
    const std::size_t count = stream_.read(byte, error);
    return count == 0 && error != std::errc::timed_out;
  }
  /// All until the end.
  std::string read_all() {
    while (more()) {
    }
    return std::exchange(rest_, {});
  }
  std::string take(std::size_t count) {
    while (rest_.size() < count && more()) {
    }
    std::string taken = rest_.substr(0, count);
    rest_.erase(0, taken.size());
    return taken;
  }
  std::string until(std::string_view end) {
    std::size_t found;
    while ((found = rest_.find(end)) == std::string::npos) {
      if (!more()) return {};
    }
    std::string taken = rest_.substr(0, found + end.size());
    rest_.erase(0, taken.size());
    return taken;
  }

 private:
  bool more() {
    char room[16384];
    std::error_code error;
    const std::size_t count = stream_.read(room, error);
    if (error == std::errc::timed_out) ADD_FAILURE() << "the server says nothing";
    rest_.append(room, count);
    return count != 0;
  }

  void read_body(reply& r, bool head) {
    if (head || r.status == 204 || r.status == 304 || r.status < 200) {
      r.complete = true;
    } else if (r.fields.contains("content-length")) {
      const auto length = std::strtoull(r.field("content-length").c_str(), nullptr, 10);
      r.body = take(length);
      r.complete = r.body.size() == length;
    } else if (r.field("transfer-encoding") == "chunked") {
      for (;;) {
        const std::string line = until("\r\n");
        if (line.empty()) return;
        const std::size_t size = std::strtoul(line.c_str(), nullptr, 16);
        const std::string chunk = take(size);
        if (chunk.size() != size || until("\r\n") != "\r\n") return;
        r.body += chunk;
        if (size == 0) break;
      }
      r.complete = true;
    } else {
      r.body = read_all();
      r.complete = true;
    }
  }

  net::tcp_stream stream_;
  std::string rest_;
};

/// A handler's: reads what has been asked of it, and says so when the server ends that.
inline void read_until_cut_off(request& q, std::atomic<bool>& saw_the_end) {
  char room[10];
  try {
    while (q.read(room) != 0) {
    }
  } catch (const std::exception&) {
    saw_the_end = true;
    throw;
  }
}

class http_test : public ::testing::Test {
 protected:
  http_test() {
    static const bool started = [] {
      go([] {}).join();
      return true;
    }();
    static_cast<void>(started);
    guard_.emplace();
    alarm(100);
  }
  ~http_test() override {
    guard_.reset();
    alarm(0);
  }
  /// Handlers may use members of the test's own fixture, which go before ours.
  void TearDown() override { server_.reset(); }

  /// A server on a port of its own.
  server& start(handler h, server_options options = {}, const listen_options& listening = {}) {
    server_ = std::make_unique<server>(std::move(h), std::move(options));
    at_ = server_->listen({net::ip_address::loopback_v4(), 0}, listening);
    return *server_;
  }
  wire connect() { return wire(net::tcp_stream::connect(at_)); }
  /// One answer to some bytes on a connection of their own.
  reply ask(std::string_view bytes, bool head = false) {
    wire w = connect();
    w.try_send(bytes);
    return w.read(head);
  }
  static std::string get(std::string_view target, std::string_view more = {}) {
    return "GET " + std::string(target) + " HTTP/1.1\r\nHost: test\r\n" + std::string(more) +
           "\r\n";
  }
  static std::string post(std::string_view target, std::string_view body) {
    return "POST " + std::string(target) +
           " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
  }
  /// For tests whose handlers use what lives in the test's body.
  void stop() { server_.reset(); }
  /// Of the connection that is so many from the oldest; empty when there are fewer.
  std::string state_of(std::size_t which) {
    const auto all = server_->connections();
    return which < all.size() ? all[which].state : std::string();
  }

  std::unique_ptr<server> server_;
  net::endpoint at_;

 private:
  std::optional<sigrun::test::leak_guard> guard_;
};

/// Waits for what only the server knows, in turns.
template <class F>
void until(F ready) {
  while (!ready()) sigrun::yield();
}

}  // namespace sigrun::http::test
