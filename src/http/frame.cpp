// SPDX-License-Identifier: Apache-2.0
#include "http/frame.hpp"

#include "sys/syscall.hpp"

#include <openssl/evp.h>

#include <sys/syscall.h>

#include <algorithm>

namespace sigrun::http::detail {
namespace {

constexpr std::size_t control_max = 125;

bool is_control(opcode op) noexcept { return (static_cast<unsigned>(op) & 8u) != 0; }

std::string base64(const unsigned char* bytes, int size) {
  unsigned char text[64];
  const int length = EVP_EncodeBlock(text, bytes, size);
  return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(length)};
}

}  // namespace

bool utf8_check::take(std::string_view part) noexcept {
  for (const char c : part) {
    const auto u = static_cast<std::uint8_t>(c);
    if (left_ != 0) {
      if (u < low_ || u > high_) return false;
      --left_;
      low_ = 0x80;
      high_ = 0xbf;
    } else if (u >= 0x80) {
      if (u < 0xc2 || u > 0xf4) return false;
      left_ = u < 0xe0 ? 1 : u < 0xf0 ? 2 : 3;
      if (u == 0xe0) low_ = 0xa0;   // overlong
      if (u == 0xed) high_ = 0x9f;  // surrogates
      if (u == 0xf0) low_ = 0x90;   // overlong
      if (u == 0xf4) high_ = 0x8f;  // above U+10FFFF
    }
  }
  return true;
}

void frame_reader::refuse(int with, const char* what) noexcept {
  bad_ = true;
  code = with;
  why = what;
}

frame_reader::event frame_reader::take(std::string_view& in) {
  while (!bad_) {
    if (!in_payload_) {
      if (!take_head(in)) return bad_ ? event::bad : event::nothing;
      begin_frame();
      if (bad_) break;
    }
    take_payload(in);
    if (bad_) break;
    if (left_ != 0) return event::nothing;
    in_payload_ = false;
    if (const event happened = end_frame(); happened != event::nothing) return happened;
  }
  return event::bad;
}

/// Collects a head; true when it is complete.
bool frame_reader::take_head(std::string_view& in) {
  for (;;) {
    if (head_size_ >= 2) {
      const unsigned length = head_[1] & 0x7fu;
      const std::size_t wanted = 2 +
                                 (length == 126   ? 2u
                                  : length == 127 ? 8u
                                                  : 0u) +
                                 (masked_ ? 4u : 0u);
      if (head_size_ == wanted) return true;
    }
    if (in.empty()) return false;
    head_[head_size_++] = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    // Checked as soon as they are there: what follows may be anything else.
    if (head_size_ == 1 && (head_[0] & 0x70u) != 0) refuse(1002, "a reserved bit is set");
    if (head_size_ == 2 && ((head_[1] & 0x80u) != 0) != masked_) {
      refuse(1002, masked_ ? "a client's frame is not masked" : "a server's frame is masked");
    }
    if (bad_) return false;
  }
}

void frame_reader::begin_frame() {
  final_ = (head_[0] & 0x80u) != 0;
  op_ = static_cast<opcode>(head_[0] & 0x0fu);
  const unsigned length = head_[1] & 0x7fu;
  std::size_t at = 2;
  left_ = length;
  if (length >= 126) {
    const std::size_t bytes = length == 126 ? 2 : 8;
    left_ = 0;
    for (std::size_t i = 0; i < bytes; ++i) left_ = left_ << 8 | head_[at++];
    if (left_ < (length == 126 ? 126u : 65536u))
      return refuse(1002, "a length is not the shortest");
    if (left_ >> 63 != 0) return refuse(1002, "a length is negative");
  }
  if (masked_) std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(at), 4, mask_.begin());
  mask_at_ = 0;
  head_size_ = 0;
  in_payload_ = true;
  if (is_control(op_)) {
    if (op_ != opcode::close && op_ != opcode::ping && op_ != opcode::pong) {
      return refuse(1002, "an unknown opcode");
    }
    if (!final_ || left_ > control_max) return refuse(1002, "a control frame is too long");
    control_.clear();
    return;
  }
  switch (op_) {
    case opcode::more:
      if (!in_message_) return refuse(1002, "a continuation of nothing");
      break;
    case opcode::text:
    case opcode::binary:
      if (in_message_) return refuse(1002, "a message inside of another");
      in_message_ = true;
      message_text_ = op_ == opcode::text;
      message_.clear();
      utf8_ = {};
      break;
    default:
      return refuse(1002, "an unknown opcode");
  }
  if (left_ > message_max_ - message_.size()) refuse(1009, "the message is too large");  // (2)
}

