// SPDX-License-Identifier: Apache-2.0
//
// WebSocket: frames byte by byte, against the server and against our own client.
#include "http/http_fixture.hpp"

#include "http/frame.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/websocket.hpp>

#include <atomic>

namespace sigrun::http::test {
namespace {

class http_websocket_test : public http_test {
 protected:
  static constexpr const char* upgrade =
      "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

  server& start_echo(websocket_options options = {}) {
    return start([over = ended, options](request& q, response& p) {
      websocket ws = websocket::accept(q, p, options);
      while (auto message = ws.read()) ws.write(message->kind, message->data);
      over.send(ws.reason());
    });
  }
  wire raw() {
    wire w = connect();
    w.send(get("/", upgrade));
    EXPECT_TRUE(w.until("\r\n\r\n").starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    return w;
  }
  std::string ws_url() const { return "ws://" + at_.to_string() + "/"; }

  /// A client's frame. `first` is the first byte as it is on the wire.
  static std::string frame(int first, std::string_view payload, bool masked = true) {
    std::string f(1, static_cast<char>(first));
    const unsigned bit = masked ? 0x80u : 0u;
    if (payload.size() < 126) {
      f += static_cast<char>(bit | payload.size());
    } else {
      f += static_cast<char>(bit | 126u);
      f += static_cast<char>(payload.size() >> 8);
      f += static_cast<char>(payload.size() & 0xff);
    }
    if (masked) f += "\x01\x02\x03\x04";
    for (std::size_t i = 0; i < payload.size(); ++i) {
      f += static_cast<char>(payload[i] ^ (masked ? static_cast<char>(i % 4 + 1) : '\0'));
    }
    return f;
  }
  static std::string close_frame(int code, std::string_view text = {}) {
    return frame(0x88, std::string{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)} +
                           std::string(text));
  }
  /// The server's next frame: its first byte, and its payload.
  static std::pair<int, std::string> next(wire& w) {
    const std::string head = w.take(2);
    if (head.size() < 2) return {-1, {}};
    std::size_t size = static_cast<unsigned char>(head[1]);
    if (size == 126) {
      const std::string more = w.take(2);
      size = static_cast<std::size_t>(static_cast<unsigned char>(more[0])) << 8 |
             static_cast<unsigned char>(more[1]);
    }
    return {static_cast<unsigned char>(head[0]), w.take(size)};
  }
  static int code_of(const std::string& payload) {
    if (payload.size() < 2) return 1005;
    return static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  }

