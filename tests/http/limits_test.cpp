// SPDX-License-Identifier: Apache-2.0
//
// Clients that are slow, many, or there for nothing: each costs a bounded time and memory, and the
// others are served meanwhile. Time limits are short here and only ever waited for.
#include "http/http_fixture.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/select.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <vector>

namespace sigrun::http::test {
namespace {

class http_limits_test : public http_test {
 protected:
  static server_options hasty() {
    server_options options;
    options.timeouts.header = options.timeouts.body = options.timeouts.idle =
        options.timeouts.write = 100ms;
    options.timeouts.linger = 50ms;
    return options;
  }
};

void hello(request&, response& p) { p.text("hello\n"); }
void echo(request& q, response& p) { p.text(q.body()); }

TEST_F(http_limits_test, a_head_that_does_not_end_is_answered_408) {
  server& s = start(hello, hasty());
  wire w = connect();
  w.send("GET / HTTP/1.1\r\nHost: a\r\n");
  EXPECT_EQ(w.read().status, 408);
  EXPECT_TRUE(w.ended());
  EXPECT_EQ(s.statistics().timed_out, 1u);
}

TEST_F(http_limits_test, a_head_that_drips_in_is_answered_408) {
  start(hello, hasty());
  wire w = connect();
  w.send("GET / HTTP/1.1\r\n");
  // A slow loris: always a little more, never the end. It is cut off all the same.
  std::error_code error;
  std::atomic<bool> sending{true};
  goroutine drips = go([&] {
    for (int i = 0; sending.load() && i < 100'000 && !error; ++i) {
      w.stream().write_all("X: y\r\n", error);
      chan<int> never;
      select_for(2ms, recv_case(never));
    }
  });
  const reply r = w.read();
  sending.store(false);
  drips.join();
  EXPECT_TRUE(r.status == 408 || r.status == 431) << r.status;
}

TEST_F(http_limits_test, a_connection_that_says_nothing_is_closed) {
  server& s = start(hello, hasty());
  wire w = connect();
  EXPECT_TRUE(w.ended());
  wire kept = connect();
  kept.send(get("/"));
  EXPECT_EQ(kept.read().status, 200);
  EXPECT_TRUE(kept.ended());
  EXPECT_EQ(s.statistics().malformed, 0u);
}

TEST_F(http_limits_test, a_body_that_does_not_come_is_answered_408) {
  server& s = start(echo, hasty());
  wire w = connect();
  w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
  const reply r = w.read();
  EXPECT_EQ(r.status, 408);
  EXPECT_EQ(r.field("connection"), "close");
  EXPECT_TRUE(w.ended());
  EXPECT_EQ(s.statistics().timed_out, 1u);
}

TEST_F(http_limits_test, what_a_body_has_won_in_time_is_no_store) {
  // A megabyte at once, and then nothing: it does not wait for the thousand seconds it was worth.
  server_options options = hasty();
  // On a busy machine it may be given up before it has sent all of it, and is told all the same.
  options.timeouts.linger = 20s;
  start(echo, options);
  wire w = connect();
  w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" +
         std::string(1'000'000, 'x'));
  EXPECT_EQ(w.read().status, 408);
}

TEST_F(http_limits_test, a_handler_that_takes_its_time_costs_the_client_none) {
  server_options options = hasty();
  chan<int> entered(1);
  chan<int> go_on(1);
  start(
      [&](request& q, response& p) {
        entered.send(1);
        go_on.recv();
        p.text(q.body());
      },
      options);
  wire w = connect();
  w.send(post("/", "hello"));
  entered.recv();
  chan<int> never;
  select_for(300ms, recv_case(never));  // longer than each limit
  go_on.send(1);
  EXPECT_EQ(w.read().body, "hello");
  stop();
}

TEST_F(http_limits_test, a_client_that_does_not_read_is_given_up) {
  server_options options = hasty();
  options.limits.body_rate = 1 << 30;
  chan<bool> threw(1);
  server& s = start(
      [&](request&, response& p) {
        const std::string part(1 << 20, 'x');
        try {
          for (int i = 0; i < 1000; ++i) p.write(part);
        } catch (const std::system_error&) {
          threw.send(true);
          throw;
        }
        threw.send(false);
      },
      options);
  wire w = connect();
  w.send(get("/"));
  EXPECT_TRUE(threw.recv());
  until([&] { return s.statistics().open == 0; });
  EXPECT_EQ(s.statistics().timed_out, 1u);
  EXPECT_EQ(s.statistics().handler_failures, 0u);
}

TEST_F(http_limits_test, who_sends_on_after_a_refusal_is_cut_off) {
  server& s = start(hello, hasty());
  wire w = connect();
  w.send("nonsense\r\n\r\n");
  EXPECT_EQ(w.read().status, 400);
  until([&] {
    w.try_send(std::string(1000, 'x'));
    return s.statistics().open == 0;
  });
}

TEST_F(http_limits_test, connections_beyond_the_limit_are_answered_503) {
  server_options options;
  options.limits.connections = 2;
  server& s = start(hello, options);
  wire a = connect();
  wire b = connect();
  a.send(get("/"));
  EXPECT_EQ(a.read().status, 200);
  b.send(get("/"));
  EXPECT_EQ(b.read().status, 200);
  wire c = connect();
  const reply r = c.read();
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.field("retry-after"), "1");
  EXPECT_TRUE(c.ended());
  EXPECT_EQ(s.statistics().over_limit, 1u);
  a.stream().close();
  until([&] { return s.statistics().open == 1; });
  EXPECT_EQ(ask(get("/")).status, 200);
}

