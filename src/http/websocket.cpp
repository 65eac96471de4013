// SPDX-License-Identifier: Apache-2.0
//
//   open ──close(), a violation──▶ closing ──peer's close, its time, the end──▶ over
//     └──peer's close: answered──────────────────────────────────────────────▶ over
//
//   (1) Frames go out whole and in order under `send_lock`, and none after a close.
//   (2) Only the reader moves to `over` and reads. close() by others moves the read deadline
//       forward; the reader looks at `close_sent` again after it has set its own (seq_cst).
#include <sigrun/websocket.hpp>

#include "http/connection.hpp"
#include "http/dial.hpp"
#include "http/frame.hpp"
#include "http/text.hpp"
#include "sys/syscall.hpp"

#include <sigrun/sync.hpp>

#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>

namespace sigrun::http {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using event = detail::frame_reader::event;
using detail::opcode;

constexpr std::size_t read_size = 4 << 10;
constexpr std::size_t close_text_max = 123;

std::error_code broken_pipe() { return std::make_error_code(std::errc::broken_pipe); }

/// The origin's host and port against those that the request is for.
bool same_origin(const request& q, std::string_view origin) {
  const std::size_t scheme = origin.find("://");
  return scheme != std::string_view::npos && same_name(origin.substr(scheme + 3), q.host());
}

[[noreturn]] void refuse_upgrade(const char* why) {
  header_list fields;
  fields.set("Upgrade", "websocket");
  fields.set("Sec-WebSocket-Version", "13");
  throw error(426, why, std::move(fields));
}

void check_handshake(const request& q, const websocket_options& options) {
  if (q.method() != "GET" || q.version() < 11 ||
      !detail::list_has(q.header_value("Upgrade"), "websocket") ||
      !detail::list_has(q.header_value("Connection"), "upgrade")) {
    refuse_upgrade("this is for WebSocket only");
  }
  if (q.header_value("Sec-WebSocket-Version") != "13") refuse_upgrade("another version than 13");
  if (!detail::is_key(q.header_value("Sec-WebSocket-Key"))) {
    throw error(400, "Sec-WebSocket-Key is none");
  }
  if (!q.has_header("Origin")) return;
  const std::string_view origin = q.header_value("Origin");
  if (options.origin ? !options.origin(q, origin) : !same_origin(q, origin)) {
    throw error(403, "not from this origin");
  }
}

/// The first of ours that the other side wants; empty for none.
std::string choose_protocol(std::string_view wanted, const std::vector<std::string>& ours) {
  for (const std::string& one : ours) {
    detail::list_elements elements(wanted);
    while (const auto element = elements.next()) {
      if (*element == one) return one;
    }
  }
  return {};
}

}  // namespace

struct websocket::impl {
  impl(bool is_server, websocket_options given)
      : options(std::move(given)), from_client(is_server), reader(is_server, options.message_max) {}

  detail::transport& under() { return client != nullptr ? *client->under : detail_of().under(); }
  detail::input_buffer& input() { return client != nullptr ? client->input : detail_of().input(); }
  detail::connection& detail_of() { return hijacked_access::connection_of(server); }

  /// Under send_lock.
  void put_out(opcode op, std::string_view payload, std::error_code& error) {
    std::array<unsigned char, 4> mask{};
    if (!from_client) sys::call(SYS_getrandom, mask.data(), mask.size(), 0);
    out.clear();
    detail::append_frame(out, op, payload, from_client ? nullptr : &mask);
    std::error_code gone;
    under().stream().set_write_deadline_in(options.write, gone);
    const const_buffer whole(out);
    under().write({&whole, 1}, error);
    if (out.capacity() > (64u << 10)) out = {};
    if (error) {  // a part of it may be out: nothing can follow
      close_sent = true;
      under().stream().close(gone);
    }
  }

  void send(opcode op, std::string_view payload) {
    std::error_code error;
    {
      const std::lock_guard order(send_lock);
      if (close_sent) {
        error = broken_pipe();
      } else {
        put_out(op, payload, error);
      }
    }
    if (error) throw std::system_error(error, "sigrun::http::websocket: write");
  }

