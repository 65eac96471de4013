// SPDX-License-Identifier: Apache-2.0
//
// Calls to other HTTP servers: small, blocking, for a service's own use.
//
//   sigrun::http::client client;
//   const auto answer = client.get("http://localhost:8080/healthz");
//   if (answer.status != 200) ...
//
// HTTP/1.1 over TCP, TLS or a Unix socket. Redirects are not followed, cookies not kept, bodies
// whole in memory and bounded. Connections are kept and used again.
#pragma once

#include <sigrun/http.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sigrun::http {

/// "http://host:80/path?query" in its parts.
struct url {
  bool secure = false;
  std::string host;               ///< without the brackets of an IPv6 address
  std::string port;               ///< 80 or 443 where there is none
  std::string target;             ///< "/path?query", at least "/"
  std::string authority() const;  ///< what the Host field has

  /// Schemes http, https, ws and wss. Throws std::invalid_argument, naming it, for what is none,
  /// and for one with user information or a character that must be escaped.
  static url parse(std::string_view text);
};

struct client_options {
  /// For a call as a whole, from the look-up (which it does not shorten) to the body's last byte.
  std::chrono::milliseconds timeout{10'000};
  std::size_t header_bytes = 64 << 10;  ///< of an answer's head
  std::uint64_t body = 8 << 20;         ///< of an answer's body; more throws
  std::size_t idle_connections = 8;     ///< kept for later calls; 0: none
  std::string unix_path = {};           ///< connect there, whatever the URL's host is
  // TLS.
  bool verify = true;            ///< the server's certificate and name
  std::string ca_file = {};      ///< PEM; empty: the system's
  std::string certificate = {};  ///< PEM, with `key`: to show when asked for
  std::string key = {};
};

struct client_request {
  std::string method = "GET";
  std::string url = {};
  header_list headers = {};  ///< beside Host, Content-Length and Connection, which are the client's
  std::string body = {};
};

struct client_response {
  int status = 0;
  header_list headers = {};
  std::string body = {};
};

/// What a server sent that is no HTTP, or is beyond the limits; the text says which.
class protocol_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Any number of goroutines and threads may use one.
class client {
 public:
  explicit client(client_options options = {});
  client(client&&) noexcept;
  client& operator=(client&&) noexcept;
  ~client();

  /// Throws std::invalid_argument for a URL, method or field that is none; std::system_error with
  /// what the network says, timed_out at the end of the time; protocol_error; tls_error. A
  /// connection that was kept and turns out to be closed is replaced once, if the server cannot
  /// have acted on the request: it is GET, HEAD, OPTIONS, PUT or DELETE, and nothing was answered.
  client_response send(const client_request& request);
  client_response get(std::string_view at);
  client_response post(std::string_view at, std::string_view type, std::string_view body);

  /// Connections that wait for a next call.
  std::size_t idle() const;

  struct impl;

 private:
  std::unique_ptr<impl> impl_;
};

}  // namespace sigrun::http
