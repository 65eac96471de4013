// SPDX-License-Identifier: Apache-2.0
//
// Bodies, both ways: by length, in chunks, to the end of the connection; streamed, refused, unread;
// HEAD, Expect and gzip.
#include "http/http_fixture.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/pipe.hpp>

#include <zlib.h>

#include <atomic>

namespace sigrun::http::test {
namespace {

class http_body_test : public http_test {
 protected:
  static std::string chunked(std::string_view target, std::string_view chunks) {
    return "POST " + std::string(target) +
           " HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(chunks);
  }
  /// A handler that sends back what it got.
  static void echo(request& q, response& p) { p.text(q.body()); }
};

std::string unzipped(const std::string& packed) {
  z_stream z{};
  EXPECT_EQ(inflateInit2(&z, 15 + 16), Z_OK);
  std::string out;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  z.avail_in = static_cast<uInt>(packed.size());
  int result = Z_OK;
  while (result == Z_OK) {
    char room[4096];
    z.next_out = reinterpret_cast<Bytef*>(room);
    z.avail_out = sizeof room;
    result = inflate(&z, Z_NO_FLUSH);
    out.append(room, sizeof room - z.avail_out);
  }
  EXPECT_EQ(result, Z_STREAM_END);
  inflateEnd(&z);
  return out;
}

TEST_F(http_body_test, a_body_by_length_and_one_in_chunks_are_the_same_to_a_handler) {
  start(echo);
  wire w = connect();
  w.send(post("/", "hello"));
  EXPECT_EQ(w.read().body, "hello");
  w.send(chunked("/", "2\r\nhe\r\n3;name=\"a b\"\r\nllo\r\n0\r\n\r\n"));
  EXPECT_EQ(w.read().body, "hello");
  w.send(chunked("/", "0000A\r\n0123456789\r\n0\r\n\r\n"));
  EXPECT_EQ(w.read().body, "0123456789");
  w.send(post("/", ""));
  EXPECT_EQ(w.read().body, "");
}

TEST_F(http_body_test, chunks_may_be_cut_anywhere) {
  start(echo);
  const std::string bytes = chunked("/", "a\r\n0123456789\r\n1;x\r\n!\r\n0\r\nT: u\r\n\r\n");
  for (std::size_t cut = bytes.find("\r\n\r\n"); cut < bytes.size(); ++cut) {
    wire w = connect();
    w.send(bytes.substr(0, cut));
    for (int i = 0; i < 20; ++i) sigrun::yield();
    w.send(bytes.substr(cut));
    ASSERT_EQ(w.read().body, "0123456789!") << cut;
  }
}

TEST_F(http_body_test, trailers_are_read_with_the_body) {
  start([](request& q, response& p) {
    EXPECT_TRUE(q.trailers().empty());
    const std::string body = q.body();
    ASSERT_EQ(q.trailers().size(), 1u);
    EXPECT_EQ(q.trailers()[0].first, "Digest");
    p.text(body + q.trailers()[0].second);
  });
  EXPECT_EQ(ask(chunked("/", "1\r\na\r\n0\r\nDigest: b\r\n\r\n")).body, "ab");
}

TEST_F(http_body_test, malformed_chunks_are_answered_400_and_nothing_follows) {
  server& s = start(echo);
  const std::string hidden = get("/hidden");
  std::uint64_t count = 0;
  for (const std::string& chunks : {
           "x\r\n"s + hidden,                             // no number
           "-1\r\n"s + hidden,                            //
           "0x5\r\nhello\r\n0\r\n\r\n"s,                  //
           "5 5\r\nhello\r\n0\r\n\r\n"s,                  //
           "fffffffffffffffff\r\n"s + hidden,             // 68 bits
           "5\r\nhelloX\r\n0\r\n\r\n"s + hidden,          // longer than it says
           "5\r\nhell\r\n0\r\n\r\n"s + hidden,            // shorter
           "5\nhello\r\n0\r\n\r\n"s + hidden,             // LF alone after the size
           "5\r\nhello\n0\r\n\r\n"s + hidden,             // after the data
           "5;a\nb\r\nhello\r\n0\r\n\r\n"s + hidden,      // in an extension
           "5\rX\nhello\r\n0\r\n\r\n"s + hidden,          // CR and something
           "0\r\nnothing\r\n\r\n"s + hidden,              // a trailer without a colon
           "0\r\nX: a\x01\r\n\r\n"s + hidden,             // with a control character
           "1;" + std::string(20000, 'e') + "\r\na\r\n",  // an extension without end
           "0\r\nX: " + std::string(20000, 'e'),          // a trailer without end
       }) {
    SCOPED_TRACE(chunks.substr(0, 40));
    wire w = connect();
    w.try_send(chunked("/", chunks));
    const reply r = w.read();
    EXPECT_EQ(r.status, 400);
    EXPECT_EQ(r.field("connection"), "close");
    w.stream().shutdown_write();
    EXPECT_EQ(w.read_all(), "");
    EXPECT_EQ(s.statistics().malformed, ++count);
  }
  std::string trailers = "0\r\n";
  for (int i = 0; i < 100; ++i) trailers += "X: y\r\n";
  EXPECT_EQ(ask(chunked("/", trailers + "\r\n")).status, 431);
}

TEST_F(http_body_test, a_body_that_is_too_large_is_answered_413) {
  server_options options;
  options.limits.body = 10;
  start(
      [](request& q, response& p) {
        if (q.path() == "/more") q.limit_body(20);
        p.text(q.body());
      },
      options);
  EXPECT_EQ(ask(post("/", "0123456789")).status, 200);
  const reply announced = ask(post("/", "0123456789a"));
  EXPECT_EQ(announced.status, 413);
  EXPECT_EQ(announced.field("connection"), "close");
  EXPECT_EQ(ask(chunked("/", "a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n")).status, 413);
  EXPECT_EQ(ask(post("/more", "0123456789a")).status, 200);
  wire expecting = connect();
  expecting.send(
      "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(expecting.read().status, 413) << "before it sends anything";
}

TEST_F(http_body_test, who_still_sends_sees_the_answer_and_no_reset) {
  start([](request&, response& p) { p.status(403).text("no\n"); });
  wire w = connect();
  w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
  EXPECT_EQ(w.read().status, 403);
  EXPECT_TRUE(w.try_send(std::string(300'000, 'x')));
  w.stream().shutdown_write();
  EXPECT_TRUE(w.ended());
}

TEST_F(http_body_test, a_body_nobody_read_is_passed_over_and_the_connection_kept) {
  start([](request&, response& p) { p.text("ok\n"); });
  wire w = connect();
  for (int i = 0; i < 3; ++i) {
    w.send(post("/", std::string(100'000, 'x')));
    const reply r = w.read();
    EXPECT_EQ(r.status, 200);
    EXPECT_EQ(r.field("connection"), "");
    w.send(chunked("/", "5\r\nhello\r\n0\r\n\r\n"));
    EXPECT_EQ(w.read().status, 200);
  }
}

TEST_F(http_body_test, who_waits_for_100_continue_is_told_when_the_body_is_read) {
  start([](request& q, response& p) {
    if (q.path() == "/no") return void(p.status(401).text("no\n"));
    p.text(q.body());
  });
  const std::string expecting =
      " HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
  wire w = connect();
  w.send("POST /yes" + expecting);
  EXPECT_EQ(w.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  w.send("hello");
  EXPECT_EQ(w.read().body, "hello");
  w.send("POST /no" + expecting);
  const reply no = w.read();
  EXPECT_EQ(no.status, 401);
  EXPECT_EQ(no.field("connection"), "close") << "whether the body comes is not known";
  w.stream().shutdown_write();
  EXPECT_TRUE(w.ended());
  wire empty = connect();
  empty.send("POST /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(empty.read().status, 200);
}

TEST_F(http_body_test, a_body_cut_short_is_answered_if_anybody_listens) {
  start(echo);
  wire half = connect();
  half.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
  half.stream().shutdown_write();
  EXPECT_EQ(half.read().status, 400);
  EXPECT_TRUE(half.ended());
  wire head = connect();
  head.send("GET / HTTP/1.1\r\nHo");
  head.stream().shutdown_write();
  EXPECT_EQ(head.read().status, 400);
  EXPECT_TRUE(head.ended());
}

TEST_F(http_body_test, a_half_closed_client_gets_its_answer) {
  start(echo);
  wire w = connect();
  w.send(post("/", "hello") + get("/"));
  w.stream().shutdown_write();
  EXPECT_EQ(w.read().body, "hello");
  EXPECT_EQ(w.read().status, 200);
  EXPECT_TRUE(w.ended());
}

TEST_F(http_body_test, a_reset_reaches_the_handler_as_an_error_and_nobody_else) {
  chan<int> reading(1);
  chan<bool> gone(2);
  server& s = start([&](request& q, response& p) {
    if (q.path() == "/") return void(p.text("ok\n"));
    reading.send(1);
    try {
      q.body();
    } catch (const std::system_error&) {
      gone.send(q.client_is_gone());
      throw;
    }
    p.text("never\n");
  });
  wire w = connect();
  w.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
  reading.recv();
  w.stream().set_linger(0s);
  w.stream().close();
  EXPECT_TRUE(gone.recv());
  EXPECT_EQ(ask(get("/")).status, 200);
  EXPECT_EQ(s.statistics().handler_failures, 0u) << "it is the client's";
  stop();
}

TEST_F(http_body_test, a_handler_can_see_that_its_client_is_gone) {
  chan<int> entered(1);
  chan<int> closed(1);
  start([&](request& q, response&) {
    EXPECT_FALSE(q.client_is_gone());
    entered.send(1);
    closed.recv();
    until([&] { return q.client_is_gone(); });
    closed.send(1);
  });
  wire w = connect();
  w.send(get("/"));
  entered.recv();
  w.stream().close();
  closed.send(1);
  until([&] { return closed.size() == 1; });
  stop();
}

TEST_F(http_body_test, requests_in_a_row_are_answered_in_order) {
  start([](request& q, response& p) { p.text(std::string(q.path()) + q.body()); });
  wire w = connect();
  std::string all;
  for (int i = 0; i < 200; ++i) all += i % 2 ? get("/" + std::to_string(i)) : post("/p", "body");
  w.send(all);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(w.read().body, i % 2 ? "/" + std::to_string(i) : "/pbody");
  }
}

// ------------------------------------------------------------------------------ the other way

TEST_F(http_body_test, a_short_body_has_its_length_and_a_long_one_is_chunked) {
  start([](request& q, response& p) {
    const std::string part(1000, 'p');
    for (int i = 0; i < (q.path() == "/long" ? 100 : 5); ++i) p.write(part);
  });
  const reply brief = ask(get("/"));
  EXPECT_EQ(brief.field("content-length"), "5000");
  EXPECT_EQ(brief.body.size(), 5000u);
  const reply lengthy = ask(get("/long"));
  EXPECT_EQ(lengthy.field("transfer-encoding"), "chunked");
  EXPECT_TRUE(lengthy.complete);
  EXPECT_EQ(lengthy.body.size(), 100'000u);
  const reply old = ask("GET /long HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.field("transfer-encoding"), "");
  EXPECT_EQ(old.field("connection"), "close");
  EXPECT_EQ(old.body.size(), 100'000u);
}

TEST_F(http_body_test, what_is_flushed_arrives_before_the_end) {
  chan<int> go_on(1);
  start([&](request&, response& p) {
    p.set("Content-Type", "text/event-stream");
    for (int i = 0; i < 3; ++i) {
      p.write("data: " + std::to_string(i) + "\n\n");
      p.flush();
      EXPECT_TRUE(p.started());
      go_on.recv();
    }
  });
  wire w = connect();
  w.send(get("/"));
  EXPECT_NE(w.until("\r\n\r\n").find("Transfer-Encoding: chunked"), std::string::npos);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(w.until("\r\n"), "9\r\n");
    EXPECT_EQ(w.take(11), "data: " + std::to_string(i) + "\n\n\r\n");
    go_on.send(1);
  }
  EXPECT_EQ(w.take(5), "0\r\n\r\n");
  stop();
}

TEST_F(http_body_test, head_has_the_fields_of_get_and_no_body) {
  start([](request& q, response& p) {
    if (q.path() == "/length") return void(p.set("Content-Length", "1234"));
    if (q.path() == "/stream") {
      for (int i = 0; i < 100; ++i) p.write(std::string(1000, 'x'));
      return p.flush();
    }
    p.text("hello\n");
  });
  wire w = connect();
  w.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(w.read(true).field("content-length"), "6");
  w.send("HEAD /length HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(w.read(true).field("content-length"), "1234");
  w.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(w.read(true).status, 200);
  w.send(get("/"));
  EXPECT_EQ(w.read().body, "hello\n");
}

TEST_F(http_body_test, statuses_without_a_body_have_none) {
  start([](request& q, response& p) {
    p.status(q.path() == "/204" ? 204 : 304).set("X", "y").send("must not be seen");
  });
  wire w = connect();
  for (const char* const path : {"/204", "/304"}) {
    w.send(get(path));
    const reply r = w.read();
    EXPECT_EQ(r.field("content-length"), "");
    EXPECT_EQ(r.field("transfer-encoding"), "");
    EXPECT_EQ(r.field("x"), "y");
  }
  w.send(get("/204"));
  EXPECT_EQ(w.read().status, 204);
}

TEST_F(http_body_test, a_body_other_than_announced_cuts_the_connection_off) {
  std::atomic<int> reported{0};
  server_options options;
  options.on_failure = [&](const handler_failure&) { ++reported; };
  server& s = start(
      [](request& q, response& p) {
        p.set("Content-Length", "20000");
        p.write(std::string(q.path() == "/longer" ? 20001 : 19999, 'x'));
      },
      options);
  EXPECT_FALSE(ask(get("/shorter")).complete);
  EXPECT_FALSE(ask(get("/longer")).complete);
  until([&] { return s.statistics().open == 0; });
  EXPECT_EQ(reported, 2);
  EXPECT_EQ(s.statistics().handler_failures, 2u);
}

TEST_F(http_body_test, what_a_handler_throws_is_answered) {
  std::vector<std::string> said;
  server_options options;
  options.on_failure = [&](const handler_failure& f) { said.emplace_back(f.what); };
  server& s = start(
      [](request& q, response& p) {
        if (q.path() == "/error") throw error(409, "not now");
        if (q.path() == "/other") throw 1;
        if (q.path() == "/late") {
          p.write(std::string(20000, 'x'));
          throw std::runtime_error("too late");
        }
        p.set("X-Secret", "s").write("half of it");
        throw std::runtime_error("the database's password is 123");
      },
      options);
  wire w = connect();
  w.send(get("/error"));
  const reply conflict = w.read();
  EXPECT_EQ(conflict.status, 409);
  EXPECT_EQ(conflict.body, "not now\n");
  w.send(get("/failure"));
  const reply failure = w.read();
  EXPECT_EQ(failure.status, 500);
  EXPECT_EQ(failure.body, "Internal Server Error\n");
  EXPECT_EQ(failure.field("x-secret"), "");
  w.send(get("/other"));
  EXPECT_EQ(w.read().status, 500);
  w.send(get("/late"));
  EXPECT_FALSE(w.read().complete);
  until([&] { return s.statistics().open == 0; });
  ASSERT_EQ(said.size(), 3u);
  EXPECT_EQ(said[0], "the database's password is 123");
  EXPECT_EQ(said[2], "too late");
}

TEST_F(http_body_test, hooks_that_throw_hurt_nobody) {
  server_options options;
  options.on_failure = [](const handler_failure&) { throw std::runtime_error("no log either"); };
  options.access_log = [](const access_record&) { throw 1; };
  server& s = start(
      [](request& q, response& p) {
        if (q.path() == "/failure") throw std::runtime_error("no");
        p.text("yes\n");
      },
      options);
  wire w = connect();
  w.send(get("/failure"));
  EXPECT_EQ(w.read().status, 500);
  w.send(get("/"));
  EXPECT_EQ(w.read().body, "yes\n");
  // The failure, what was thrown about it, and by the log for each of the two.
  until([&] { return s.statistics().handler_failures == 4; });
}

TEST_F(http_body_test, misuse_of_a_response_is_an_error_that_names_it) {
  start([](request& q, response& p) {
    EXPECT_THROW(p.status(199), std::invalid_argument);
    EXPECT_THROW(p.status(600), std::invalid_argument);
    EXPECT_THROW(p.redirect("/", 200), std::invalid_argument);
    EXPECT_THROW(p.set("bad name", "x"), std::invalid_argument);
    EXPECT_THROW(p.set("", "x"), std::invalid_argument);
    EXPECT_THROW(p.set("X", "a\r\nSet-Cookie: b"), std::invalid_argument);
    EXPECT_THROW(p.send_file(0, 0, 1), std::logic_error);
    p.text("ok\n");
    EXPECT_THROW(p.status(404), std::logic_error);
    EXPECT_THROW(p.set("X", "y"), std::logic_error);
    EXPECT_THROW(p.text("again"), std::logic_error);
    EXPECT_THROW(p.write(std::string_view("more")), std::logic_error);
    EXPECT_THROW(p.hijack(), std::logic_error);
    static_cast<void>(q);
  });
  EXPECT_EQ(ask(get("/")).body, "ok\n");
}

// ------------------------------------------------------------------------------------- gzip

TEST_F(http_body_test, who_accepts_gzip_gets_it) {
  const std::string text(50'000, 't');
  start([&](request& q, response& p) {
    if (q.path() == "/png") return p.send("image/png", text);
    if (q.path() == "/small") return p.text("small");
    p.set("ETag", "\"1\"");
    if (q.path() == "/stream") {
      p.set("Content-Type", "application/json");
      for (int i = 0; i < 50; ++i) p.write(text.substr(0, 1000));
      return;
    }
    p.text(text);
  });
  const std::string accepts = "Accept-Encoding: br, gzip;q=0.5\r\n";
  wire w = connect();
  w.send(get("/", accepts));
  const reply whole = w.read();
  EXPECT_EQ(whole.field("content-encoding"), "gzip");
  EXPECT_EQ(whole.field("vary"), "Accept-Encoding");
  EXPECT_EQ(whole.field("etag"), "W/\"1\"");
  EXPECT_LT(whole.body.size(), 1000u);
  EXPECT_EQ(unzipped(whole.body), text);
  w.send(get("/stream", accepts));
  const reply streamed = w.read();
  EXPECT_EQ(streamed.field("transfer-encoding"), "chunked");
  EXPECT_EQ(unzipped(streamed.body), text);
  for (const char* const path : {"/png", "/small"}) {
    w.send(get(path, accepts));
    EXPECT_EQ(w.read().field("content-encoding"), "");
  }
  for (const char* const no : {"", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip;q=0, *\r\n"}) {
    w.send(get("/", no));
    const reply plain = w.read();
    EXPECT_EQ(plain.field("content-encoding"), "");
    EXPECT_EQ(plain.field("vary"), "Accept-Encoding") << "a cache must know";
    EXPECT_EQ(plain.body, text);
  }
}

}  // namespace
}  // namespace sigrun::http::test
