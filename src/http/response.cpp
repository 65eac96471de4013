// SPDX-License-Identifier: Apache-2.0
#include "http/connection.hpp"
#include "http/core.hpp"
#include "http/date.hpp"
#include "http/text.hpp"

#include <sigrun/go.hpp>
#include <sigrun/http.hpp>

#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace sigrun::http {
namespace detail {
namespace {

/// Up to here head and body go out in one buffer: copying is cheaper than gathering.
constexpr std::size_t one_buffer_max = 16 << 10;
/// Pieces of a file, so that each has a deadline of its own.
constexpr std::size_t file_piece = 256 << 10;

void append_number(std::string& to, std::uint64_t value, int base = 10) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, base);
  to.append(digits, static_cast<std::size_t>(end.ptr - digits));
}

/// Keeps its memory for the next response, if it is not more than one usually needs.
void clear_text(std::string& text) noexcept {
  text.clear();
  if (text.capacity() > 2 * one_buffer_max) text = {};
}

bool has_body(int status) noexcept { return status >= 200 && status != 204 && status != 304; }

}  // namespace

void response_state::begin() {
  status = 200;
  at = stage::open;
  fields.clear();
  sent = 0;
  wants_close = false;
  clear_text(head_text_);
  clear_text(collected_);
  clear_text(packed_);
  announced_.reset();
  framing_ = framing::none;
  body_allowed_ = true;
  collected_size_ = 0;
  end_compressing();
}

void response_state::must_be_open(const char* what) const {
  if (at == stage::open || at == stage::collecting) return;
  throw std::logic_error(
      std::string("sigrun::http::response::") + what +
      (at == stage::taken ? ": the connection was hijacked" : ": the head was sent already"));
}

bool response_state::is_head() const noexcept {
  return conn.current().request_data.head.method == "HEAD";
}

// ---------------------------------------------------------------------------------- the head

void response_state::make_head(std::optional<std::uint64_t> length) {
  const message_head& request = conn.current().request_data.head;
  body_allowed_ = has_body(status) && !is_head();
  if (const std::string_view given = fields.get("Content-Length"); !given.empty()) {
    announced_ = parse_number(given);
    if (!announced_) {
      throw std::invalid_argument("sigrun::http: Content-Length is \"" + std::string(given) + "\"");
    }
    length = announced_;
  }
  if (list_has(fields.get("Connection"), "close")) wants_close = true;
  if (!has_body(status)) {
    framing_ = framing::none;
  } else if (length) {
    framing_ = framing::length;
    announced_ = length;
  } else if (request.version >= 11) {
    framing_ = framing::chunked;
  } else {
    framing_ = framing::to_eof;
    wants_close = true;
  }
  if (status == 200) {
    head_text_.assign("HTTP/1.1 200 OK\r\n");
  } else {
    head_text_.assign("HTTP/1.1 ");
    append_number(head_text_, static_cast<std::uint64_t>(status));
    head_text_.append(" ").append(status_text(status)).append("\r\n");
  }
  append_date_line(head_text_);
  append_fields();
  if (framing_ == framing::length) {
    head_text_.append("Content-Length: ");
    append_number(head_text_, *announced_);
    head_text_.append("\r\n");
  } else if (framing_ == framing::chunked) {
    head_text_.append("Transfer-Encoding: chunked\r\n");
  }
  if (!conn.may_keep()) {
    wants_close = true;
    head_text_.append("Connection: close\r\n");
  } else if (request.version < 11) {
    head_text_.append("Connection: keep-alive\r\n");
  }
  head_text_.append("\r\n");
}

void response_state::append_fields() {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const header field = fields.at(i);
    switch (field.name.size()) {  // the server's own
      case 4:
        if (same_name(field.name, "Date")) continue;
        break;
      case 10:
        if (same_name(field.name, "Connection")) continue;
        break;
      case 14:
        if (same_name(field.name, "Content-Length")) continue;
        break;
      case 17:
        if (same_name(field.name, "Transfer-Encoding")) continue;
        break;
      default:
        break;
    }
    head_text_.append(field.name).append(": ").append(field.value).append("\r\n");
  }
}

// ------------------------------------------------------------------------------- compression

