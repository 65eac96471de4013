// SPDX-License-Identifier: Apache-2.0
//
// An HTTP server that ends as its service does: what each phase is, seen from its clients.
#include "http/http_fixture.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/http_service.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/websocket.hpp>

#include <atomic>
#include <mutex>

namespace sigrun::http::test {
namespace {

class http_service_test : public http_test {
 protected:
  // Stays in the process, takes no signals.
  graceful_options quiet(std::chrono::nanoseconds deadline = 30s) {
    graceful_options options;
    options.signals = {};
    options.deadline = deadline;
    options.end_process = false;
    options.tell_supervisor = false;
    options.heed_grace = false;
    options.log = [this](std::string_view line) {
      const std::lock_guard hold(lock_);
      log_ += std::string(line) + "\n";
    };
    return options;
  }
  bool logged(std::string_view part) {
    const std::lock_guard hold(lock_);
    return log_.find(part) != std::string::npos;
  }
  void listen(service& web) { at_ = web.listen({net::ip_address::loopback_v4(), 0}); }
  static const stop_outcome& end_of(graceful& life) { return life.serve(); }
  static signal_event second_signal() {
    signal_event event;
    event.signo = SIGTERM;
    return event;
  }

 private:
  mutex lock_;
  std::string log_;
};

router routes_of(const graceful& life) {
  router routes;
  routes.get("/", [](request&, response& p) { p.text("served\n"); });
  routes.get("/readyz", readiness(life));
  routes.get("/livez", liveness());
  return routes;
}

TEST_F(http_service_test, the_readiness_endpoint_follows_the_phases) {
  graceful_options options = quiet(48h);
  options.lame_duck = 24h;
  graceful life(std::move(options));
  service web(life, "http", routes_of(life));
  listen(web);
  const reply starting = ask(get("/readyz"));
  EXPECT_EQ(starting.status, 503);
  EXPECT_EQ(starting.body, "starting\n");
  EXPECT_EQ(starting.field("cache-control"), "no-store");
  life.ready();
  EXPECT_EQ(ask(get("/readyz")).status, 200);
  life.begin_stop();
  until([&] { return life.phase() == stop_phase::listen; });
  const reply leaving = ask(get("/readyz"));
  EXPECT_EQ(leaving.status, 503);
  EXPECT_EQ(leaving.body, "listen\n");
  EXPECT_EQ(ask(get("/livez")).status, 200);
  life.begin_stop(second_signal());
  EXPECT_TRUE(end_of(life).cut_short);
}

TEST_F(http_service_test, in_the_lame_duck_time_all_is_served_and_clients_are_sent_elsewhere) {
  graceful_options options = quiet(48h);
  options.lame_duck = 24h;
  graceful life(std::move(options));
  service web(life, "http", routes_of(life));
  listen(web);
  wire kept = connect();
  kept.send(get("/"));
  EXPECT_EQ(kept.read().field("connection"), "");
  life.begin_stop();
  until([&] { return logged("24 h") || life.phase() == stop_phase::listen; });
  // The hook `leaving` runs in a goroutine: who asks before it has is kept once more.
  reply r;
  until([&] {
    wire fresh = connect();
    fresh.send(get("/"));
    r = fresh.read();
    EXPECT_EQ(r.status, 200);
    return r.field("connection") == "close";
  });
  kept.send(get("/"));
  r = kept.read();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(kept.ended());
  life.begin_stop(second_signal());
  end_of(life);
}

TEST_F(http_service_test, a_request_under_way_is_named_each_second_and_finished) {
  chan<int> entered(1);
  chan<int> go_on(1);
  graceful life(quiet());
  service web(life, "web", [&](request&, response& p) {
    entered.send(1);
    go_on.recv();
    p.text("late\n");
  });
  listen(web);
  wire w = connect();
  w.send(get("/slow"));
  entered.recv();
  wire idle = connect();
  life.begin_stop();
  until([&] { return logged("web: 1 connections: handler GET /slow of 127.0.0.1:"); });
  EXPECT_TRUE(logged("1 still running: web, "));
  EXPECT_TRUE(idle.ended());
  go_on.send(1);
  const reply r = w.read();
  EXPECT_EQ(r.body, "late\n");
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(w.ended());
  EXPECT_FALSE(end_of(life).forced);
}

TEST_F(http_service_test, a_request_on_an_open_connection_is_answered_503_from_refuse_on) {
  chan<int> refused(1);
  graceful life(quiet());
  life.on(stop_phase::refuse, 0, "the test looks", [&] { refused.send(1); });
  service web(life, "http", routes_of(life));
  listen(web);
  wire half = connect();
  half.send("GET / HTTP/1.1\r\n");
  until([&] {
    const auto all = web.server().connections();
    return !all.empty() && all[0].state == "head";
  });
  life.begin_stop();
  refused.recv();
  half.send("Host: test\r\n\r\n");
  const reply r = half.read();
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(half.ended());
  EXPECT_FALSE(end_of(life).forced);
}

TEST_F(http_service_test, a_websocket_is_closed_with_1001_and_waited_for) {
  chan<int> open(1);
  chan<close_reason> reasons(1);
  graceful life(quiet());
  service web(life, "http", [&](request& q, response& p) {
    websocket ws = websocket::accept(q, p);
    open.send(1);
    while (ws.read()) {
    }
  });
  listen(web);
  goroutine client = go([&] {
    websocket ws = websocket::connect("ws://" + at_.to_string() + "/");
    while (ws.read()) {
    }
    reasons.send(ws.reason());
  });
  open.recv();
  life.begin_stop();
  EXPECT_FALSE(end_of(life).forced);
  EXPECT_EQ(reasons.recv()->code, 1001);
  client.join();
}

TEST_F(http_service_test, what_runs_at_the_deadline_is_named_and_cut_off) {
  chan<int> entered(2);
  std::atomic<bool> saw_the_end{false};
  graceful life(quiet(50ms));
  service web(life, "http", [&](request& q, response&) {
    entered.send(1);
    read_until_cut_off(q, saw_the_end);
  });
  listen(web);
  wire w = connect();
  w.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
  entered.recv();
  life.begin_stop();
  const stop_outcome& end = end_of(life);
  EXPECT_TRUE(end.forced);
  ASSERT_EQ(end.still_running.size(), 1u);
  EXPECT_TRUE(end.still_running[0].starts_with("http, ")) << end.still_running[0];
  until([&] { return logged("handler POST /upload of"); });  // the log has a thread of its own
  until([&] { return saw_the_end.load(); });
  EXPECT_EQ(web.server().statistics().cut, 1u);
}

// Whoever has connected was promised to be heard by the kernel: a close with connections in its
// queue would reset them.
TEST_F(http_service_test, who_has_connected_is_answered_though_the_listener_closes_just_then) {
  for (int round = 0; round < 30; ++round) {
    http::server s([](request&, response& p) { p.text("served\n"); });
    at_ = s.listen({net::ip_address::loopback_v4(), 0});
    std::vector<wire> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(connect());
      clients.back().send(get("/"));
    }
    s.refuse();
    for (wire& w : clients) {
      const reply r = w.read();
      EXPECT_TRUE(r.status == 200 || r.status == 503) << "round " << round << ": " << r.status;
    }
    EXPECT_TRUE(s.wait_drained_for(20s));
  }
}

}  // namespace
}  // namespace sigrun::http::test
