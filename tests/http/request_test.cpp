// SPDX-License-Identifier: Apache-2.0
//
// Heads: what is understood, what is refused and with which status. Whatever two servers in a row
// could understand differently is refused and the connection closed, so that no second request can
// hide behind the first (RFC 9112, chapter 11).
#include "http/http_fixture.hpp"

#include <atomic>

namespace sigrun::http::test {
namespace {

struct bad_input {
  const char* what;
  std::string bytes;
  int status;
};

class http_request_test : public http_test {
 protected:
  /// Each answered with its status, the connection closed, and no handler called.
  void expect_refused(const std::vector<bad_input>& all) {
    std::atomic<int> called{0};
    server& s = start([&](request& q, response& p) {
      ++called;
      q.body();
      p.text("hidden\n");
    });
    for (const bad_input& one : all) {
      SCOPED_TRACE(one.what);
      wire w = connect();
      w.try_send(one.bytes);
      const reply r = w.read();
      EXPECT_EQ(r.status, one.status);
      EXPECT_EQ(r.field("connection"), "close");
      EXPECT_TRUE(r.complete);
      w.stream().shutdown_write();
      EXPECT_EQ(w.read_all(), "") << "something came after the refusal";
    }
    EXPECT_EQ(called, 0);
    EXPECT_EQ(s.statistics().malformed, all.size());
    EXPECT_EQ(ask(get("/")).status, 200) << "the server goes on";
  }
};

std::string with(std::string_view fields) {
  return "GET / HTTP/1.1\r\n" + std::string(fields) + "\r\n\r\n";
}
std::string post_with(std::string_view fields, std::string_view body) {
  return "POST / HTTP/1.1\r\nHost: test\r\n" + std::string(fields) + "\r\n\r\n" + std::string(body);
}

TEST_F(http_request_test, what_is_no_request_is_answered_400) {
  expect_refused({
      {"nothing known", "hello\r\n\r\n", 400},
      {"TLS on a plain port", "\x16\x03\x01\x02\x01", 400},
      {"a control character first", "\x01GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"no version", "GET /\r\nHost: a\r\n\r\n", 400},
      {"a space too many", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a space at the line's end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"s, 400},
      {"an unknown version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"a version like none", "GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400},
      {"a lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"a target that is no path", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"half an escape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"an escaped NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a star that is no OPTIONS", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
  });
}

TEST_F(http_request_test, a_field_that_is_malformed_is_answered_400) {
  expect_refused({
      {"no Host", with("Accept: */*"), 400},
      {"two Hosts", with("Host: a\r\nHost: b"), 400},
      {"no colon", with("Host: a\r\nnothing"), 400},
      {"no name", with("Host: a\r\n: b"), 400},
      {"a space before the colon", with("Host: a\r\nX : b"), 400},
      {"a space before the first name", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"a name with a bracket", with("Host: a\r\nX(Y): b"), 400},
      {"a name that is not ASCII", with("Host: a\r\nX\xc3\xa4: b"), 400},
      {"a NUL in a value", with("Host: a\r\nX: b\0c"s), 400},
      {"a control character", with("Host: a\r\nX: b\x01"), 400},
      {"DEL", with("Host: a\r\nX: b\x7f"), 400},
      {"a bare CR in a value", with("Host: a\r\nX: b\rc"), 400},
      {"a bare CR before the end", with("Host: a\r\nX: b\r"), 400},
      {"an unknown expectation", with("Host: a\r\nExpect: miracles"), 417},
  });
}

TEST_F(http_request_test, lines_that_others_could_end_elsewhere_are_refused) {
  expect_refused({
      {"LF alone", "GET / HTTP/1.1\nHost: a\n\n", 400},
      {"one LF alone", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
      {"LF alone at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"a folded line", with("Host: a\r\nX: b\r\n c"), 400},
      {"folded by a tab", with("Host: a\r\nX: b\r\n\tc"), 400},
      {"an empty fold", with("Host: a\r\nX:\r\n \r\nY: z"), 400},
      {"a fold that hides a length", with("Host: a\r\nX: b\r\n Content-Length: 5"), 400},
  });
}

TEST_F(http_request_test, lengths_that_others_could_understand_differently_are_refused) {
  const std::string hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string chunks = "0\r\n\r\n" + hidden;
  const auto length = std::to_string(hidden.size());
  expect_refused({
      {"CL and TE", post_with("Content-Length: 5\r\nTransfer-Encoding: chunked", chunks), 400},
      {"TE and CL", post_with("Transfer-Encoding: chunked\r\nContent-Length: 5", chunks), 400},
      {"CL twice", post_with("Content-Length: 0\r\nContent-Length: " + length, hidden), 400},
      {"the same CL twice", post_with("Content-Length: 5\r\nContent-Length: 5", "hello"), 400},
      {"a list of CLs", post_with("Content-Length: 5, 5", "hello"), 400},
      {"a signed CL", post_with("Content-Length: +5", "hello"), 400},
      {"a negative CL", post_with("Content-Length: -5", "hello"), 400},
      {"a hexadecimal CL", post_with("Content-Length: 0x5", "hello"), 400},
      {"a CL with a space in it", post_with("Content-Length: 5 5", "hello"), 400},
      {"an empty CL", post_with("Content-Length:", "hello"), 400},
      {"a CL beyond 64 bits", post_with("Content-Length: 18446744073709551621", "hello"), 400},
      {"a CL behind a space", post_with("Content-Length : 5", "hello"), 400},
      {"TE twice", post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunks),
       400},
      {"TE and identity",
       post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunks), 400},
      {"a list of TEs", post_with("Transfer-Encoding: gzip, chunked", chunks), 501},
      {"chunked not last", post_with("Transfer-Encoding: chunked, identity", chunks), 501},
      {"another TE", post_with("Transfer-Encoding: xchunked", chunks), 501},
      {"a quoted TE", post_with("Transfer-Encoding: \"chunked\"", chunks), 501},
      {"a TE behind a tab", post_with("Transfer-Encoding\t: chunked", chunks), 400},
      {"a TE with a vertical tab",
       post_with("Transfer-Encoding: \x0b"
                 "chunked",
                 chunks),
       400},
      {"TE in HTTP/1.0",
       "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 400},
  });
}

TEST_F(http_request_test, a_head_that_is_too_large_is_refused_before_it_is_complete) {
  server_options options;
  options.limits.header_bytes = 1024;
  options.limits.header_count = 10;
  server& s = start([](request&, response& p) { p.text("ok\n"); }, options);
  EXPECT_EQ(ask("GET /" + std::string(2000, 'a')).status, 414);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(2000, 'a')).status, 431);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(1100, 'a') + "\r\n\r\n").status,
            431);
  std::string many;
  for (int i = 0; i < 10; ++i) many += "X" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(ask(get("/", many)).status, 431);
  EXPECT_EQ(ask(get("/", "X: " + std::string(900, 'a') + "\r\n")).status, 200);
  EXPECT_EQ(s.statistics().malformed, 4u);
}

TEST_F(http_request_test, an_empty_line_or_two_before_a_request_is_passed_over) {
  start([](request&, response& p) { p.text("ok\n"); });
  wire w = connect();
  w.send("\r\n\r\n" + get("/") + "\r\n" + get("/"));
  EXPECT_EQ(w.read().status, 200);
  EXPECT_EQ(w.read().status, 200);
  EXPECT_EQ(ask("\r\n\r\n\r\n" + get("/")).status, 400);
}

TEST_F(http_request_test, a_head_may_come_a_byte_at_a_time) {
  start([](request& q, response& p) { p.text(std::string(q.header_value("x")) + "\n"); });
  wire w = connect();
  for (const char c : get("/", "X: slow\r\n")) {
    w.send({&c, 1});
    sigrun::yield();
  }
  EXPECT_EQ(w.read().body, "slow\n");
}

TEST_F(http_request_test, a_handler_sees_what_was_sent) {
  start([](request& q, response& p) {
    EXPECT_EQ(q.method(), "GET");
    EXPECT_EQ(q.target(), "/a%20b/c%2Fd?x=1&y=a+b%26c&z");
    EXPECT_EQ(q.path(), "/a b/c/d");
    EXPECT_EQ(q.query(), "x=1&y=a+b%26c&z");
    EXPECT_EQ(q.query_value("x"), "1");
    EXPECT_EQ(q.query_value("y"), "a b&c");
    EXPECT_EQ(q.query_value("z"), "");
    EXPECT_EQ(q.query_value("w"), std::nullopt);
    EXPECT_EQ(q.version(), 11);
    EXPECT_EQ(q.host(), "test");
    EXPECT_EQ(q.header_value("x-one"), "1");
    EXPECT_TRUE(q.has_header("X-EMPTY"));
    EXPECT_EQ(q.header_value("x-empty"), "");
    EXPECT_EQ(q.headers().size(), 4u);
    EXPECT_EQ(q.headers()[2].value, "2");
    EXPECT_TRUE(q.remote().starts_with("127.0.0.1:"));
    EXPECT_FALSE(q.is_secure());
    EXPECT_EQ(q.content_length(), 0u);
    EXPECT_EQ(q.body(), "");
    q.local("user") = std::string("me");
    EXPECT_EQ(std::any_cast<std::string>(q.local("user")), "me");
    p.text("ok\n");
  });
  EXPECT_EQ(ask(get("/a%20b/c%2Fd?x=1&y=a+b%26c&z", "X-One: 1\r\nX-One:  2 \r\nX-Empty:\r\n")).body,
            "ok\n");
}

TEST_F(http_request_test, the_absolute_form_names_the_host) {
  start([](request& q, response& p) { p.text(std::string(q.host()) + std::string(q.target())); });
  EXPECT_EQ(ask("GET http://there:8/a?b HTTP/1.1\r\nHost: test\r\n\r\n").body, "there:8/a?b");
  EXPECT_EQ(ask("GET HTTPS://there HTTP/1.1\r\nHost: test\r\n\r\n").body, "there/");
}

TEST_F(http_request_test, views_stay_good_while_a_body_is_read) {
  start([](request& q, response& p) {
    const std::string_view x = q.header_value("x");
    const std::string body = q.body();
    p.text(std::string(x) + " " + std::to_string(body.size()));
  });
  const std::string value(3000, 'v');
  const std::string body(200'000, 'b');
  wire w = connect();
  for (int i = 0; i < 3; ++i) {
    w.send("POST / HTTP/1.1\r\nHost: test\r\nX: " + value + "\r\nContent-Length: 200000\r\n\r\n" +
           body + get("/", "X: next\r\n"));
    EXPECT_EQ(w.read().body, value + " 200000");
    EXPECT_EQ(w.read().body, "next 0");
  }
}

TEST_F(http_request_test, http_1_0_is_closed_unless_it_asks_otherwise) {
  start([](request& q, response& p) { p.text(std::to_string(q.version())); });
  wire w = connect();
  w.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const reply kept = w.read();
  EXPECT_EQ(kept.body, "10");
  EXPECT_EQ(kept.field("connection"), "keep-alive");
  w.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(w.read().field("connection"), "close");
  EXPECT_TRUE(w.ended());
}

TEST_F(http_request_test, connection_close_is_kept_to) {
  start([](request&, response& p) { p.text("ok\n"); });
  wire w = connect();
  w.send(get("/", "Connection: close\r\n"));
  EXPECT_EQ(w.read().field("connection"), "close");
  EXPECT_TRUE(w.ended());
  wire listed = connect();
  listed.send(get("/", "Connection: foo, Close\r\n"));
  EXPECT_EQ(listed.read().field("connection"), "close");
  EXPECT_TRUE(listed.ended());
}

}  // namespace
}  // namespace sigrun::http::test