  chan<close_reason> ended{100};
};

TEST_F(http_websocket_test, the_handshake_is_that_of_the_rfc) {
  start_echo({.protocols = {"v2", "v1"}});
  wire w = connect();
  w.send(get("/", upgrade + "Sec-WebSocket-Protocol: v1, v2\r\n"s));
  const std::string head = w.until("\r\n\r\n");
  EXPECT_NE(head.find("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            std::string::npos);
  EXPECT_NE(head.find("\r\nSec-WebSocket-Protocol: v2\r\n"), std::string::npos);
}

TEST_F(http_websocket_test, what_is_no_handshake_is_answered_as_http) {
  server& s = start_echo();
  const reply plain = ask(get("/"));
  EXPECT_EQ(plain.status, 426);
  EXPECT_EQ(plain.field("upgrade"), "websocket");
  EXPECT_EQ(plain.field("sec-websocket-version"), "13");
  const auto changed = [](const std::string& from, const std::string& to) {
    std::string fields = upgrade;
    fields.replace(fields.find(from), from.size(), to);
    return get("/", fields);
  };
  EXPECT_EQ(ask(changed("Version: 13", "Version: 8")).status, 426);
  EXPECT_EQ(ask(changed("dGhlIHNhbXBsZSBub25jZQ==", "short")).status, 400);
  EXPECT_EQ(ask(changed("Upgrade\r\n", "close\r\n")).status, 426);
  std::string posted = get("/", upgrade);
  posted.replace(0, 3, "PUT");
  EXPECT_EQ(ask(posted).status, 426);
  EXPECT_EQ(ask(get("/", upgrade + "Origin: http://evil.example\r\n"s)).status, 403);
  EXPECT_EQ(ask(get("/", upgrade + "Origin: null\r\n"s)).status, 403);
  wire same = connect();
  same.send(get("/", upgrade + "Origin: https://test\r\n"s));
  EXPECT_TRUE(same.until("\r\n\r\n").starts_with("HTTP/1.1 101"));
  EXPECT_EQ(s.statistics().handler_failures, 0u);
}

TEST_F(http_websocket_test, messages_of_all_sizes_come_back) {
  start_echo();
  wire w = raw();
  for (const std::size_t size : {0u, 1u, 125u, 126u, 127u, 1000u, 65535u}) {
    const std::string text(size, 't');
    w.send(frame(0x81, text));
    EXPECT_EQ(next(w), std::pair(0x81, text));
  }
  w.send(frame(0x82, "\0\xff\x80"s));
  EXPECT_EQ(next(w), std::pair(0x82, "\0\xff\x80"s));
  w.send(close_frame(1000, "done"));
  const auto [first, payload] = next(w);
  EXPECT_EQ(first, 0x88);
  EXPECT_EQ(code_of(payload), 1000);
  EXPECT_TRUE(w.ended()) << "the server closes first";
  const auto reason = ended.recv();
  EXPECT_EQ(reason->code, 1000);
  EXPECT_EQ(reason->text, "done");
}

TEST_F(http_websocket_test, fragments_are_put_together_and_control_frames_between_them_answered) {
  start_echo();
  wire w = raw();
  const std::string bytes = frame(0x01, "Gr\xc3") + frame(0x89, "ping") + frame(0x00, "\xbc\xc3") +
                            frame(0x8a, "nobody asked") + frame(0x80, "\x9f");
  for (const char c : bytes) {
    w.send({&c, 1});
    sigrun::yield();
  }
  EXPECT_EQ(next(w), std::pair(0x8a, "ping"s));
  EXPECT_EQ(next(w), std::pair(0x81, "Gr\xc3\xbc\xc3\x9f"s));
}

TEST_F(http_websocket_test, violations_are_named_and_end_the_conversation) {
  server& s = start_echo({.message_max = 1000});
  struct violation {
    const char* what;
    std::string bytes;
    int code;
  };
  for (const violation& v : std::vector<violation>{
           {"a frame without a mask", frame(0x81, "hello", false), 1002},
           {"a reserved bit", frame(0xc1, "x"), 1002},
           {"an unknown opcode", frame(0x83, "x"), 1002},
           {"an unknown control opcode", frame(0x8b, "x"), 1002},
           {"a continuation of nothing", frame(0x80, "x"), 1002},
           {"a message inside of another", frame(0x01, "x") + frame(0x81, "y"), 1002},
           {"a ping in fragments", frame(0x09, "x"), 1002},
           {"a ping too long", frame(0x89, std::string(126, 'x')), 1002},
           {"a length of 16 bits for 5", "\x81\xfe\x00\x05\x01\x02\x03\x04hello"s, 1002},
           {"a negative length", "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04"s, 1002},
           {"half a close code", frame(0x88, "x"), 1002},
           {"a close code of nobody", close_frame(999), 1002},
           {"a close code that is never sent", close_frame(1005), 1002},
           {"a close text that is no UTF-8", close_frame(1000, "\xff"), 1007},
           {"no UTF-8", frame(0x81, "\xc3("), 1007},
           {"UTF-8 cut off", frame(0x81, "\xc3"), 1007},
           {"an overlong form", frame(0x81, "\xc0\xaf"), 1007},
           {"a surrogate", frame(0x81, "\xed\xa0\x80"), 1007},
           {"beyond Unicode", frame(0x81, "\xf4\x90\x80\x80"), 1007},
           {"too large", frame(0x82, std::string(1001, 'x')), 1009},
           {"too large in pieces",
            frame(0x02, std::string(600, 'x')) + frame(0x80, std::string(401, 'x')), 1009},
       }) {
    SCOPED_TRACE(v.what);
    wire w = raw();
    w.send(v.bytes + frame(0x81, "after it"));
    const auto [first, payload] = next(w);
    EXPECT_EQ(first, 0x88);
    EXPECT_EQ(code_of(payload), v.code);
    w.stream().shutdown_write();
    EXPECT_TRUE(w.ended());
    EXPECT_EQ(ended.recv()->code, v.code);
  }
  until([&] { return s.statistics().open == 0; });
}

TEST_F(http_websocket_test, a_connection_that_breaks_is_an_error) {
  chan<std::error_code> broke(1);
  start([&](request& q, response& p) {
    websocket ws = websocket::accept(q, p);
    try {
      ws.read();
    } catch (const std::system_error& error) {
      broke.send(error.code());
    }
    EXPECT_FALSE(ws.is_open());
    EXPECT_EQ(ws.reason().code, 1006);
    EXPECT_EQ(ws.read(), std::nullopt);
  });
  raw();
  EXPECT_EQ(*broke.recv(), std::errc::connection_reset);
  stop();
}

TEST_F(http_websocket_test, a_peer_that_is_silent_is_asked_and_then_given_up) {
  chan<std::error_code> broke(1);
  start([&](request& q, response& p) {
    websocket ws = websocket::accept(q, p, {.ping = 50ms});
    try {
      while (ws.read()) {
      }
    } catch (const std::system_error& error) {
      broke.send(error.code());
    }
  });
  wire w = raw();
  EXPECT_EQ(next(w), std::pair(0x89, ""s));
  w.send(frame(0x8a, ""));
  EXPECT_EQ(next(w), std::pair(0x89, ""s)) << "it has answered, and is asked again";
  EXPECT_EQ(*broke.recv(), std::errc::timed_out);
  stop();
}

TEST_F(http_websocket_test, a_refusing_server_says_goodbye_with_1001) {
  server& s = start_echo();
  wire w = raw();
  w.send(frame(0x81, "hello"));
  EXPECT_EQ(next(w).second, "hello");
  s.refuse();
  const auto [first, payload] = next(w);
  EXPECT_EQ(first, 0x88);
  EXPECT_EQ(code_of(payload), 1001);
  w.send(close_frame(1001));
  EXPECT_TRUE(w.ended());
  EXPECT_TRUE(s.wait_drained_for(20s));
}

TEST_F(http_websocket_test, a_peer_that_does_not_answer_a_close_is_waited_for_so_long) {
  server& s = start_echo({.close = 50ms});
  wire w = raw();
  w.send(frame(0x81, "hello"));
  EXPECT_EQ(next(w).second, "hello");
  s.refuse();
  EXPECT_TRUE(s.wait_drained_for(20s));
  EXPECT_EQ(ended.recv()->code, 1006);
}

TEST_F(http_websocket_test, our_own_client_speaks_with_it) {
  start_echo({.protocols = {"chat"}});
  websocket ws = websocket::connect(ws_url(), {.protocols = {"other", "chat"}});
  EXPECT_EQ(ws.protocol(), "chat");
  const std::string large(300'000, 'l');
  ws.write(large);
  EXPECT_EQ(ws.read()->data, large);
  ws.write(websocket::kind::binary, "\xff");
  const auto binary = ws.read();
  EXPECT_EQ(binary->kind, websocket::kind::binary);
  EXPECT_EQ(binary->data, "\xff");
  ws.ping("still there?");
  EXPECT_TRUE(ws.is_open());
  ws.close(3000, "enough");
  EXPECT_FALSE(ws.is_open());
  EXPECT_THROW(ws.write("more"), std::system_error);
  EXPECT_EQ(ws.read(), std::nullopt);
  EXPECT_EQ(ws.reason().code, 3000);
  const auto reason = ended.recv();
  EXPECT_EQ(reason->code, 3000);
  EXPECT_EQ(reason->text, "enough");
}

TEST_F(http_websocket_test, many_may_write_while_one_reads) {
  start_echo();
  websocket ws = websocket::connect(ws_url());
  constexpr int writers = 8, each = 50;
  std::vector<goroutine> all;
  for (int i = 0; i < writers; ++i) {
    all.push_back(go([&ws, i] {
      for (int k = 0; k < each; ++k)
        ws.write(std::string(static_cast<std::size_t>(k * 20), static_cast<char>('a' + i)));
    }));
  }
  for (int i = 0; i < writers * each; ++i) {
    const auto message = ws.read();
    ASSERT_TRUE(message);
    ASSERT_EQ(message->data.find_first_not_of(message->data.substr(0, 1)), std::string::npos);
  }
  for (goroutine& g : all) g.join();
}

TEST_F(http_websocket_test, a_server_that_does_not_switch_is_an_error) {
  start([](request& q, response& p) {
    if (q.path() == "/no") throw error(403, "no");
    hijacked h = p.hijack();
    h.write(
        std::string_view("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Accept: guessed\r\n\r\n"));
  });
  EXPECT_THROW(websocket::connect(ws_url() + "no"), protocol_error);
  EXPECT_THROW(websocket::connect(ws_url()), protocol_error);
}

TEST_F(http_websocket_test, misuse_is_refused) {
  start_echo();
  websocket ws = websocket::connect(ws_url());
  EXPECT_THROW(ws.close(1005), std::invalid_argument);
  EXPECT_THROW(ws.close(1000, std::string(124, 'x')), std::invalid_argument);
  EXPECT_THROW(ws.ping(std::string(126, 'x')), std::invalid_argument);
  websocket none;
  EXPECT_FALSE(none.is_open());
}

}  // namespace
}  // namespace sigrun::http::test
