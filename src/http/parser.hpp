// SPDX-License-Identifier: Apache-2.0
//
// What Boost.Beast's parser says of a message, without Beast: its templates are compiled once, in
// parser.cpp. On top of Beast it refuses what a server behind or before another could understand
// differently (RFC 9112, chapter 11): repeated or listed Content-Length, any Transfer-Encoding but
// "chunked", folded lines, a missing or repeated Host.
//
//   head ──▶ body ──▶ done          none of them goes back but by reset()
//
//   (1) head() is given a head that is complete, ends with the empty line, and is not moved while
//       its views are used.
//   (2) body() takes from `in` what it understands, never more, and copies what is content to
//       `out`; with room in `out` and bytes in `in` it makes progress, fails, or wants more.
//   (3) Lines inside a chunked body are as bounded as a head: `line_max` bytes without an end are
//       refused. So whoever keeps what was not taken needs no more than that.
#pragma once

#include <sigrun/buffer.hpp>
#include <sigrun/http.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sigrun::http::detail {

/// The status that a server answers, 0 for "all is well", and what it says.
struct verdict {
  int status = 0;
  const char* why = "";
  explicit operator bool() const noexcept { return status != 0; }
};

struct message_head {
  std::string_view method;  // requests
  std::string_view target;
  int status = 0;  // responses
  int version = 11;
  std::vector<header> fields;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool has_body = false;
  bool keep_alive = false;
  bool expects_continue = false;
  bool expects_unknown = false;
  bool to_eof = false;  // responses: the body ends with the connection
  std::string_view host;

  std::string_view find(std::string_view name) const noexcept {
    for (const header& field : fields) {
      if (same_name(field.name, name)) return field.value;
    }
    return {};
  }
  bool has(std::string_view name) const noexcept {
    for (const header& field : fields) {
      if (same_name(field.name, name)) return true;
    }
    return false;
  }
};

struct body_step {
  std::size_t taken = 0;     // of `in`
  std::size_t produced = 0;  // in `out`
  bool done = false;
  bool needs_more = false;  // nothing can be taken before more has come
  verdict bad;
};

class message_parser {
 public:
  static constexpr std::size_t line_max = 8 << 10;
  static constexpr std::size_t trailers_max = 64;

  enum class kind { request, response };
  explicit message_parser(kind which);
  ~message_parser();
  message_parser(const message_parser&) = delete;
  message_parser& operator=(const message_parser&) = delete;

  /// Ready for the next message.
  void reset() noexcept;
  /// Responses only: the request was HEAD, there is no body.
  void expect_no_body() noexcept;
  verdict head(std::string_view text, std::size_t fields_max, message_head& out);
  body_step body(std::string_view in, mutable_buffer out);
  /// The connection has ended: whether the message has too.
  bool ended_by_eof();
  bool done() const noexcept;
  std::vector<std::pair<std::string, std::string>>& trailers() noexcept;

  struct impl;

 private:
  std::unique_ptr<impl> impl_;
};

}  // namespace sigrun::http::detail
