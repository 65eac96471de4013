// SPDX-License-Identifier: Apache-2.0
//
// An HTTP server that ends as its service does: <sigrun/graceful.hpp> tells it when.
//
//   int main() {
//     return sigrun::run_service({.lame_duck = 5s}, [](sigrun::graceful& life) {
//       sigrun::http::router routes;
//       routes.get("/hello", [](auto&, auto& response) { response.text("hello\n"); });
//       routes.get("/readyz", sigrun::http::readiness(life));
//       sigrun::http::service web(life, "http", routes);
//       web.listen(*sigrun::net::endpoint::parse("[::]:8080"));
//       life.serve();
//     });
//   }
//
// Needs both sigrun::service and sigrun::http. In the phases of the end:
//   listen   the readiness endpoint answers 503, and each response has "Connection: close", so that
//            clients make their next connection elsewhere; everything is served
//   refuse   what the kernel had queued is accepted, listeners and idle connections are closed,
//            further requests are answered as `refuse_options` say, WebSockets closed with 1001
//   drain    requests under way and hijacked connections are waited for, and named each second
// At the deadline, or a second signal, the rest is cut off.
//
// Threads: everything may be called from any goroutine and any thread; nothing in a signal handler.
#pragma once

#include <sigrun/graceful.hpp>
#include <sigrun/http_server.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

namespace sigrun::http {

struct service_options {
  server_options server{};
  /// How requests on open connections are treated from the phase `refuse` on.
  refuse_options refuse{};
  /// The same when a successor has taken over (<sigrun/upgrade.hpp>): what still comes here is
  /// served, and its client sent there by "Connection: close". A connection that is idle is passed
  /// on to the successor's service of the same name, if that serves without TLS; so is what is on
  /// its way there.
  refuse_options handed_on{.serve = true, .idle_grace = std::chrono::seconds(1)};
};

namespace detail {

class service_server final : public drainable {
 public:
  static constexpr std::size_t named_max = 10;

  service_server(graceful& life, std::string name, handler h, service_options options)
      : life_(life),
        name_(std::move(name)),
        refuse_options_(options.refuse),
        handed_on_(options.handed_on),
        served(std::move(h), std::move(options.server)) {}

  void leaving() override { served.set_keep_alive(false); }
  void refuse() override {
    if (life_.successor() == 0) return served.refuse(refuse_options_);
    served.keep_paths();
    refuse_options how = handed_on_;
    if (!how.pass_on) how.pass_on = [this](int fd) { return life_.pass_connection(name_, fd); };
    served.refuse(how);
  }
  /// From a predecessor, whose clients of before expect no TLS.
  void take_connections(const listen_options& options) {
    if (options.tls != nullptr) return;
    life_.take_connections(name_, [this](net::tcp_stream one) { served.serve(std::move(one)); });
  }
  void end() {
    life_.take_connections(name_, {});
    served.close();
  }
  // cut_off() ends this too.
  void drain(const context&) override { served.wait_drained(net::no_deadline); }
  void cut_off() noexcept override { served.cut_off(); }
  std::string in_flight() const override {
    const auto open = served.connections();
    if (open.empty()) return {};
    std::string text = std::to_string(open.size()) + " connections:";
    for (std::size_t i = 0; i < open.size() && i < named_max; ++i) text += describe(open[i]);
    if (open.size() > named_max) text += " …";
    return text;
  }

 private:
  static std::string describe(const connection_info& one) {
    char age[32];
    std::snprintf(age, sizeof age, ", %.1f s;",
                  std::chrono::duration<double>(one.in_state).count());
    std::string text = " " + one.state;
    if (!one.method.empty()) text += " " + one.method + " " + one.target;
    return text + " of " + one.remote + age;
  }

  graceful& life_;
  const std::string name_;
  const refuse_options refuse_options_;
  const refuse_options handed_on_;

 public:
  server served;
};

}  // namespace detail

class service {
 public:
  /// Throws as graceful::add() and the server's constructor do. `life` must outlive it.
  service(graceful& life, std::string name, handler h, service_options options = {})
      : state_(std::make_shared<detail::service_server>(life, name, std::move(h),
                                                        std::move(options))) {
    life.add(std::move(name), state_);
  }
  /// server::close(): what handlers refer to may go afterwards.
  ~service() { state_->end(); }
  service(const service&) = delete;
  service& operator=(const service&) = delete;

  /// As server::listen().
  net::endpoint listen(const net::endpoint& at, const listen_options& options = {}) {
    state_->take_connections(options);
    return state_->served.listen(at, options);
  }
  void listen(const net::unix_address& at, const listen_options& options = {}) {
    state_->served.listen(at, options);
  }
  /// Takes a listener over: inherited from a supervisor, or passed.
  void serve(net::tcp_listener listener, const listen_options& options = {}) {
    state_->take_connections(options);
    state_->served.serve(std::move(listener), options);
  }
  void serve(net::unix_listener listener, const listen_options& options = {}) {
    state_->served.serve(std::move(listener), options);
  }

  /// For all else. Its end belongs to the service.
  http::server& server() noexcept { return state_->served; }

 private:
  std::shared_ptr<detail::service_server> state_;
};

/// Answers 200 while the service is ready and serves, 503 otherwise; the text is the phase. For
/// load balancers and readiness probes: from the first signal on it says 503.
inline handler readiness(const graceful& life) {
  return [&life](request&, response& p) {
    const bool ready = life.is_ready();
    p.status(ready ? 200 : 503);
    p.set("Cache-Control", "no-store");
    const stop_phase phase = life.phase();
    p.text(ready                          ? std::string("ready\n")
           : phase == stop_phase::serving ? std::string("starting\n")
                                          : std::string(to_string(phase)) + "\n");
  };
}

/// Answers 200 as long as a goroutine can: for liveness probes, also while the service ends.
inline handler liveness() {
  return [](request&, response& p) {
    p.set("Cache-Control", "no-store");
    p.text("alive\n");
  };
}

}  // namespace sigrun::http
