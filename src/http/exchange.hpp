// SPDX-License-Identifier: Apache-2.0
//
// One request and its response, as the handler sees them. A connection has one of these and uses it
// again for each request, so that a request costs no allocation that the one before has made.
//
// The response:
//
//   open ──send()──────────────────────────────▶ finished
//     │ ──write()──▶ collecting ──▶ streaming ──▶ finished
//     └──hijack()──▶ taken
//
//   (1) The head is sent exactly once, on the way out of `open` or `collecting`; nothing but a
//       "100 Continue" goes before it.
//   (2) How the body is framed is decided with the head: none, by length, chunked, or by the end of
//       the connection (HTTP/1.0), in which case the connection is not kept.
//   (3) With framing by length neither more nor less is sent, or the connection is broken off
//       before its regular end: a client never takes a part for the whole.
#pragma once

#include "http/deflate.hpp"
#include "http/parser.hpp"

#include <sigrun/http.hpp>

#include <any>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sigrun::http::detail {

class connection;

struct request_state {
  explicit request_state(connection& of) noexcept : conn(of) {}

  void begin();

  connection& conn;
  message_head head;
  std::string_view target;  // in origin form
  std::string_view raw_path;
  std::string_view query;
  mutable std::optional<std::string> decoded_path;  // when it differs from raw_path
  std::vector<std::pair<std::string, std::string>> params;
  std::map<std::string, std::any, std::less<>> locals;
  std::uint64_t body_limit = 0;
};

enum class framing : std::uint8_t { none, length, chunked, to_eof };

class response_state {
 public:
  explicit response_state(connection& of) noexcept : conn(of) {}

  void begin();
  void send(std::string_view body);
  void write(std::string_view part);
  void flush();
  void send_file(int fd, std::uint64_t offset, std::uint64_t count);
  /// After the handler: whatever is missing. False: the connection must be broken off.
  bool finish();
  hijacked hijack();
  void must_be_open(const char* what) const;

  enum class stage : std::uint8_t { open, collecting, streaming, finished, taken };

  connection& conn;
  int status = 200;
  stage at = stage::open;
  header_list fields;
  std::uint64_t sent = 0;  // of the body, as on the wire without framing
  bool wants_close = false;

 private:
  static constexpr std::size_t collect_max = 8 << 10;

  /// Decides the framing and writes the head into head_text_. `length`: of the body, if known.
  void make_head(std::optional<std::uint64_t> length);
  void append_fields();
  void begin_streaming();
  /// One piece of a streamed body, framed; `last` ends it.
  void put_out(std::string_view part, bool last);
  void count_out(std::uint64_t bytes);
  bool may_compress();
  void begin_compressing();
  void end_compressing() noexcept;
  bool is_head() const noexcept;

  std::string head_text_;
  std::string collected_;
  std::string packed_;
  std::uint64_t collected_size_ = 0;        // for HEAD, of which nothing is collected
  std::optional<std::uint64_t> announced_;  // Content-Length
  framing framing_ = framing::none;
  bool body_allowed_ = true;
  std::unique_ptr<deflater> deflater_;  // while a body is compressed
};

/// Makes what handlers are given; a friend of both.
class exchange {
 public:
  explicit exchange(connection& of)
      : request_data(of), response_data(of), request_(request_data), response_(response_data) {}
  http::request& request() noexcept { return request_; }
  http::response& response() noexcept { return response_; }

  request_state request_data;
  response_state response_data;

 private:
  http::request request_;
  http::response response_;
};

}  // namespace sigrun::http::detail