void frame_reader::take_payload(std::string_view& in) {
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size()));
  std::string& to = is_control(op_) ? control_ : message_;
  const std::size_t before = to.size();
  to.append(in.substr(0, count));
  in.remove_prefix(count);
  left_ -= count;
  if (masked_) {
    for (std::size_t i = before; i < to.size(); ++i) {
      to[i] = static_cast<char>(static_cast<unsigned char>(to[i]) ^ mask_[mask_at_++ & 3u]);
    }
  }
  if (!is_control(op_) && message_text_ && !utf8_.take(std::string_view(to).substr(before))) {
    refuse(1007, "text that is no UTF-8");
  }
}

frame_reader::event frame_reader::end_frame() {
  switch (op_) {
    case opcode::close:
      return end_close();
    case opcode::ping:
      data.swap(control_);
      return event::ping;
    case opcode::pong:
      data.swap(control_);
      return event::pong;
    default:
      break;
  }
  if (!final_) return event::nothing;
  if (message_text_ && !utf8_.complete()) {
    refuse(1007, "text that is no UTF-8");
    return event::bad;
  }
  in_message_ = false;
  is_text = message_text_;
  data = std::move(message_);
  message_ = {};
  return event::message;
}

frame_reader::event frame_reader::end_close() {
  code = 1005;
  data.clear();
  if (control_.empty()) return event::close;
  if (control_.size() == 1) {
    refuse(1002, "half a close code");
    return event::bad;
  }
  const int given =
      static_cast<unsigned char>(control_[0]) << 8 | static_cast<unsigned char>(control_[1]);
  data = control_.substr(2);
  utf8_check text;
  if (!is_close_code(given)) {
    refuse(1002, "a close code that must not be sent");
  } else if (!text.take(data) || !text.complete()) {
    refuse(1007, "text that is no UTF-8");
  }
  if (bad_) return event::bad;
  code = given;
  return event::close;
}

bool is_close_code(int code) noexcept {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

void append_frame(std::string& to, opcode op, std::string_view payload,
                  const std::array<unsigned char, 4>* mask) {
  const unsigned masked = mask != nullptr ? 0x80u : 0u;
  const auto byte = [&to](unsigned long long value) { to.push_back(static_cast<char>(value)); };
  byte(0x80u | static_cast<unsigned>(op));
  if (payload.size() < 126) {
    byte(masked | payload.size());
  } else {
    const int bytes = payload.size() < 65536 ? 2 : 8;
    byte(masked | (bytes == 2 ? 126u : 127u));
    for (int i = bytes - 1; i >= 0; --i) byte(payload.size() >> (8 * i) & 0xffu);
  }
  if (mask == nullptr) {
    to.append(payload);
    return;
  }
  for (const unsigned char m : *mask) byte(m);
  const std::size_t begin = to.size();
  to.append(payload);
  for (std::size_t i = 0; i < payload.size(); ++i) {
    to[begin + i] = static_cast<char>(static_cast<unsigned char>(to[begin + i]) ^ (*mask)[i & 3u]);
  }
}

std::string accept_key(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr);
  return base64(digest, static_cast<int>(size));
}

std::string make_key() {
  unsigned char random[16] = {};
  sys::call(SYS_getrandom, random, sizeof random, 0);
  return base64(random, sizeof random);
}

bool is_key(std::string_view text) noexcept {
  if (text.size() != 24 || !text.ends_with("==")) return false;
  return std::all_of(text.begin(), text.end() - 2, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
}

}  // namespace sigrun::http::detail
