// SPDX-License-Identifier: Apache-2.0
//
// TCP and Unix stream sockets, and name look-up.
//
//   auto listener = sigrun::net::tcp_listener::listen(*sigrun::net::endpoint::parse("[::1]:7"));
//   for (;;) {
//     sigrun::go([stream = listener.accept()]() mutable {
//       char bytes[4096];
//       while (std::size_t n = stream.read(bytes)) stream.write_all({bytes, n});
//     });
//   }
//
// Every call may block its caller and nobody else: a goroutine parks, a plain thread sleeps. Any
// number of goroutines and threads may use one object; reads queue behind reads, writes behind
// writes, first come, first served. None may be used in a signal handler.
//
// Errors: each call comes twice. One throws std::system_error; one has a last argument
// std::error_code&, throws nothing but what it says, and clears the code on success. In it are the
// kernel's errors, and in particular
//   timed_out            the deadline passed, or the network's own patience (tcp(7))
//   operation_canceled   the object was closed during the call
//   bad_file_descriptor  it was closed before, or never opened
//   broken_pipe, connection_reset   the peer is gone; SIGPIPE is never raised
// The overloads that take a context first end when it ends, with its error: context_errc.
#pragma once

#include <sigrun/address.hpp>
#include <sigrun/buffer.hpp>
#include <sigrun/detail/io_handle.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace sigrun::net {

/// Connections that the kernel completes before accept(), unless a listener says otherwise; it
/// lowers any number to /proc/sys/net/core/somaxconn.
inline constexpr int backlog_default = 4096;

inline constexpr std::chrono::steady_clock::time_point no_deadline =
    std::chrono::steady_clock::time_point::max();

/// A connected stream of bytes: what TCP and Unix streams share.
class stream : public detail::writing<detail::reading<detail::io_handle>> {
 public:
  /// No more writes: the peer reads the end of the stream, and may go on sending.
  void shutdown_write() {
    detail::or_throw("sigrun: shutdown_write", [&](auto& error) { shutdown_write(error); });
  }
  void shutdown_write(std::error_code& error) noexcept;
  /// No more reads: they return 0, those that wait too. What the peer sends is dropped.
  void shutdown_read() {
    detail::or_throw("sigrun: shutdown_read", [&](auto& error) { shutdown_read(error); });
  }
  void shutdown_read(std::error_code& error) noexcept;

  /// Sends `count` bytes of the open file `file` from `offset` on, without their passing through
  /// the program; fewer when the file ends before. The file's own position does not move.
  /// std::errc::invalid_argument for what is not a regular file.
  std::size_t sendfile(int file, std::uint64_t offset, std::size_t count) {
    return detail::or_throw("sigrun: sendfile", [&](std::error_code& error) {
      return sendfile(file, offset, count, error);
    });
  }
  std::size_t sendfile(int file, std::uint64_t offset, std::size_t count,
                       std::error_code& error) noexcept;

  /// Both deadlines; see set_read_deadline().
  void set_deadline(std::chrono::steady_clock::time_point at) {
    detail::or_throw("sigrun: set_deadline", [&](auto& error) { set_deadline(at, error); });
  }
  void set_deadline(std::chrono::steady_clock::time_point at, std::error_code& error) noexcept {
    do_set_deadline(true, true, detail::deadline_at(at), error);
  }
  void set_deadline_in(std::chrono::nanoseconds wait) {
    detail::or_throw("sigrun: set_deadline_in", [&](auto& error) { set_deadline_in(wait, error); });
  }
  void set_deadline_in(std::chrono::nanoseconds wait, std::error_code& error) noexcept {
    do_set_deadline(true, true, detail::deadline_in(wait), error);
  }

  /// The kernel's buffers, in bytes; it doubles what it is given. (socket(7))
  void set_send_buffer(int bytes);
  void set_receive_buffer(int bytes);

 protected:
  using writing::writing;
};

/// When a peer that says nothing is asked whether it is still there. (tcp(7))
struct keep_alive {
  std::chrono::seconds idle{15};      ///< before the first question; at least 1 s
  std::chrono::seconds interval{15};  ///< between questions; at least 1 s
  int count = 9;                      ///< questions without an answer until timed_out
};

struct tcp_connect_options {
  /// timed_out when it passes first.
  std::chrono::steady_clock::time_point deadline = no_deadline;
  /// Where to come from; port 0 lets the kernel choose one. The default chooses everything.
  endpoint local{};
};

class tcp_stream : public stream {
 public:
  tcp_stream() noexcept = default;

