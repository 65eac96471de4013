// SPDX-License-Identifier: Apache-2.0
//
// A running upgrade_probe and all that come after it, and clients of it.
#pragma once

#include "support/child_process.hpp"

#include <sigrun/children.hpp>
#include <sigrun/go.hpp>
#include <sigrun/net.hpp>
#include <sigrun/sync.hpp>

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace sigrun::test {

inline constexpr auto patience = std::chrono::seconds(40);

/// Who serves, as the probe says it.
struct serving {
  int pid = 0;
  int http = 0;
  int echo = 0;
};

class upgraded_service {
 public:
  explicit upgraded_service(std::vector<std::string> environment = {}, std::string program = {},
                            std::vector<std::pair<int, int>> files = {}) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // successors become this process's children
    if (program.empty()) program = beside_self("upgrade_probe");
    process::start_options how;
    how.spawn.environment = std::move(environment);
    how.spawn.files = std::move(files);
    how.pipe_out = true;
    first_ = process::start({program}, how);
    pids_.push_back(first_.pid());
    reader_ = go([this] {
      std::string text;
      char part[1024];
      std::error_code error;
      while (const std::size_t n = first_.out.read(part, error)) {
        text.append(part, n);
        for (std::size_t end; (end = text.find('\n')) != std::string::npos;) {
          lines_.send(text.substr(0, end));
          text.erase(0, end + 1);
        }
      }
      lines_.close();
    });
    now_ = next();
  }
  ~upgraded_service() {
    for (const int pid : pids_) ::kill(pid, SIGKILL);
    first_.wait();
    kill_orphans();
    reader_.join();
  }
  upgraded_service(const upgraded_service&) = delete;
  upgraded_service& operator=(const upgraded_service&) = delete;

  const serving& now() const { return now_; }
  int pid() const { return now_.pid; }

  /// The next line; "" when there is none in time.
  std::string line() {
    std::string one;
    if (lines_.recv_for(patience, one) != chan_status::ok) return {};
    return one;
  }
  bool await_line(const std::string& wanted) {
    for (std::string one = line(); !one.empty(); one = line()) {
      if (one == wanted) return true;
    }
    return false;
  }
  /// Waits until somebody else is in charge.
  const serving& await_next() {
    now_ = next();
    pids_.push_back(now_.pid);
    return now_;
  }
  void ask(int pid) const { ::kill(pid, SIGUSR2); }

  /// How it ended, as waitpid(2) gives it; -1: it has not, in time. Predecessors come first.
  int end_of(int pid) {
    for (const auto& [ended, status] : ended_) {
      if (ended == pid) return status;
    }
    int status = -1;
    if (pid == first_.pid()) {
      const auto how = first_.wait_for(patience);
      if (!how) return -1;
      status = how->signal != 0 ? how->signal : how->code << 8;
    } else {
      const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
      if (fd < 0) return -1;
      pollfd end{fd, POLLIN, 0};
      const int ready = ::poll(&end, 1, 40'000);
      ::close(fd);
      if (ready != 1 || ::waitpid(pid, &status, 0) != pid) return -1;
    }
    ended_.emplace_back(pid, status);
    return status;
  }

  /// Children of this process that it has not made: what predecessors have left behind.
  static std::vector<int> orphans() {
    std::vector<int> found;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream children(thread.path() / "children");
      for (int pid; children >> pid;) found.push_back(pid);
    }
    return found;
  }
  /// Until another one answers, which the old one may still do for a moment.
  void await_answer_of(int pid) const {
    while (get("/pid") != std::to_string(pid)) yield();
  }

  net::endpoint http() const { return at(now_.http); }
  net::endpoint echo() const { return at(now_.echo); }
  static net::endpoint at(int port) {
    return {net::ip_address::loopback_v4(), static_cast<std::uint16_t>(port)};
  }
  /// The body of an answer, over a connection of its own.
  std::string get(const std::string& target) const { return get_from(http(), target); }
  static std::string get_from(const net::endpoint& where, const std::string& target) {
    auto stream = net::tcp_stream::connect(where);
    stream.set_deadline_in(patience);
    stream.write_all("GET " + target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    std::string all;
    char part[4096];
    while (const std::size_t n = stream.read(part)) all.append(part, n);
    const std::size_t body = all.find("\r\n\r\n");
    if (body == std::string::npos) throw std::runtime_error("no answer: " + all);
    return all.substr(body + 4);
  }

 private:
  static void kill_orphans() {
    for (std::vector<int> all = orphans(); !all.empty(); all = orphans()) {
      for (const int pid : all) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
      }
    }
  }
  serving next() {
    serving one;
    for (std::string text = line(); !text.empty(); text = line()) {
      if (std::sscanf(text.c_str(), "serving %d %d %d", &one.pid, &one.http, &one.echo) == 3) break;
    }
    return one;
  }

  process::job first_;
  goroutine reader_;
  chan<std::string> lines_{1000};
  serving now_;
  std::vector<int> pids_;
  std::vector<std::pair<int, int>> ended_;
};

