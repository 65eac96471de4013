// SPDX-License-Identifier: Apache-2.0
//
// An HTTP/1.1 server: a goroutine for each connection, handlers that may block.
//
//   sigrun::http::router routes;
//   routes.get("/hello/{name}", [](auto& request, auto& response) {
//     response.text("hello, " + std::string(request.param("name")) + "\n");
//   });
//   sigrun::http::server server(std::move(routes));
//   server.listen(*sigrun::net::endpoint::parse(":8080"));
//
// Requests and responses are here, routing in http_router.hpp, the server and how it ends in
// http_server.hpp, which is the one to include; files in http_files.hpp, TLS in http_tls.hpp, the
// access log in http_log.hpp, WebSocket in websocket.hpp, calls to others in http_client.hpp. All
// of it is in the CMake target sigrun::http, which is not part of sigrun::core.
//
// Threads: a request and its response belong to the goroutine that the handler runs on, until the
// handler returns. Nothing here may be used in a signal handler.
//
// Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1).
#pragma once

#include <sigrun/buffer.hpp>

#include <any>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace sigrun::http {

namespace detail {
class connection;
class exchange;
class response_state;
struct request_state;
struct hijacked_state;
}  // namespace detail

/// "Not Found" for 404; empty for a code that RFC 9110 does not have.
std::string_view status_text(int status) noexcept;

/// One header field. Names compare without regard to case.
struct header {
  std::string_view name;
  std::string_view value;
};

bool same_name(std::string_view a, std::string_view b) noexcept;

/// An ordered list of header fields that owns its text.
class header_list {
 public:
  /// Adds a field, also when there is one of that name. Throws std::invalid_argument, naming it,
  /// for a name that is no token, and a value with a control character in it (RFC 9110, 5.5).
  void add(std::string_view name, std::string_view value);
  /// The same, in the place of all of that name.
  void set(std::string_view name, std::string_view value);
  /// Takes all of that name away; how many there were.
  std::size_t remove(std::string_view name) noexcept;
  /// The first one's value; empty when there is none. Valid until the next change.
  std::string_view get(std::string_view name) const noexcept;
  bool contains(std::string_view name) const noexcept;

  std::size_t size() const noexcept { return entries_.size(); }
  bool empty() const noexcept { return entries_.empty(); }
  /// The field at a position below size().
  header at(std::size_t index) const;
  void clear() noexcept;

 private:
  struct entry {
    std::uint32_t begin, name_size, value_size;
  };
  header view(const entry& e) const noexcept;
  std::string text_;
  std::vector<entry> entries_;
};

/// What a handler throws to answer with a status, and what reading a body throws: 400 malformed,
/// 408 too slow, 413 too large. The text is the body of the response; of its fields it has none but
/// those given here.
class error : public std::runtime_error {
 public:
  error(int status, const std::string& text, header_list fields = {})
      : std::runtime_error(text), status_(status), fields_(std::move(fields)) {}
  int status() const noexcept { return status_; }
  const header_list& fields() const noexcept { return fields_; }

 private:
  int status_;
  header_list fields_;
};

/// What a client asked for. All views are valid until the handler returns.
class request {
 public:
  request(const request&) = delete;
  request& operator=(const request&) = delete;

  std::string_view method() const noexcept;
  /// As it was sent: "/a%20b?c=d". Of an absolute form only what follows the authority.
  std::string_view target() const noexcept;
  /// Without the query, decoded: "/a b". Not normalized: "." and ".." are as they were sent.
  std::string_view path() const;
  /// What follows "?", as it was sent.
  std::string_view query() const noexcept;
  /// The first parameter of that name in the query, decoded, "+" being a space.
  std::optional<std::string> query_value(std::string_view name) const;
  /// 10 or 11.
  int version() const noexcept;
  std::string_view host() const noexcept;

  std::span<const header> headers() const noexcept;
  /// The first field's value; empty when there is none.
  std::string_view header_value(std::string_view name) const noexcept;
  bool has_header(std::string_view name) const noexcept;

  /// What the router's pattern calls `{name}`, decoded; empty when there is none.
  std::string_view param(std::string_view name) const noexcept;
  bool has_param(std::string_view name) const noexcept;
  /// For the router: the parameters of the pattern that matched.
  void set_params(std::vector<std::pair<std::string, std::string>> params);

  /// "192.0.2.1:4711", "[2001:db8::1]:4711", or "unix".
  const std::string& remote() const;
  /// Whether it came over TLS.
  bool is_secure() const noexcept;

  /// What was announced; nothing for a chunked body.
  std::optional<std::uint64_t> content_length() const noexcept;
  /// Waits for some of the body and takes it: at least a byte, 0 at its end. A client that waits
  /// for "100 Continue" is told to go on. Throws http::error: 400, 408, 413 beyond limits::body;
  /// std::system_error when the connection broke.
  std::size_t read(mutable_buffer into);
  /// The rest of the body. Throws as read().
  std::string body();
  /// Another limit than the server's for this body, from here on.
  void limit_body(std::uint64_t bytes) noexcept;
  /// The fields after a chunked body; empty before its end.
  std::span<const std::pair<std::string, std::string>> trailers() const noexcept;