  /// connection_refused, network_unreachable, host_unreachable, timed_out, address_in_use, …
  static tcp_stream connect(const endpoint& to, const tcp_connect_options& options = {}) {
    return detail::or_throw("sigrun: connect",
                            [&](auto& error) { return connect(to, options, error); });
  }
  static tcp_stream connect(const endpoint& to, const tcp_connect_options& options,
                            std::error_code& error) noexcept {
    return connect_in(nullptr, to, options, error);
  }
  /// The same in a context.
  static tcp_stream connect(const context& ctx, const endpoint& to,
                            const tcp_connect_options& options = {}) {
    return detail::or_throw("sigrun: connect",
                            [&](auto& error) { return connect(ctx, to, options, error); });
  }
  static tcp_stream connect(const context& ctx, const endpoint& to,
                            const tcp_connect_options& options, std::error_code& error) noexcept {
    return connect_in(&ctx, to, options, error);
  }
  /// resolve(), and then one address after the other until one answers; the error is the first
  /// one's. A deadline is for all of them together, and does not shorten the look-up.
  static tcp_stream connect(std::string_view host, std::string_view service,
                            const tcp_connect_options& options = {}) {
    return detail::or_throw("sigrun: connect",
                            [&](auto& error) { return connect(host, service, options, error); });
  }
  static tcp_stream connect(std::string_view host, std::string_view service,
                            const tcp_connect_options& options, std::error_code& error) {
    return connect_in(nullptr, host, service, options, error);
  }
  /// The same in a context, which does not shorten the look-up either.
  static tcp_stream connect(const context& ctx, std::string_view host, std::string_view service,
                            const tcp_connect_options& options = {}) {
    return detail::or_throw("sigrun: connect", [&](auto& error) {
      return connect(ctx, host, service, options, error);
    });
  }
  static tcp_stream connect(const context& ctx, std::string_view host, std::string_view service,
                            const tcp_connect_options& options, std::error_code& error) {
    return connect_in(&ctx, host, service, options, error);
  }
  /// Takes over a connected socket, inherited or passed, and closes it in the end, also when this
  /// fails. invalid_argument for what is not a TCP socket.
  static tcp_stream adopt(int fd) {
    return detail::or_throw("sigrun: adopt", [&](auto& error) { return adopt(fd, error); });
  }
  static tcp_stream adopt(int fd, std::error_code& error) noexcept;

  endpoint local_endpoint() const {
    return detail::or_throw("sigrun: local_endpoint",
                            [&](auto& error) { return local_endpoint(error); });
  }
  endpoint local_endpoint(std::error_code& error) const noexcept;
  endpoint remote_endpoint() const {
    return detail::or_throw("sigrun: remote_endpoint",
                            [&](auto& error) { return remote_endpoint(error); });
  }
  endpoint remote_endpoint(std::error_code& error) const noexcept;

  /// Whether small writes go out at once; true from the beginning. (TCP_NODELAY)
  void set_nodelay(bool on);
  bool nodelay() const;
  /// Off from the beginning.
  void set_keep_alive(const keep_alive& how);
  void set_keep_alive(bool on);
  bool is_kept_alive() const;
  /// What close() does with data not yet sent: sends it in the background (the default, negative),
  /// or, with zero, drops it and resets the connection. (socket(7), SO_LINGER)
  void set_linger(std::chrono::seconds wait);

 private:
  friend class tcp_listener;
  explicit tcp_stream(detail::io_fd* state) noexcept : stream(state) {}
  static tcp_stream connect_in(const context* ctx, const endpoint& to,
                               const tcp_connect_options& options, std::error_code& error) noexcept;
  static tcp_stream connect_in(const context* ctx, std::string_view host, std::string_view service,
                               const tcp_connect_options& options, std::error_code& error);
};

struct tcp_listen_options {
  int backlog = backlog_default;
  bool reuse_address = true;  ///< take a port whose old connections are in TIME_WAIT
  bool reuse_port = false;    ///< share the port with other listeners that say so too
  bool v6_only = false;       ///< [::] does not take IPv4 as well
};

class tcp_listener : public detail::io_handle {
 public:
  tcp_listener() noexcept = default;

