// SPDX-License-Identifier: Apache-2.0
//
// WebSocket, both sides, over an HTTP server's or a client's connection.
//
//   routes.get("/feed", [](auto& request, auto& response) {
//     auto ws = sigrun::http::websocket::accept(request, response);
//     while (auto message = ws.read()) ws.write(message->data);
//   });
//
// Threads: one reads, any number write, ping and close beside it.
//
// Its own framing: Boost.Beast's stream wants an executor, and one caller at a time.
// Without extensions: messages are not compressed. Source: RFC 6455.
#pragma once

#include <sigrun/http.hpp>
#include <sigrun/http_client.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::http {

struct websocket_options {
  std::size_t message_max = 1 << 20;  ///< bytes of a message that is read; more closes with 1009
  /// After so long without a byte from the peer it is sent a ping, and after twice as long it is
  /// given up: read() throws timed_out.
  std::chrono::milliseconds ping{20'000};
  std::chrono::milliseconds write{10'000};  ///< for a message to go out
  std::chrono::milliseconds close{5'000};   ///< for the peer's answer to close()
  /// The subprotocols that are spoken, best first; the first that the client wants is chosen.
  std::vector<std::string> protocols = {};
  /// Which pages may connect, by their Origin; requests without one come from no browser and are
  /// let in. By default those from the host that the request is for.
  std::function<bool(const request&, std::string_view origin)> origin = {};
};

/// Why a conversation ended. (RFC 6455, 7.4)
struct close_reason {
  int code = 1006;  ///< 1005: the peer gave none; 1006: there was no close, the connection broke
  std::string text;
};

/// Move-only. Its end closes the connection, with 1001 if nobody has said close() before.
class websocket {
 public:
  enum class kind { text, binary };
  struct message {
    websocket::kind kind = kind::text;
    std::string data;
  };

  websocket() noexcept;
  websocket(websocket&&) noexcept;
  websocket& operator=(websocket&&) noexcept;
  ~websocket();

  /// The server's side: answers the handshake and takes the connection over. Throws http::error,
  /// which the server answers: 426 for a request that is none, 400 for one that is malformed, 403
  /// for an origin that may not. When the server begins to refuse, it is closed with 1001.
  static websocket accept(request& q, response& p, websocket_options options = {});

  /// The client's side: "ws://host/path". Throws as client::send, and protocol_error when the
  /// server does not switch.
  static websocket connect(std::string_view at, websocket_options options = {},
                           const client_options& how = {});

  /// Waits for a whole message; nothing when the conversation is over, see reason(). Answers pings
  /// and closes by itself. A peer that breaks the protocol is told so and closed: 1002, 1007 for
  /// text that is no UTF-8, 1009. Throws std::system_error when the connection broke before anybody
  /// had said close().
  std::optional<message> read();

  /// Sends a message. Throws std::system_error: broken_pipe after close(), timed_out, what the
  /// network says.
  void write(std::string_view text) { write(kind::text, text); }
  void write(kind which, std::string_view data);
  /// std::invalid_argument for more than 125 bytes.
  void ping(std::string_view data = {});

  /// Says that nothing more comes. read() goes on until the peer has said so too, or its time is
  /// over. Calls after the first do nothing. std::invalid_argument for a code that must not be
  /// sent, and more than 123 bytes of text.
  void close(int code = 1000, std::string_view text = {});

  bool is_open() const noexcept;
  /// After the end.
  close_reason reason() const;
  /// The subprotocol that was chosen; empty for none.
  const std::string& protocol() const noexcept;
  std::string remote() const;

  struct impl;

 private:
  explicit websocket(std::unique_ptr<impl> made) noexcept;
  std::unique_ptr<impl> impl_;
};

}  // namespace sigrun::http
