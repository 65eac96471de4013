// SPDX-License-Identifier: Apache-2.0
//
// Calls: what a client sends, what it makes of answers, good ones and others.
#include "http/http_fixture.hpp"

#include <sigrun/http_client.hpp>

namespace sigrun::http::test {
namespace {

class http_client_test : public http_test {
 protected:
  std::string base() const { return "http://" + at_.to_string(); }
  /// A server that answers each connection with given bytes and closes it.
  goroutine answers(std::string bytes) {
    listener_ = net::tcp_listener::listen({net::ip_address::loopback_v4(), 0});
    at_ = listener_.local_endpoint();
    return go([this, bytes] {
      std::error_code error;
      for (;;) {
        auto stream = listener_.accept(error);
        if (error) return;
        char room[4096];
        stream.read(room, error);
        stream.write_all(bytes, error);
        stream.shutdown_write(error);
        while (stream.read(room, error) != 0 && !error) {
        }
        error.clear();
      }
    });
  }
  net::tcp_listener listener_;
};

TEST_F(http_client_test, a_url_has_its_parts_or_is_refused_by_name) {
  const url plain = url::parse("http://example.org/a?b#c");
  EXPECT_EQ(plain.host, "example.org");
  EXPECT_EQ(plain.port, "80");
  EXPECT_EQ(plain.target, "/a?b");
  EXPECT_EQ(plain.authority(), "example.org");
  const url six = url::parse("WSS://[2001:db8::1]:8443?x");
  EXPECT_TRUE(six.secure);
  EXPECT_EQ(six.host, "2001:db8::1");
  EXPECT_EQ(six.target, "/?x");
  EXPECT_EQ(six.authority(), "[2001:db8::1]:8443");
  for (const char* const bad :
       {"", "example.org", "ftp://a/", "http://", "http://:80/", "http://me@a/", "http://a:0/",
        "http://a:99999/", "http://a:x/", "http://[::1/", "http://[::1]x/", "http://a/b c",
        "http://a/\r\nX: y"}) {
    try {
      url::parse(bad);
      ADD_FAILURE() << bad;
    } catch (const std::invalid_argument& refused) {
      EXPECT_NE(std::string(refused.what()).find(bad), std::string::npos);
    }
  }
}

TEST_F(http_client_test, calls_share_a_connection) {
  server& s = start([](request& q, response& p) {
    p.set("X-Method", q.method());
    if (q.has_header("X-Sent")) p.set("X-Got", q.header_value("X-Sent"));
    p.text(std::string(q.target()) + " " + q.body());
  });
  client c;
  EXPECT_EQ(c.get(base() + "/a?b").body, "/a?b ");
  EXPECT_EQ(c.post(base() + "/p", "text/plain", "body").body, "/p body");
  client_request put{.method = "PUT", .url = base() + "/q", .body = std::string(100'000, 'x')};
  put.headers.set("X-Sent", "sent");
  const client_response r = c.send(put);
  EXPECT_EQ(r.headers.get("x-method"), "PUT");
  EXPECT_EQ(r.headers.get("x-got"), "sent");
  EXPECT_EQ(r.body.size(), 100'003u);
  EXPECT_EQ(c.send({.method = "HEAD", .url = base() + "/h"}).headers.get("x-method"), "HEAD");
  EXPECT_EQ(c.idle(), 1u);
  EXPECT_EQ(s.statistics().connections, 1u);
}

TEST_F(http_client_test, a_kept_connection_that_was_closed_is_replaced) {
  server& s = start([](request& q, response& p) {
    if (q.path() == "/last") p.set("Connection", "close");
    p.text("ok\n");
  });
  client c;
  EXPECT_EQ(c.get(base()).status, 200);
  s.set_keep_alive(false);
  EXPECT_EQ(c.get(base()).status, 200);
  EXPECT_EQ(c.idle(), 0u) << "it said close";
  s.set_keep_alive(true);
  EXPECT_EQ(c.get(base()).status, 200);
  stop();
  until([] { return true; });
  EXPECT_THROW(c.get(base()), std::system_error);
}

TEST_F(http_client_test, bodies_of_all_framings_are_read) {
  for (const char* const answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}) {
    goroutine g = answers(answer);
    EXPECT_EQ(client().get(base()).body, "hello") << answer;
    listener_.close();
    g.join();
  }
}

TEST_F(http_client_test, answers_that_are_no_http_are_refused) {
  const std::string endless = "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x');
  std::string interim;
  for (int i = 0; i < 50; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  for (const std::string& answer :
       {"nonsense\r\n\r\n"s, endless, interim, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"s,
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhello"s,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"s,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"s,
        "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"s}) {
    goroutine g = answers(answer);
    EXPECT_THROW(client().get(base()), protocol_error) << answer.substr(0, 60);
    listener_.close();
    g.join();
  }
  goroutine g = answers("");
  EXPECT_THROW(client().get(base()), std::system_error);
  listener_.close();
  g.join();
}

TEST_F(http_client_test, its_time_is_for_the_call_as_a_whole) {
  server& s = start([](request& q, response&) { until([&] { return q.client_is_gone(); }); });
  client c({.timeout = 50ms});
  try {
    c.get(base());
    ADD_FAILURE();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::timed_out);
  }
  until([&] { return s.statistics().open == 0; });
}

TEST_F(http_client_test, a_body_beyond_its_limit_is_refused) {
  start([](request& q, response& p) {
    for (int i = 0; i < 100; ++i) p.write(std::string(1000, 'x'));
    if (q.path() == "/flush") p.flush();
  });
  client c({.body = 50'000});
  EXPECT_THROW(c.get(base()), protocol_error);
}

TEST_F(http_client_test, a_unix_socket_is_reached_by_its_path) {
  const std::string path = "/tmp/sigrun-http-client-" + std::to_string(getpid());
  server s([](request& q, response& p) { p.text(std::string(q.host()) + q.remote()); });
  s.listen(net::unix_address(path));
  EXPECT_EQ(client({.unix_path = path}).get("http://service/").body, "serviceunix");
}

TEST_F(http_client_test, misuse_is_refused) {
  client c;
  EXPECT_THROW(c.get("nonsense"), std::invalid_argument);
  start([](request&, response&) {});
  EXPECT_THROW(c.send({.method = "G T", .url = base()}), std::invalid_argument);
}

}  // namespace
}  // namespace sigrun::http::test