  /// Port 0 lets the kernel choose one; local_endpoint() says which. address_in_use,
  /// address_not_available, permission_denied, …; invalid_argument for a negative backlog.
  static tcp_listener listen(const endpoint& at, const tcp_listen_options& options = {}) {
    return detail::or_throw("sigrun: listen",
                            [&](auto& error) { return listen(at, options, error); });
  }
  static tcp_listener listen(const endpoint& at, const tcp_listen_options& options,
                             std::error_code& error) noexcept;
  /// Takes over a listening socket, as tcp_stream::adopt.
  static tcp_listener adopt(int fd) {
    return detail::or_throw("sigrun: adopt", [&](auto& error) { return adopt(fd, error); });
  }
  static tcp_listener adopt(int fd, std::error_code& error) noexcept;

  /// The next connection. One that broke before it was accepted is passed over. Without a
  /// descriptor for it: too_many_files_open (or ..._in_system, no_buffer_space, not_enough_memory)
  /// at once, and the connection stays in the kernel's queue; the next accept() then waits 5 ms
  /// before it tries, and twice as long after each further failure, up to 1 s.
  tcp_stream accept() {
    return detail::or_throw("sigrun: accept", [&](auto& error) { return accept(error); });
  }
  tcp_stream accept(std::error_code& error) noexcept { return accept_in(nullptr, error); }
  /// The same in a context.
  tcp_stream accept(const context& ctx) {
    return detail::or_throw("sigrun: accept", [&](auto& error) { return accept(ctx, error); });
  }
  tcp_stream accept(const context& ctx, std::error_code& error) noexcept {
    return accept_in(&ctx, error);
  }

  endpoint local_endpoint() const {
    return detail::or_throw("sigrun: local_endpoint",
                            [&](auto& error) { return local_endpoint(error); });
  }
  endpoint local_endpoint(std::error_code& error) const noexcept;

  /// For accept(), as a stream's for reads.
  void set_deadline(std::chrono::steady_clock::time_point at) {
    detail::or_throw("sigrun: set_deadline", [&](auto& error) { set_deadline(at, error); });
  }
  void set_deadline(std::chrono::steady_clock::time_point at, std::error_code& error) noexcept {
    do_set_deadline(true, false, detail::deadline_at(at), error);
  }
  void set_deadline_in(std::chrono::nanoseconds wait) {
    detail::or_throw("sigrun: set_deadline_in", [&](auto& error) { set_deadline_in(wait, error); });
  }
  void set_deadline_in(std::chrono::nanoseconds wait, std::error_code& error) noexcept {
    do_set_deadline(true, false, detail::deadline_in(wait), error);
  }

 private:
  explicit tcp_listener(detail::io_fd* state) noexcept : io_handle(state) {}
  tcp_stream accept_in(const context* ctx, std::error_code& error) noexcept;
};

/// Who is on the other side of a Unix stream, as of its connect() or listen(). (unix(7))
struct peer_credentials {
  int pid = 0;
  unsigned uid = 0;
  unsigned gid = 0;
};

struct unix_connect_options {
  std::chrono::steady_clock::time_point deadline = no_deadline;
};

class unix_stream : public stream {
 public:
  unix_stream() noexcept = default;

  /// no_such_file_or_directory, connection_refused (nobody listens there any more),
  /// filename_too_long, permission_denied. Waits while the listener's queue is full.
  static unix_stream connect(const unix_address& to, const unix_connect_options& options = {}) {
    return detail::or_throw("sigrun: connect",
                            [&](auto& error) { return connect(to, options, error); });
  }
  static unix_stream connect(const unix_address& to, const unix_connect_options& options,
                             std::error_code& error) noexcept {
    return connect_in(nullptr, to, options, error);
  }
  /// The same in a context; its end is seen within 20 ms while the listener's queue is full.
  static unix_stream connect(const context& ctx, const unix_address& to,
                             const unix_connect_options& options = {}) {
    return detail::or_throw("sigrun: connect",
                            [&](auto& error) { return connect(ctx, to, options, error); });
  }
  static unix_stream connect(const context& ctx, const unix_address& to,
                             const unix_connect_options& options, std::error_code& error) noexcept {
    return connect_in(&ctx, to, options, error);
  }
  /// Two streams connected to each other. (socketpair(2))
  static std::pair<unix_stream, unix_stream> pair() {
    return detail::or_throw("sigrun: pair", [&](auto& error) { return pair(error); });
  }
  static std::pair<unix_stream, unix_stream> pair(std::error_code& error) noexcept;
  static unix_stream adopt(int fd) {
    return detail::or_throw("sigrun: adopt", [&](auto& error) { return adopt(fd, error); });
  }
  static unix_stream adopt(int fd, std::error_code& error) noexcept;

