// SPDX-License-Identifier: Apache-2.0
//
// One connection of a server and the goroutine that serves it.
//
//              first byte             head complete        response sent, kept
//   idle ────────────────▶ head ────────────────▶ handler ────────────────────▶ idle
//    │ nudged: closed        │ bad, slow: 4xx        │ hijack()     │ not kept
//    ▼                       ▼                       ▼              ▼
//   end ◀──── ending ◀───────┘                    hijacked        ending: reads on for a moment, so
//                                                                 that the answer is not reset
//
//   (1) The goroutine alone reads, writes and moves `stage_`. Others may nudge() and cut().
//   (2) The server's list holds the connection from its construction to its destructor, which
//       closes the stream first and takes it out then: when the list is empty, every last byte and
//       FIN is with the kernel. It is destroyed by the last of: its goroutine, a hijacked.
//   (3) `phase_` decides a race: only who takes it out of `idle` may close the connection for
//       being idle. The goroutine stores `idle` and then looks whether the server refuses; the
//       server refuses and then looks for `idle`: one of them sees the other (seq_cst).
//   (4) nudge() moves the stream's deadline behind the goroutine's back, possibly late. So a
//       time-out before the deadline that the goroutine has set itself is no time-out.
//   (5) Memory is bounded: a head by limits::header_bytes, what is read of a body at a time by
//       input_buffer::body_size, what a handler collects by response_state::collect_max.
#pragma once

#include "http/exchange.hpp"
#include "http/input.hpp"
#include "http/parser.hpp"
#include "http/transport.hpp"

#include <sigrun/http_server.hpp>
#include <sigrun/sync.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sigrun::http::detail {

using clock = std::chrono::steady_clock;

class server_core;
/// SO_LINGER with zero: close() resets. (socket(7))
struct linger_option {
  int on = 1;
  int seconds = 0;
};

class connection : public std::enable_shared_from_this<connection> {
 public:
  enum class stage : std::uint8_t { handshake, idle, head, handler, hijacked, ending };

  /// In the server's list from here on.
  connection(std::shared_ptr<server_core> core, std::unique_ptr<transport> under,
             net::ip_address client, bool counted);
  ~connection();

  /// The goroutine's whole life.
  void run();

  // For the server, under its lock.
  /// Refusing has begun: if idle, it has `grace` left.
  void nudge(std::chrono::nanoseconds grace) noexcept;
  void cut() noexcept;
  connection_info info() const;
  bool is_active() const noexcept;
  bool is_idle() const noexcept { return phase_.load() == phase::idle; }
  std::int64_t since_ns() const noexcept {
    return since_ns_.load(std::memory_order_relaxed);  // about
  }
  bool is_hijacked() const noexcept { return stage_.load() == stage::hijacked; }
  /// Starts the hook of a hijacked connection, once.
  void call_hook();
  void set_hook(std::function<void()> hook);

  // For request and response, on the goroutine.
  std::size_t read_body(mutable_buffer into);
  void write(std::span<const const_buffer> from, std::size_t bytes);
  /// Without an exception: whether it went well.
  bool try_write(std::span<const const_buffer> from, std::size_t bytes) noexcept;
  std::size_t send_file(int fd, std::uint64_t offset, std::size_t count);
  hijacked hijack();
  /// Whether the present response may leave the connection open.
  bool may_keep() const noexcept;
  bool broken() const noexcept { return broken_; }

  server_core& core() noexcept { return *core_; }
  transport& under() noexcept { return *transport_; }
  exchange& current() noexcept { return exchange_; }
  message_parser& parser() noexcept { return parser_; }
  input_buffer& input() noexcept { return input_; }
  const std::string& remote() const;

  // The server's list, under its lock.
  connection* before = nullptr;
  connection* after = nullptr;

 private:
  enum class phase : std::uint8_t { busy, idle, nudged };
  enum class got : std::uint8_t { head, end, answered };

  bool serve_one();
  got await_head();
  got await_first_byte();
  verdict look_for_head(std::size_t& scanned, std::size_t& end) const;
  verdict begin_request(std::size_t head_bytes);
  verdict check_target();
  void call_handler();
  void report(const char* what);
  template <class F>
  void call_hook_of_program(F f);
  void answer_failure(int status, const std::string& text, header_list& fields);
  /// After the response: whether another request may follow.
  bool settle_body();
  void log_access();
  void answer(const verdict& v);
  void linger() noexcept;
  void set_stage(stage to) noexcept;
  void note_request() noexcept;

  /// Reads into the input; false: nothing came, see the error.
  bool receive(std::size_t wanted, std::error_code& error);
  void read_until(clock::time_point at) noexcept;
  void arm_write(std::size_t bytes) noexcept;
  /// Has reads end `wait` from now, or up to a quarter of it later; `more` when it is set anew.
  void arm_read(clock::time_point now, clock::duration wait, clock::duration more) noexcept;
  /// receive() for a body, within its time.
  bool receive_body(std::error_code& error);

  const std::shared_ptr<server_core> core_;
  const std::unique_ptr<transport> transport_;
  const net::ip_address client_;
  const bool counted_;  // against connections_per_client

  input_buffer input_;
  message_parser parser_{message_parser::kind::request};
  exchange exchange_{*this};
  mutable std::string remote_;

  std::atomic<stage> stage_{stage::handshake};
  std::atomic<phase> phase_{phase::busy};
  std::atomic<std::int64_t> since_ns_{0};
  clock::time_point born_;
  clock::time_point read_deadline_ = clock::time_point::max();
  clock::time_point write_deadline_ = clock::time_point::max();
  clock::duration body_budget_{};  // how long the client may still keep us waiting for its body
  clock::time_point request_began_;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t served_ = 0;
  std::atomic<bool> served_any_{false};
  bool continue_due_ = false;  // the client waits for "100 Continue"
  bool body_failed_ = false;
  bool broken_ = false;
  bool keep_ = false;
  bool linger_due_ = false;  // the client is still sending

  // What connections() shows, under note_lock_.
  mutable mutex note_lock_;
  std::array<char, 16> noted_method_{};
  std::array<char, 96> noted_target_{};

  // Of a hijacked connection.
  mutex hook_lock_;
  cond hook_done_;
  std::function<void()> hook_;
  bool hook_running_ = false;
};

/// What a hijacked object holds.
struct hijacked_state {
  std::shared_ptr<connection> conn;
};

}  // namespace sigrun::http::detail

namespace sigrun::http {
/// For modules that build on hijacked connections.
struct hijacked_access {
  static detail::connection& connection_of(hijacked& h) noexcept { return *h.state_->conn; }
};
}  // namespace sigrun::http
