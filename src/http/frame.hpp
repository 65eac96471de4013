// SPDX-License-Identifier: Apache-2.0
//
// WebSocket's frames (RFC 6455, chapter 5), without a connection: bytes in, events out.
//
//   head ──▶ payload ──▶ head      a frame is taken piece by piece; only its head and a control
//                                  frame's payload, at most 125 bytes, are kept until complete
//
//   (1) A violation is final: bad() stays set, and nothing more is understood.
//   (2) What is collected of a message never exceeds message_max.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sigrun::http::detail {

enum class opcode : std::uint8_t {
  more = 0,
  text = 1,
  binary = 2,
  close = 8,
  ping = 9,
  pong = 10,
};

/// UTF-8 in pieces: no overlong forms, no surrogates, nothing above U+10FFFF.
class utf8_check {
 public:
  /// False as soon as it cannot be UTF-8 any more.
  bool take(std::string_view part) noexcept;
  /// Whether it may end here.
  bool complete() const noexcept { return left_ == 0; }

 private:
  int left_ = 0;  // continuation bytes that must follow
  std::uint8_t low_ = 0x80;
  std::uint8_t high_ = 0xbf;  // bounds of the next one
};

class frame_reader {
 public:
  /// Clients' frames are masked, servers' are not.
  frame_reader(bool from_client, std::size_t message_max) noexcept
      : masked_(from_client), message_max_(message_max) {}

  enum class event {
    nothing,  ///< wants more bytes
    message,  ///< is_text, data
    ping,     ///< data
    pong,     ///< data
    close,    ///< code, data; 1005 for none
    bad,      ///< code, why
  };
  /// Goes on until something has happened; takes from `in` what it used.
  event take(std::string_view& in);

  bool is_text = false;
  std::string data;
  int code = 0;
  const char* why = "";

 private:
  bool take_head(std::string_view& in);
  void take_payload(std::string_view& in);
  void begin_frame();
  event end_frame();
  event end_close();
  void refuse(int with, const char* what) noexcept;

  const bool masked_;
  const std::size_t message_max_;
  std::array<unsigned char, 14> head_{};
  std::size_t head_size_ = 0;
  bool in_payload_ = false;
  bool final_ = false;
  opcode op_ = opcode::more;
  std::uint64_t left_ = 0;
  std::array<unsigned char, 4> mask_{};
  unsigned mask_at_ = 0;
  bool in_message_ = false;  // between a first frame and the final one
  bool message_text_ = false;
  std::string message_;
  std::string control_;
  utf8_check utf8_;
  bool bad_ = false;
};

/// Whether a close may carry that code. (RFC 6455, 7.4)
bool is_close_code(int code) noexcept;

/// Appends a frame; masked if there is a mask.
void append_frame(std::string& to, opcode op, std::string_view payload,
                  const std::array<unsigned char, 4>* mask);

/// Sec-WebSocket-Accept for a key.
std::string accept_key(std::string_view key);
/// A nonce for Sec-WebSocket-Key: 16 random bytes in base64.
std::string make_key();
/// Whether it is one.
bool is_key(std::string_view text) noexcept;

}  // namespace sigrun::http::detail