bool response_state::may_compress() {
  const compression& how = conn.core().options.compression;
  if (!how.on || !has_body(status) || status == 206 || fields.contains("Content-Encoding") ||
      !is_compressible(fields.get("Content-Type")) ||
      list_has(fields.get("Cache-Control"), "no-transform")) {
    return false;
  }
  // A cache must know that others may get it otherwise.
  if (!list_has(fields.get("Vary"), "Accept-Encoding")) fields.add("Vary", "Accept-Encoding");
  const std::string_view accepted = conn.current().request_data.head.find("Accept-Encoding");
  return !accepted.empty() && accepts_coding(accepted, "gzip") && !is_head();
}

void response_state::begin_compressing() {
  deflater_ = conn.core().take_deflater();
  fields.set("Content-Encoding", "gzip");
  // Another representation has another strong validator. (RFC 9110, 8.8.1)
  if (const std::string tag(fields.get("ETag")); !tag.empty() && !tag.starts_with("W/")) {
    fields.set("ETag", "W/" + tag);
  }
}

void response_state::end_compressing() noexcept {
  if (deflater_ != nullptr) conn.core().give_deflater(std::move(deflater_));
}

// ---------------------------------------------------------------------------------- the body

void response_state::send(std::string_view body) {
  if (at == stage::collecting) {
    throw std::logic_error("sigrun::http::response::send: a body was begun");
  }
  must_be_open("send");
  const compression& how = conn.core().options.compression;
  if (body.size() >= how.size_min && !fields.contains("Content-Length") && may_compress()) {
    begin_compressing();
    packed_.clear();
    deflater_->put(body, deflater::until::end, packed_);
    end_compressing();
    body = packed_;
  }
  make_head(body.size());
  if (framing_ == framing::length && body_allowed_ && *announced_ != body.size()) {
    throw std::logic_error("sigrun::http::response::send: Content-Length is not the body's size");
  }
  at = stage::finished;
  if (!body_allowed_) body = {};
  sent = body.size();
  if (head_text_.size() + body.size() <= one_buffer_max) {
    head_text_.append(body);
    const const_buffer all(head_text_);
    conn.write({&all, 1}, all.size());
  } else {
    const const_buffer parts[] = {head_text_, body};
    conn.write(parts, head_text_.size() + body.size());
  }
}

void response_state::write(std::string_view part) {
  if (at != stage::streaming) must_be_open("write");
  if (at == stage::open) at = stage::collecting;
  if (is_head()) {
    collected_size_ += part.size();
    return;
  }
  if (at == stage::collecting) {
    if (collected_.size() + part.size() <= collect_max) {
      collected_.append(part);
      return;
    }
    begin_streaming();
  }
  if (deflater_ != nullptr) {
    packed_.clear();
    if (!collected_.empty()) deflater_->put(collected_, deflater::until::more, packed_);
    collected_.clear();
    deflater_->put(part, deflater::until::more, packed_);
    if (!packed_.empty()) put_out(packed_, false);
  } else {
    if (!collected_.empty()) {
      put_out(collected_, false);
      collected_.clear();
    }
    put_out(part, false);
  }
}

void response_state::begin_streaming() {
  if (!fields.contains("Content-Length") && may_compress()) {
    begin_compressing();
  }
  make_head(std::nullopt);
  at = stage::streaming;
}

void response_state::flush() {
  if (at == stage::finished) return;
  if (at != stage::streaming) {
    must_be_open("flush");
    begin_streaming();
  }
  if (deflater_ != nullptr) {
    packed_.clear();
    deflater_->put(collected_, deflater::until::flushed, packed_);
    put_out(packed_, false);
  } else {
    put_out(collected_, false);
  }
  collected_.clear();
}

void response_state::count_out(std::uint64_t bytes) {
  if (framing_ == framing::length && bytes > *announced_ - sent) {
    throw std::logic_error("sigrun::http: the body is longer than its Content-Length");
  }
  sent += bytes;
}

void response_state::put_out(std::string_view part, bool last) {
  if (!body_allowed_) part = {};
  count_out(part.size());
  const_buffer list[3];
  std::size_t count = 0;
  std::size_t bytes = 0;
  if (framing_ == framing::chunked && body_allowed_ && !part.empty()) {
    append_number(head_text_, part.size(), 16);
    head_text_.append("\r\n");
  }
  list[count++] = head_text_;
  bytes += head_text_.size() + part.size();
  if (!part.empty()) list[count++] = part;
  std::string_view tail;
  if (framing_ == framing::chunked && body_allowed_) {
    tail = part.empty() ? (last ? "0\r\n\r\n" : "") : (last ? "\r\n0\r\n\r\n" : "\r\n");
    if (!tail.empty()) list[count++] = tail;
    bytes += tail.size();
  }
  if (bytes != 0) conn.write({list, count}, bytes);
  head_text_.clear();
}

