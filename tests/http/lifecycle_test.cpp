// SPDX-License-Identifier: Apache-2.0
//
// How a server ends: nobody is accepted any more, who is idle goes, who has a request gets its
// answer, who was taken over is told, and what is left is cut off.
#include "http/http_fixture.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/sync.hpp>

#include <atomic>

namespace sigrun::http::test {
namespace {

class http_lifecycle_test : public http_test {};

void hello(request&, response& p) { p.text("hello\n"); }

TEST_F(http_lifecycle_test, an_idle_connection_is_closed_and_the_drain_ends) {
  server& s = start(hello);
  wire w = connect();
  w.send(get("/"));
  EXPECT_EQ(w.read().body, "hello\n");
  until([&] { return state_of(0) == "idle"; });
  s.refuse();
  EXPECT_TRUE(w.ended());
  EXPECT_TRUE(s.wait_drained_for(20s));
  EXPECT_EQ(s.statistics().open, 0u);
  EXPECT_EQ(s.statistics().requests, 1u);
}

TEST_F(http_lifecycle_test, a_request_under_way_is_answered_with_connection_close) {
  chan<int> entered(1);
  chan<int> go_on(1);
  server& s = start([&](request&, response& p) {
    entered.send(1);
    go_on.recv();
    p.text("late\n");
  });
  wire w = connect();
  w.send(get("/slow?x=1"));
  entered.recv();
  s.refuse();
  EXPECT_FALSE(s.wait_drained(std::chrono::steady_clock::now()));
  const auto running = s.connections();
  ASSERT_EQ(running.size(), 1u);
  EXPECT_EQ(running[0].state, "handler");
  EXPECT_EQ(running[0].method, "GET");
  EXPECT_EQ(running[0].target, "/slow?x=1");
  go_on.send(1);
  const reply r = w.read();
  EXPECT_EQ(r.body, "late\n");
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(w.ended());
  EXPECT_TRUE(s.wait_drained_for(20s));
}

TEST_F(http_lifecycle_test, nobody_is_accepted_any_more) {
  server& s = start(hello);
  s.close_listeners();
  std::error_code error;
  // The listener's end is that of its last operation; who comes just then is accepted by the kernel
  // and reset.
  until([&] {
    net::tcp_stream::connect(at_, {}, error);
    return error == std::errc::connection_refused;
  });
  EXPECT_THROW(s.listen({net::ip_address::loopback_v4(), 0}), std::logic_error);
  EXPECT_TRUE(s.listeners().empty());
}

TEST_F(http_lifecycle_test, a_request_on_an_open_connection_is_answered_503) {
  chan<int> entered(1);
  chan<int> go_on(1);
  server& s = start([&](request& q, response& p) {
    if (q.path() == "/hold") {
      entered.send(1);
      go_on.recv();
    }
    p.text("served\n");
  });
  wire holding = connect();
  holding.send(get("/hold"));
  entered.recv();
  wire half = connect();
  half.send("GET / HTTP/1.1\r\n");
  until([&] { return state_of(1) == "head"; });
  s.refuse();
  half.send("Host: test\r\n\r\n");
  const reply r = half.read();
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(half.ended());
  EXPECT_EQ(s.statistics().unavailable, 1u);
  go_on.send(1);
  EXPECT_EQ(holding.read().status, 200);
}

TEST_F(http_lifecycle_test, it_may_be_served_for_the_last_time_instead) {
  server& s = start(hello);
  wire w = connect();
  w.send(get("/"));
  EXPECT_EQ(w.read().status, 200);
  until([&] { return state_of(0) == "idle"; });
  s.refuse({.serve = true, .idle_grace = 20s});
  EXPECT_FALSE(s.wait_drained(std::chrono::steady_clock::now()));
  w.send(get("/"));
  const reply r = w.read();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(w.ended());
  EXPECT_TRUE(s.wait_drained_for(20s));
}

TEST_F(http_lifecycle_test, a_connection_that_was_promised_to_be_kept_is_kept_for_one_more) {
  chan<int> answered(1);
  chan<int> go_on(1);
  server& s = start([&](request& q, response& p) {
    p.text("served\n");
    if (q.path() != "/first") return;
    answered.send(1);
    go_on.recv();
  });
  wire w = connect();
  w.send(get("/first"));
  EXPECT_EQ(w.read().field("connection"), "") << "its head is out before anybody refuses";
  answered.recv();
  s.refuse({.serve = true, .idle_grace = 20s});
  w.send(get("/second"));
  go_on.send(1);
  const reply r = w.read();
  EXPECT_EQ(r.body, "served\n");
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(s.wait_drained_for(20s));
}

TEST_F(http_lifecycle_test, without_keep_alive_each_response_says_so) {
  server& s = start(hello);
  s.set_keep_alive(false);
  wire w = connect();
  w.send(get("/"));
  EXPECT_EQ(w.read().field("connection"), "close");
  EXPECT_TRUE(w.ended());
  EXPECT_EQ(s.state(), server_state::serving);
}

TEST_F(http_lifecycle_test, what_is_left_at_the_deadline_is_cut_off) {
  chan<int> entered(1);
  std::atomic<bool> saw_the_end{false};
  server& s = start([&](request& q, response&) {
    entered.send(1);
    read_until_cut_off(q, saw_the_end);
  });
  wire w = connect();
  w.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
  entered.recv();
  EXPECT_FALSE(s.shutdown(1ms));
  EXPECT_TRUE(saw_the_end);
  EXPECT_EQ(s.statistics().cut, 1u);
  EXPECT_EQ(s.statistics().open, 0u);
  EXPECT_EQ(s.state(), server_state::closed);
}

TEST_F(http_lifecycle_test, a_hijacked_connection_is_told_and_waited_for) {
  chan<int> told(1);
  server& s = start([&](request&, response& p) {
    hijacked h = p.hijack();
    h.on_refuse([&told] { told.send(1); });
    h.write(std::string_view("welcome\n"));
    char room[64];
    std::error_code error;
    const std::size_t count = h.read(room, error);
    h.write(std::string_view(room, count));
    told.recv();
    h.write(std::string_view("bye\n"));
  });
  wire w = connect();
  w.send(get("/") + "early");
  EXPECT_EQ(w.until("\n"), "welcome\n");
  EXPECT_EQ(w.take(5), "early");
  EXPECT_EQ(s.statistics().hijacked, 1u);
  s.refuse();
  EXPECT_EQ(w.read_all(), "bye\n");
  EXPECT_TRUE(s.wait_drained_for(20s));
}

TEST_F(http_lifecycle_test, a_hook_of_a_hijacked_connection_that_throws_ends_nothing) {
  server& s = start([&](request&, response& p) {
    hijacked h = p.hijack();
    h.on_refuse([] { throw std::runtime_error("no"); });
    h.write(std::string_view("welcome\n"));
    char room[64];
    h.read(room);
    h.write(std::string_view("bye\n"));
  });
  wire w = connect();
  w.send(get("/"));
  EXPECT_EQ(w.until("\n"), "welcome\n");
  s.refuse();
  until([&] { return s.statistics().handler_failures == 1; });
  w.send("x");
  EXPECT_EQ(w.read_all(), "bye\n");
  EXPECT_TRUE(s.wait_drained_for(20s));
}

// What the probe of upgrades shows between processes, from the inside.
TEST_F(http_lifecycle_test, an_idle_connection_is_passed_on_with_what_is_on_its_way) {
  std::atomic<int> copy{-1};
  server& s = start([](request&, response& p) { p.text("first\n"); });
  wire w = connect();
  w.send(get("/"));
  EXPECT_EQ(w.read().body, "first\n");
  until([&] { return s.connections().at(0).state == "idle"; });
  s.refuse({.serve = true, .pass_on = [&](int fd) {
              w.send(get("/"));  // it arrives when nobody here reads any more
              copy = ::dup(fd);
              return true;
            }});
  EXPECT_TRUE(s.wait_drained_for(20s));
  EXPECT_EQ(s.statistics().passed_on, 1u);
  server next([](request&, response& p) { p.text("second\n"); });
  next.serve(net::tcp_stream::adopt(copy.load()));
  EXPECT_EQ(w.read().body, "second\n");
}

TEST_F(http_lifecycle_test, an_idle_connection_that_nobody_takes_is_closed) {
  server& s = start([](request&, response& p) { p.text("first\n"); });
  wire w = connect();
  w.send(get("/"));
  EXPECT_EQ(w.read().body, "first\n");
  s.refuse({.serve = true, .pass_on = [](int) -> bool { throw std::runtime_error("no"); }});
  EXPECT_TRUE(w.ended());
  EXPECT_EQ(s.statistics().passed_on, 0u);
}

TEST_F(http_lifecycle_test, a_hijacked_connection_may_outlive_its_handler) {
  std::optional<hijacked> kept;
  chan<int> done(1);
  server& s = start([&](request&, response& p) {
    kept = p.hijack();
    done.send(1);
  });
  wire w = connect();
  w.send(get("/"));
  done.recv();
  kept->write(std::string_view("still here"));
  EXPECT_EQ(w.take(10), "still here");
  s.refuse();
  EXPECT_FALSE(s.wait_drained(std::chrono::steady_clock::now()));
  kept.reset();
  EXPECT_TRUE(s.wait_drained_for(20s));
  EXPECT_TRUE(w.ended());
}

TEST_F(http_lifecycle_test, close_cuts_hijacked_connections_off) {
  chan<int> taken(1);
  chan<bool> ended(1);
  server& s = start([&](request&, response& p) {
    hijacked h = p.hijack();
    taken.send(1);
    char room[8];
    std::error_code error;
    h.read(room, error);
    ended.send(bool(error));
  });
  wire w = connect();
  w.send(get("/"));
  taken.recv();
  s.close();
  EXPECT_TRUE(ended.recv());
  EXPECT_TRUE(w.ended());
}

TEST_F(http_lifecycle_test, a_connection_just_accepted_gets_its_first_request_answered) {
  server& s = start(hello);
  wire w = connect();
  until([&] { return s.statistics().open == 1; });
  s.refuse({.serve = true});
  w.send(get("/"));
  EXPECT_EQ(w.read().status, 200);
  EXPECT_TRUE(s.wait_drained_for(20s));
}

TEST_F(http_lifecycle_test, a_hundred_requests_under_way_are_all_answered) {
  std::atomic<int> entered{0};
  wait_group hold(1);
  server& s = start([&](request&, response& p) {
    ++entered;
    hold.wait();
    p.text("done\n");
  });
  std::vector<wire> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(connect());
    clients.back().send(get("/"));
  }
  until([&] { return entered == 100; });
  EXPECT_EQ(s.statistics().active, 100u);
  s.refuse();
  hold.done();
  EXPECT_TRUE(s.wait_drained_for(30s));
  for (wire& w : clients) EXPECT_EQ(w.read().body, "done\n");
}

TEST_F(http_lifecycle_test, a_unix_socket_is_removed_unless_a_successor_has_it) {
  const std::string path = "/tmp/sigrun-http-" + std::to_string(getpid());
  {
    server s(hello);
    s.listen(net::unix_address(path));
    EXPECT_EQ(s.listeners().at(0).address, path);
    EXPECT_TRUE(s.listeners().at(0).is_unix);
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
    auto client = net::unix_stream::connect(path);
    client.write_all(get("/"));
    char room[512];
    const std::size_t count = client.read(room);
    EXPECT_TRUE(std::string_view(room, count).starts_with("HTTP/1.1 200 OK\r\n"));
  }
  EXPECT_NE(access(path.c_str(), F_OK), 0);
  {
    server s(hello);
    s.listen(net::unix_address(path));
    s.keep_paths();
  }
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  unlink(path.c_str());
}

}  // namespace
}  // namespace sigrun::http::test