TEST_F(http_limits_test, connections_of_one_client_are_limited_by_themselves) {
  server_options options;
  options.limits.connections_per_client = 1;
  server& s = start(hello, options);
  wire a = connect();
  a.send(get("/"));
  EXPECT_EQ(a.read().status, 200);
  EXPECT_EQ(connect().read().status, 429);
  net::endpoint other({net::ip_address::parse("127.0.0.2").value(), 0});
  wire b(net::tcp_stream::connect(at_, {.local = other}));
  b.send(get("/"));
  EXPECT_EQ(b.read().status, 200) << "another address";
  a.stream().close();
  until([&] { return s.statistics().open == 1; });
  EXPECT_EQ(ask(get("/")).status, 200);
}

TEST_F(http_limits_test, without_descriptors_idle_connections_go_and_others_wait) {
  server& s = start(hello);
  wire idle = connect();
  idle.send(get("/"));
  EXPECT_EQ(idle.read().status, 200);
  until([&] { return state_of(0) == "idle"; });
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  // Every descriptor is taken but one, and that is the client's.
  std::vector<int> taken;
  const int top = dup(0);
  taken.push_back(top);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(top) + 4;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  for (int fd; (fd = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0;) taken.push_back(fd);
  close(taken.back());
  taken.pop_back();
  wire waiting = connect();
  waiting.send(get("/"));
  // The idle one is closed for it, and the client behind it is served.
  EXPECT_EQ(waiting.read().status, 200);
  EXPECT_TRUE(idle.ended());
  EXPECT_GE(s.statistics().accept_failures, 1u);
  for (const int fd : taken) close(fd);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(http_limits_test, a_storm_of_resets_leaves_nothing_behind) {
  server& s = start(echo);
  for (int i = 0; i < 200; ++i) {
    wire w = connect();
    w.try_send(i % 3 == 0 ? get("/") : i % 3 == 1 ? post("/", "x").substr(0, 30) : get("/") + "GE");
    w.stream().set_linger(0s);
  }
  until([&] { return s.statistics().open == 0; });
  EXPECT_EQ(s.statistics().connections, 200u);
  EXPECT_EQ(ask(get("/")).status, 200);
}

}  // namespace
}  // namespace sigrun::http::test