void response_state::send_file(int fd, std::uint64_t offset, std::uint64_t count) {
  if (at != stage::streaming) must_be_open("send_file");
  if (at != stage::streaming && fields.contains("Content-Length")) {
    make_head(std::nullopt);
    at = stage::streaming;
  }
  if (at != stage::streaming || (framing_ != framing::length && body_allowed_)) {
    throw std::logic_error("sigrun::http::response::send_file: Content-Length is not set");
  }
  put_out(collected_, false);  // and the head
  collected_.clear();
  if (!body_allowed_) return;
  if (count > *announced_ - sent) count_out(count);  // which throws
  while (count != 0) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(count, file_piece));
    std::size_t moved = 0;
    if (conn.under().secure()) {
      char room[16 << 10];
      const std::size_t part = std::min(wanted, sizeof room);
      const ssize_t got =
          foreign_call([&] { return pread(fd, room, part, static_cast<off_t>(offset)); });
      moved = got > 0 ? static_cast<std::size_t>(got) : 0;
      put_out({room, moved}, false);
    } else {
      moved = conn.send_file(fd, offset, wanted);
      count_out(moved);
    }
    if (moved == 0) return;  // the file has become shorter: finish() breaks the connection off
    offset += moved;
    count -= moved;
  }
}

bool response_state::finish() {
  try {
    switch (at) {
      case stage::open:
        send({});
        return true;
      case stage::collecting: {
        if (!is_head()) {
          at = stage::open;
          send(collected_);
          return true;
        }
        make_head(collected_size_);
        put_out({}, true);
        break;
      }
      case stage::streaming:
        if (deflater_ != nullptr) {
          packed_.clear();
          deflater_->put(collected_, deflater::until::end, packed_);
          end_compressing();
          put_out(packed_, true);
        } else {
          put_out(collected_, true);
        }
        if (framing_ == framing::length && body_allowed_ && sent != *announced_) return false;
        break;
      case stage::finished:
      case stage::taken:
        return true;
    }
    at = stage::finished;
    return true;
  } catch (const std::system_error&) {
    return true;  // the client is gone, and the connection knows
  } catch (const std::exception&) {
    return false;
  }
}

hijacked response_state::hijack() {
  if (at != stage::open) must_be_open("hijack");
  if (at == stage::collecting) {
    throw std::logic_error("sigrun::http::response::hijack: a body was begun");
  }
  return conn.hijack();
}

}  // namespace detail

using detail::response_state;

response& response::status(int code) {
  state_->must_be_open("status");
  if (code < 200 || code > 599) {
    throw std::invalid_argument("sigrun::http::response::status: " + std::to_string(code) +
                                " is not in 200..599");
  }
  state_->status = code;
  return *this;
}
int response::status() const noexcept { return state_->status; }

response& response::set(std::string_view name, std::string_view value) {
  state_->must_be_open("set");
  state_->fields.set(name, value);
  return *this;
}
response& response::add(std::string_view name, std::string_view value) {
  state_->must_be_open("add");
  state_->fields.add(name, value);
  return *this;
}
header_list& response::headers() noexcept { return state_->fields; }

void response::send(std::string_view body) { state_->send(body); }
void response::send(std::string_view type, std::string_view body) {
  set("Content-Type", type);
  state_->send(body);
}

void response::redirect(std::string_view location, int code) {
  if (code < 300 || code > 399) {
    throw std::invalid_argument("sigrun::http::response::redirect: " + std::to_string(code) +
                                " is not in 300..399");
  }
  status(code);
  set("Location", location);
  send({});
}

void response::write(const_buffer part) {
  state_->write({static_cast<const char*>(part.data()), part.size()});
}
void response::flush() { state_->flush(); }
void response::send_file(int fd, std::uint64_t offset, std::uint64_t count) {
  state_->send_file(fd, offset, count);
}

bool response::started() const noexcept {
  return state_->at != response_state::stage::open &&
         state_->at != response_state::stage::collecting;
}
std::uint64_t response::bytes_sent() const noexcept { return state_->sent; }
hijacked response::hijack() { return state_->hijack(); }

}  // namespace sigrun::http
