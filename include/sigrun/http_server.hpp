// SPDX-License-Identifier: Apache-2.0
//
// The server, its limits, and how it ends.
//
//   serving ──▶ refuse() ──▶ wait_drained() ──▶ close()
//
// A server that must not lose requests goes through these in that order, or calls shutdown(), which
// does: refuse() closes the listeners and the connections that are idle; wait_drained() returns as
// soon as the last handler has ended and its response is sent; close() cuts off what is left. Each
// may be called more than once, from any goroutine or thread.
//
// The defaults are made for the open network: see limits and timeouts.
#pragma once

#include <sigrun/http.hpp>
#include <sigrun/http_log.hpp>
#include <sigrun/http_router.hpp>
#include <sigrun/http_tls.hpp>
#include <sigrun/net.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sigrun::http {

struct timeouts {
  /// From a request's first byte (and a connection's begin) to the end of its head, TLS included.
  std::chrono::milliseconds header{10'000};
  /// How long a client may keep the server waiting for a body, all waits together; each
  /// limits::body_rate bytes that arrive win a second of it back.
  std::chrono::milliseconds body{10'000};
  /// Between requests. It may take up to a quarter longer.
  std::chrono::milliseconds idle{10'000};
  /// For what is to be sent at a time; each limits::body_rate bytes give it a second more.
  std::chrono::milliseconds write{10'000};
  /// How long what a refused client still sends is read and thrown away, so that it sees the
  /// answer instead of a reset.
  std::chrono::milliseconds linger{1'000};
};

struct limits {
  std::size_t header_bytes = 16 << 10;     ///< the head as a whole; 431, a target alone 414
  std::size_t header_count = 100;          ///< fields; 431
  std::uint64_t body = 8 << 20;            ///< bytes after decoding; 413
  std::size_t body_rate = 1024;            ///< bytes a second, see timeouts
  std::size_t connections = 10'000;        ///< of all listeners; those beyond are answered 503
  std::size_t connections_per_client = 0;  ///< of one address, 429 beyond; 0: no limit
};

struct compression {
  bool on = true;
  std::size_t size_min = 1024;  ///< smaller bodies are sent as they are
  int level = 6;                ///< zlib's: 1 fast to 9 small
};

/// What went wrong in a handler, for whoever keeps a log of it.
struct handler_failure {
  std::string_view method;
  std::string_view target;
  std::string_view what;  ///< of the exception
  bool cut_off = false;   ///< the head was sent already: the client sees a broken response
};

struct server_options {
  http::timeouts timeouts{};
  http::limits limits{};
  http::compression compression{};
  /// Called after each response, on the connection's goroutine: it must not block. An
  /// http::access_log is made for it. What it throws is counted as a handler's failure, and
  /// dropped.
  access_sink access_log{};
  /// Called for what a handler throws that is no http::error. What it throws itself, as above.
  std::function<void(const handler_failure&)> on_failure{};
  /// Bytes reserved for a connection's goroutine, on which the handlers run.
  std::size_t stack_size = std::size_t{256} << 10;
};

struct listen_options {
  std::shared_ptr<tls_certificates> tls{};  ///< nullptr: without TLS
  bool reuse_port = false;                  ///< share the port with others that say so too
};

/// How open connections are treated from refuse() on.
struct refuse_options {
  /// Requests that still come on open connections are answered 503 (false), or served for the last
  /// time (true). Either way the answer has "Connection: close".
  bool serve = false;
  /// How long a connection without a request may stay open, in case one is on its way: 0 closes it
  /// at once.
  std::chrono::milliseconds idle_grace{0};
  /// What becomes of such a connection then, instead of being closed: true when somebody else has
  /// taken a copy of the descriptor, and reads what comes. Not asked about connections with TLS,
  /// which are more than a socket. Called by the connection's goroutine.
  std::function<bool(int fd)> pass_on{};
};

enum class server_state { serving, refusing, closed };

/// A connection, as it was at some moment during the call.
struct connection_info {
  std::string remote;
  std::string state;   ///< "handshake", "idle", "head", "handler", "hijacked", "ending"
  std::string method;  ///< of the present request, or of the one that was hijacked
  std::string target;  ///< up to 95 bytes of it
  std::chrono::nanoseconds in_state{0};
};

struct listener_info {
  int fd = -1;          ///< stays the server's; valid until it refuses
  std::string address;  ///< "127.0.0.1:80", or a Unix address as it was given
  bool is_unix = false;
  bool secure = false;
};

/// Figures since the start; each is read by itself.
struct server_statistics {
  std::uint64_t connections = 0;         ///< accepted
  std::size_t open = 0;                  ///< of these: not ended
  std::size_t active = 0;                ///< of these: with a request whose response is not sent
  std::size_t hijacked = 0;              ///< of these: taken over
  std::uint64_t requests = 0;            ///< whose head was read
  std::uint64_t handler_failures = 0;    ///< exceptions, see on_failure
  std::uint64_t malformed = 0;           ///< answered 4xx or 5xx by the server itself, and closed
  std::uint64_t timed_out = 0;           ///< cut off: head, body or write took too long
  std::uint64_t unavailable = 0;         ///< answered 503 while refusing
  std::uint64_t over_limit = 0;          ///< connections beyond limits, answered 503 or 429
  std::uint64_t accept_failures = 0;     ///< no descriptor or memory for a connection
  std::uint64_t handshake_failures = 0;  ///< TLS
  std::uint64_t cut = 0;                 ///< connections that close() found still open
  std::uint64_t passed_on = 0;           ///< see refuse_options
};

class server {
 public:
  explicit server(handler h, server_options options = {});
  server(server&&) = delete;
  /// close().
  ~server();

  /// Begins to accept there; goroutines of its own do it. Port 0 takes a free one: the endpoint
  /// that is returned says which. Throws as tcp_listener::listen, and std::logic_error when it
  /// refuses already.
  net::endpoint listen(const net::endpoint& at, const listen_options& options = {});
  /// The same on a Unix socket; the path is removed when the server refuses, see keep_paths().
  void listen(const net::unix_address& at, const listen_options& options = {});
  /// Takes a listener over, inherited or passed.
  void serve(net::tcp_listener listener, const listen_options& options = {});
  void serve(net::unix_listener listener, const listen_options& options = {});
  /// Serves one connection, in a goroutine of its own.
  void serve(net::tcp_stream stream, const listen_options& options = {});
  void serve(net::unix_stream stream, const listen_options& options = {});

  /// The listeners, for whoever passes them to a successor.
  std::vector<listener_info> listeners() const;
  /// Paths of Unix sockets are left alone from here on: a successor listens there.
  void keep_paths() noexcept;

  /// Whether connections are kept for further requests; true in the beginning. False: each
  /// response has "Connection: close", so that clients go elsewhere for the next one. The first
  /// step of an end in which nobody is hurt.
  void set_keep_alive(bool on) noexcept;

  /// No new connections: what the kernel has queued is accepted, then the listeners are closed, and
  /// nothing else.
  void close_listeners() noexcept;
  /// Closes the listeners and the idle connections, turns keep-alive off, has further requests
  /// answered as `options` say, and calls the hooks of hijacked connections.
  void refuse(const refuse_options& options = {});
  /// Waits until no connection is left, hijacked ones included: false when the deadline passes
  /// first. Returns within the wake of one goroutine after the last one's end.
  bool wait_drained(std::chrono::steady_clock::time_point deadline);
  bool wait_drained_for(std::chrono::nanoseconds wait) {
    return wait_drained(std::chrono::steady_clock::now() + wait);
  }
  /// Closes the listeners and cuts all connections off, and does not wait for their goroutines:
  /// handlers that run see errors from their request and response.
  void cut_off() noexcept;
  /// cut_off(), and returns when the goroutines have ended. Handlers that block on something else
  /// hold it up.
  void close() noexcept;
  /// refuse(), wait_drained_for(), close(). False when something had to be cut off.
  bool shutdown(std::chrono::nanoseconds grace, const refuse_options& options = {});

  server_state state() const noexcept;
  server_statistics statistics() const;
  /// What is still open, by age.
  std::vector<connection_info> connections() const;

  struct impl;

 private:
  std::unique_ptr<impl> impl_;
};

}  // namespace sigrun::http