  unix_address local_address() const;
  unix_address remote_address() const;
  peer_credentials peer() const;

 private:
  friend class unix_listener;
  explicit unix_stream(detail::io_fd* state) noexcept : stream(state) {}
  static unix_stream connect_in(const context* ctx, const unix_address& to,
                                const unix_connect_options& options,
                                std::error_code& error) noexcept;
};

struct unix_listen_options {
  int backlog = backlog_default;
  bool unlink_on_close = true;  ///< remove the path when the listener is closed
};

class unix_listener : public detail::io_handle {
 public:
  unix_listener() noexcept = default;
  unix_listener(unix_listener&&) noexcept = default;
  unix_listener& operator=(unix_listener&&) noexcept;
  ~unix_listener();

  /// Binds to the path, which must not exist (address_in_use: also when it is what a listener that
  /// died left behind), or to the abstract name. filename_too_long beyond unix_address::path_max.
  static unix_listener listen(const unix_address& at, const unix_listen_options& options = {}) {
    return detail::or_throw("sigrun: listen",
                            [&](auto& error) { return listen(at, options, error); });
  }
  static unix_listener listen(const unix_address& at, const unix_listen_options& options,
                              std::error_code& error) noexcept;
  /// Takes over a listening socket; its path, if it has one, stays.
  static unix_listener adopt(int fd) {
    return detail::or_throw("sigrun: adopt", [&](auto& error) { return adopt(fd, error); });
  }
  static unix_listener adopt(int fd, std::error_code& error) noexcept;

  /// As tcp_listener::accept().
  unix_stream accept() {
    return detail::or_throw("sigrun: accept", [&](auto& error) { return accept(error); });
  }
  unix_stream accept(std::error_code& error) noexcept { return accept_in(nullptr, error); }
  unix_stream accept(const context& ctx) {
    return detail::or_throw("sigrun: accept", [&](auto& error) { return accept(ctx, error); });
  }
  unix_stream accept(const context& ctx, std::error_code& error) noexcept {
    return accept_in(&ctx, error);
  }

  unix_address local_address() const;

  void close() {
    detail::or_throw("sigrun: close", [this](auto& error) { close(error); });
  }
  void close(std::error_code& error) noexcept;

  void set_deadline(std::chrono::steady_clock::time_point at) {
    detail::or_throw("sigrun: set_deadline", [&](auto& error) { set_deadline(at, error); });
  }
  void set_deadline(std::chrono::steady_clock::time_point at, std::error_code& error) noexcept {
    do_set_deadline(true, false, detail::deadline_at(at), error);
  }
  void set_deadline_in(std::chrono::nanoseconds wait) {
    detail::or_throw("sigrun: set_deadline_in", [&](auto& error) { set_deadline_in(wait, error); });
  }
  void set_deadline_in(std::chrono::nanoseconds wait, std::error_code& error) noexcept {
    do_set_deadline(true, false, detail::deadline_in(wait), error);
  }

 private:
  explicit unix_listener(detail::io_fd* state) noexcept : io_handle(state) {}
  unix_stream accept_in(const context* ctx, std::error_code& error) noexcept;
  void unlink_path() noexcept;
  std::string path_;  // to remove; empty for none
};

/// What getaddrinfo(3) says when it does not find something.
enum class resolve_errc {
  host_not_found = -2,   ///< EAI_NONAME: neither the name nor the service is known
  try_again = -3,        ///< EAI_AGAIN: the name server did not answer
  failure = -4,          ///< EAI_FAIL
  family = -6,           ///< EAI_FAMILY
  service_unknown = -8,  ///< EAI_SERVICE: not for TCP
  out_of_memory = -10,   ///< EAI_MEMORY
};
const std::error_category& resolve_category() noexcept;
std::error_code make_error_code(resolve_errc error) noexcept;

/// The addresses of `host`, a name or an address, with the port of `service`, a name or a number,
/// best first; not empty. An empty host is this machine's loopback. A foreign call of getaddrinfo:
/// it takes as long as the name servers take, and nothing cancels it. Errors: resolve_errc, or the
/// system's. Throws std::bad_alloc.
std::vector<endpoint> resolve(std::string_view host, std::string_view service,
                              std::error_code& error);
inline std::vector<endpoint> resolve(std::string_view host, std::string_view service) {
  return detail::or_throw("sigrun: resolve",
                          [&](auto& error) { return resolve(host, service, error); });
}

}  // namespace sigrun::net

template <>
struct std::is_error_code_enum<sigrun::net::resolve_errc> : std::true_type {};