/// Clients that never stop asking, and forgive nothing: a request that is not answered 200, whole,
/// is a failure, also on a connection that was kept.
class constant_load {
 public:
  constant_load(net::endpoint http, net::endpoint echo, int kept, int fresh, int echoes)
      : http_(http), echo_(echo) {
    for (int i = 0; i < kept; ++i) clients_.push_back(go([this] { ask(true); }));
    for (int i = 0; i < fresh; ++i) clients_.push_back(go([this] { ask(false); }));
    for (int i = 0; i < echoes; ++i) clients_.push_back(go([this] { say(); }));
  }
  ~constant_load() { stop(); }

  void stop() {
    over_.store(true);
    for (goroutine& one : clients_) {
      if (one.joinable()) one.join();
    }
  }
  std::uint64_t answered() const { return answered_.load(); }
  void await_answers(std::uint64_t more) const {
    const std::uint64_t until = answered() + more;
    while (answered() < until && failures() == 0) yield();
  }
  std::uint64_t failures() const { return failed_.load(); }
  std::string first_failure() const {
    const std::lock_guard hold(lock_);
    return what_;
  }

 private:
  void fail(const std::string& what) {
    failed_.fetch_add(1);
    const std::lock_guard hold(lock_);
    if (what_.empty()) what_ = what;
  }

  void ask(bool kept) {
    net::tcp_stream stream;
    int on_this = 0;
    while (!over_.load()) {
      try {
        if (!stream.is_open()) {
          stream = net::tcp_stream::connect(http_);
          on_this = 0;
        }
        stream.set_deadline_in(patience);
        stream.write_all("GET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
        bool keep = false;
        read_answer(stream, keep);
        answered_.fetch_add(1);
        ++on_this;
        if (!keep || !kept) stream = {};
      } catch (const std::exception& failure) {
        fail(std::string(failure.what()) + ", request " + std::to_string(on_this + 1) +
             " of its connection");
        stream = {};
      }
    }
  }
  static void read_answer(net::tcp_stream& stream, bool& keep) {
    std::string all;
    std::size_t need = std::string::npos;
    while (all.size() < need) {
      char part[2048];
      const std::size_t n = stream.read(part);
      if (n == 0) throw std::runtime_error("the stream ended after \"" + all + "\"");
      all.append(part, n);
      const std::size_t head = all.find("\r\n\r\n");
      if (head == std::string::npos || need != std::string::npos) continue;
      const std::size_t length = all.find("Content-Length: ");
      if (!all.starts_with("HTTP/1.1 200") || length == std::string::npos) {
        throw std::runtime_error("the answer is \"" + all + "\"");
      }
      need = head + 4 + std::stoul(all.substr(length + 16));
    }
    keep = all.find("Connection: close") == std::string::npos;
  }

  // One line there and back on a connection of its own: none may be refused or reset.
  void say() {
    while (!over_.load()) {
      try {
        auto stream = net::tcp_stream::connect(echo_);
        stream.set_deadline_in(patience);
        stream.write_all("hello");
        char answer[5];
        stream.read_full(answer);
        answered_.fetch_add(1);
      } catch (const std::exception& failure) {
        fail(std::string(failure.what()) + ", echo");
      }
    }
  }

  const net::endpoint http_;
  const net::endpoint echo_;
  std::atomic<bool> over_{false};
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> failed_{0};
  mutable mutex lock_;
  std::string what_;
  std::vector<goroutine> clients_;
};

}  // namespace sigrun::test
