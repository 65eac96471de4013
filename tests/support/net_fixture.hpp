// SPDX-License-Identifier: Apache-2.0
//
// What tests of streams share: pairs of connected ones, work beside the test on threads or
// goroutines, and ways to know that somebody is blocked without sleeping for it.
#pragma once

#include "io/io_fd.hpp"
#include "support/callers.hpp"
#include "support/leak_guard.hpp"

#include <sigrun/go.hpp>
#include <sigrun/net.hpp>

#include <unistd.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace sigrun::test {

/// Two TCP streams connected to each other over loopback.
inline std::pair<net::tcp_stream, net::tcp_stream> tcp_pair(bool v6 = false) {
  const net::ip_address loopback =
      v6 ? net::ip_address::loopback_v6() : net::ip_address::loopback_v4();
  auto listener = net::tcp_listener::listen({loopback, 0});
  auto here = net::tcp_stream::connect(listener.local_endpoint());
  auto there = listener.accept();
  return {std::move(here), std::move(there)};
}

/// Return when an operation sleeps on that side, resp. when another waits for its turn there.
inline void until_blocked(const detail::io_handle& on, poll::side which) {
  while (!detail::io_access::state(on)->is_waited_for(which)) yield();
}
inline void until_queued(const detail::io_handle& on, poll::side which) {
  while (!detail::io_access::state(on)->is_queued_for(which)) yield();
}

/// The error that `f` puts into its argument.
template <class F>
std::error_code error_of(F&& f) {
  std::error_code error = std::make_error_code(std::errc::state_not_recoverable);
  f(error);
  return error;
}

/// One piece of work beside the test; joined at the end of the scope.
class task {
 public:
  task(bool on_thread, std::function<void()> work) {
    if (on_thread) {
      thread_ = std::thread(std::move(work));
    } else {
      goroutine_ = go(std::move(work));
    }
  }
  task(task&&) = default;
  ~task() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
    if (goroutine_.joinable()) goroutine_.join();
  }

 private:
  std::thread thread_;
  goroutine goroutine_;
};

/// Each test runs on threads, on goroutines and on both, and leaves nothing behind.
class net_test : public ::testing::TestWithParam<caller_kind> {
 protected:
  net_test() {
    // The runtime's own threads and descriptors stay; they must not count as this test's.
    static const bool started = [] {
      go([] {}).join();
      return true;
    }();
    static_cast<void>(started);
    guard_.emplace();
    alarm(50);
  }
  ~net_test() override { alarm(0); }

  /// Runs the body of a test where its parameter says.
  void run_here(std::function<void()> body) {
    task(GetParam() == caller_kind::threads, std::move(body)).join();
  }
  /// Begins work beside it.
  task beside(std::function<void()> work) {
    const bool odd = begun_.fetch_add(1) % 2 == 1;
    return {GetParam() == caller_kind::threads || (GetParam() == caller_kind::mixed && !odd),
            std::move(work)};
  }

 private:
  std::atomic<int> begun_{0};
  std::optional<leak_guard> guard_;
};

}  // namespace sigrun::test