  /// Whether the client has closed or reset the connection, as far as the kernel knows by now.
  bool client_is_gone() const noexcept;

  /// A place for whatever middleware tells the handlers behind it.
  std::any& local(std::string_view name);

 private:
  friend class detail::exchange;
  explicit request(detail::request_state& state) noexcept : state_(&state) {}
  detail::request_state* state_;
};

/// How a connection goes on when HTTP is over. Move-only; may outlive the handler and go to another
/// goroutine; its end closes the connection. One may read while another writes.
class hijacked {
 public:
  hijacked() noexcept = default;
  explicit hijacked(std::unique_ptr<detail::hijacked_state> state) noexcept;
  hijacked(hijacked&&) noexcept;
  hijacked& operator=(hijacked&&) noexcept;
  ~hijacked();

  /// As a stream's; what the client had sent already comes first.
  std::size_t read(mutable_buffer into, std::error_code& error) noexcept;
  std::size_t read(mutable_buffer into);
  /// Sends all of it, or fails.
  void write(const_buffer from, std::error_code& error) noexcept;
  void write(const_buffer from);
  /// No more writes: the peer reads the end.
  void shutdown_write() noexcept;
  /// As a stream's; both have none in the beginning.
  void set_read_deadline_in(std::chrono::nanoseconds wait) noexcept;
  void set_write_deadline_in(std::chrono::nanoseconds wait) noexcept;
  void clear_deadlines() noexcept;
  /// Wakes who is blocked on it. The object's end does the same.
  void close() noexcept;
  bool is_open() const noexcept;

  /// `hook` is called once, in a goroutine of its own, when the server begins to refuse (see
  /// server::refuse); at once when it has begun already. It should have the peer end the
  /// conversation: the server's drain waits for the end of this object. It must not use the object
  /// after its end. An empty function takes it back, and waits for one that runs.
  void on_refuse(std::function<void()> hook);

 private:
  friend struct hijacked_access;
  std::unique_ptr<detail::hijacked_state> state_;
};

/// What the server answers. A handler that has said nothing when it returns has answered 200
/// without a body.
class response {
 public:
  response(const response&) = delete;
  response& operator=(const response&) = delete;

  /// 200 in the beginning. Throws std::invalid_argument for what is not in 200..599, and
  /// std::logic_error after the head was sent.
  response& status(int code);
  int status() const noexcept;
  /// As header_list has them. std::logic_error after the head was sent. Content-Length is kept to:
  /// writing more throws, and less cuts the connection off. Transfer-Encoding, Connection and Date
  /// are the server's, except that "Connection: close" is honoured.
  response& set(std::string_view name, std::string_view value);
  response& add(std::string_view name, std::string_view value);
  header_list& headers() noexcept;

  /// The whole body at once. Throws std::logic_error when a body was begun, std::system_error when
  /// the client is gone, which the server takes note of when it leaves the handler.
  void send(std::string_view body);
  /// The same with a Content-Type.
  void send(std::string_view type, std::string_view body);
  void text(std::string_view body) { send("text/plain; charset=utf-8", body); }
  void html(std::string_view body) { send("text/html; charset=utf-8", body); }
  void json(std::string_view body) { send("application/json", body); }
  /// std::invalid_argument for what is not in 300..399.
  void redirect(std::string_view location, int code = 302);

  /// A part of the body. Parts are collected up to some KiB; a body that is longer than that and
  /// has no Content-Length goes out in chunks. Throws as send().
  void write(const_buffer part);
  /// Sends what was collected, and the head.
  void flush();
  /// `count` bytes of an open file from `offset`, past the program's memory where that is possible
  /// (sendfile(2)): not with TLS, and not compressed. Content-Length must have been set.
  void send_file(int fd, std::uint64_t offset, std::uint64_t count);

  /// Whether the head was sent, and nothing of it can be changed any more.
  bool started() const noexcept;
  /// Bytes of the body that were sent so far, as they are on the wire without framing.
  std::uint64_t bytes_sent() const noexcept;

  /// Takes the connection over, when nothing was sent yet; std::logic_error otherwise. What follows
  /// on it is the caller's.
  hijacked hijack();

 private:
  friend class detail::exchange;
  explicit response(detail::response_state& state) noexcept : state_(&state) {}
  detail::response_state* state_;
};

/// Answers requests; called by many goroutines at once. What it throws is answered 500, an
/// http::error by its status; when the head was sent already, the connection is cut off.
using handler = std::function<void(request&, response&)>;
/// Wraps a handler into another.
using middleware = std::function<handler(handler)>;

}  // namespace sigrun::http