  /// Whether it was the first.
  bool send_close(int code, std::string_view text) {
    std::string payload;
    if (code != 1005) {
      payload.push_back(static_cast<char>(code >> 8));
      payload.push_back(static_cast<char>(code & 0xff));
      payload.append(text.substr(0, close_text_max));
    }
    const std::lock_guard order(send_lock);
    if (close_sent) return false;
    std::error_code error;
    put_out(opcode::close, payload, error);
    close_deadline_ns = (clock::now() + options.close).time_since_epoch().count();
    close_sent = true;
    return true;
  }

  clock::time_point close_deadline() const {
    return clock::time_point(clock::duration(close_deadline_ns.load()));
  }

  void set_read_deadline() {
    std::error_code gone;
    if (!close_sent) under().stream().set_read_deadline_in(options.ping, gone);
    if (close_sent) under().stream().set_read_deadline(close_deadline(), gone);  // (2)
  }

  /// More bytes; false: the conversation is over.
  bool receive() {
    bool pinged = false;
    for (;;) {
      set_read_deadline();
      std::error_code error;
      const mutable_buffer room = input().prepare(read_size);
      const std::size_t count = under().read(room, error);
      if (!error && count != 0) {
        input().commit(count);
        return true;
      }
      if (close_sent) {
        // Its time is over, or the peer has gone without an answer; a deadline that was ours from
        // before the close is none.
        if (error == std::errc::timed_out && clock::now() < close_deadline()) continue;
        return false;
      }
      if (error == std::errc::timed_out && !pinged) {
        pinged = true;
        std::error_code gone;
        const std::lock_guard order(send_lock);
        if (!close_sent) put_out(opcode::ping, {}, gone);
        continue;
      }
      over = true;
      if (!error) error = std::make_error_code(std::errc::connection_reset);
      throw std::system_error(error, "sigrun::http::websocket: read");
    }
  }

  void end(int code, std::string text) {
    const std::lock_guard guard(reason_lock);
    over = true;
    why = {code, std::move(text)};
  }

  /// So that the peer sees our close and no reset, while it may be sending still.
  void linger() {
    under().shutdown_write();
    std::error_code error;
    under().stream().set_read_deadline_in(std::min<std::chrono::milliseconds>(options.close, 1s),
                                          error);
    char room[4096];
    while (under().read(room, error) != 0 && !error) {
    }
  }

  std::optional<message> read() {
    while (!over) {
      std::string_view bytes = input().view();
      const std::size_t had = bytes.size();
      const event happened = reader.take(bytes);
      input().take(had - bytes.size());
      switch (happened) {
        case event::message:
          return message{reader.is_text ? kind::text : kind::binary, std::move(reader.data)};
        case event::ping:
          answer_ping();
          break;
        case event::pong:
          break;
        case event::close:
          end(reader.code, reader.data);
          send_close(reader.code, {});
          under().shutdown_write();
          return std::nullopt;
        case event::bad:
          end(reader.code, reader.why);
          send_close(reader.code, reader.why);
          linger();
          return std::nullopt;
        case event::nothing:
          if (!receive()) end(1006, {});
          break;
      }
    }
    return std::nullopt;
  }

  void answer_ping() {
    std::error_code error;
    const std::lock_guard order(send_lock);
    if (!close_sent) put_out(opcode::pong, reader.data, error);
  }

  const websocket_options options;
  const bool from_client;  // what is read is a client's: this is a server
  hijacked server;
  std::unique_ptr<detail::client_connection> client;
  std::string protocol;

  mutex send_lock;
  std::string out;                                 // under send_lock
  std::atomic<bool> close_sent{false};             // set under send_lock
  std::atomic<std::int64_t> close_deadline_ns{0};  // before close_sent

  detail::frame_reader reader;  // the reader's
  std::atomic<bool> over{false};
  mutable mutex reason_lock;
  close_reason why;  // under reason_lock
};

websocket::websocket() noexcept = default;
websocket::websocket(std::unique_ptr<impl> made) noexcept : impl_(std::move(made)) {}
websocket::websocket(websocket&&) noexcept = default;
websocket& websocket::operator=(websocket&& other) noexcept {
  websocket old(std::move(*this));
  impl_ = std::move(other.impl_);
  return *this;
}

websocket::~websocket() {
  if (impl_ == nullptr) return;
  if (impl_->client == nullptr) impl_->server.on_refuse({});
  try {
    if (!impl_->over) impl_->send_close(1001, {});
  } catch (const std::exception&) {
    // No memory for it: then without.
  }
}

websocket websocket::accept(request& q, response& p, websocket_options options) {
  check_handshake(q, options);
  auto made = std::make_unique<impl>(true, std::move(options));
  made->protocol =
      choose_protocol(q.header_value("Sec-WebSocket-Protocol"), made->options.protocols);
  std::string head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: " +
      detail::accept_key(q.header_value("Sec-WebSocket-Key")) + "\r\n";
  if (!made->protocol.empty()) head += "Sec-WebSocket-Protocol: " + made->protocol + "\r\n";
  for (std::size_t i = 0; i < p.headers().size(); ++i) {  // cookies, for instance
    const header field = p.headers().at(i);
    head.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  made->server = p.hijack();
  made->server.set_write_deadline_in(made->options.write);
  made->server.write(head + "\r\n");
  impl* const self = made.get();
  made->server.on_refuse([self] {
    self->send_close(1001, "the server is ending");
    self->set_read_deadline();  // (2)
  });
  return websocket(std::move(made));
}

websocket websocket::connect(std::string_view at, websocket_options options,
                             const client_options& how) {
  const url to = url::parse(at);
  auto made = std::make_unique<impl>(false, std::move(options));
  auto on = std::make_unique<detail::client_connection>();
  on->under = detail::dial(to, how, clock::now() + how.timeout);
  const std::string key = detail::make_key();
  std::string head = detail::request_head("GET", to, {});
  head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
  head += "Sec-WebSocket-Key: " + key + "\r\n";
  std::string wanted;
  for (const std::string& one : made->options.protocols) {
    wanted.append(wanted.empty() ? "" : ", ").append(one);
  }
  if (!wanted.empty()) head += "Sec-WebSocket-Protocol: " + wanted + "\r\n";
  on->send(head + "\r\n", {});
  detail::message_head answer;
  on->read_head(answer, how.header_bytes, false);
  if (answer.status != 101) {
    throw protocol_error("sigrun::http::websocket: " + std::string(at) + " answers " +
                         std::to_string(answer.status));
  }
  made->protocol = answer.find("Sec-WebSocket-Protocol");
  if (answer.find("Sec-WebSocket-Accept") != detail::accept_key(key) ||
      !detail::list_has(answer.find("Upgrade"), "websocket") ||
      (!made->protocol.empty() &&
       choose_protocol(made->protocol, made->options.protocols).empty())) {
    throw protocol_error("sigrun::http::websocket: " + std::string(at) +
                         " answers 101, but not to what was asked");
  }
  made->client = std::move(on);
  return websocket(std::move(made));
}

std::optional<websocket::message> websocket::read() { return impl_->read(); }

void websocket::write(kind which, std::string_view data) {
  impl_->send(which == kind::text ? opcode::text : opcode::binary, data);
}

void websocket::ping(std::string_view data) {
  if (data.size() > 125) {
    throw std::invalid_argument("sigrun::http::websocket::ping: " + std::to_string(data.size()) +
                                " bytes, at most 125");
  }
  impl_->send(opcode::ping, data);
}

void websocket::close(int code, std::string_view text) {
  if (!detail::is_close_code(code)) {
    throw std::invalid_argument("sigrun::http::websocket::close: the code " + std::to_string(code) +
                                " must not be sent");
  }
  if (text.size() > close_text_max) {
    throw std::invalid_argument("sigrun::http::websocket::close: a text of " +
                                std::to_string(text.size()) + " bytes, at most 123");
  }
  if (impl_->send_close(code, text)) impl_->set_read_deadline();  // (2)
}

bool websocket::is_open() const noexcept {
  return impl_ != nullptr && !impl_->over && !impl_->close_sent;
}

close_reason websocket::reason() const {
  const std::lock_guard guard(impl_->reason_lock);
  return impl_->why;
}

const std::string& websocket::protocol() const noexcept { return impl_->protocol; }
std::string websocket::remote() const { return impl_->under().remote(); }

}  // namespace sigrun::http
