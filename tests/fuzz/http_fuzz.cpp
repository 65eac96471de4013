// SPDX-License-Identifier: Apache-2.0
//
// Any bytes at all on the request path. The first byte chooses what they go to:
//   q r  a request's, a response's head and body: the parser
//   f c  WebSocket frames from a client, from a server
//   w    a whole server, over a socket
//   t    the small grammars: ranges, dates, URLs, lists, escapes
// What is understood must not depend on how the bytes were cut: whole and byte by byte are
// compared.
#include "http/conditions.hpp"
#include "http/date.hpp"
#include "http/frame.hpp"
#include "http/parser.hpp"
#include "http/text.hpp"

#include <sigrun/http_client.hpp>
#include <sigrun/http_files.hpp>
#include <sigrun/http_server.hpp>
#include <sigrun/net.hpp>
#include <sigrun/websocket.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

namespace http = sigrun::http;
using http::detail::body_step;
using http::detail::frame_reader;
using http::detail::message_parser;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "http_fuzz: %s\n", what);
  std::abort();
}

/// What was made of a message, as one text.
std::string parsed(message_parser::kind kind, std::string_view text, std::size_t piece) {
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return "no head";
  message_parser parser(kind);
  http::detail::message_head head;
  if (const auto bad = parser.head(text.substr(0, end + 4), 100, head)) {
    must(bad.status >= 400 && bad.status < 600, "a refusal has a status");
    return "refused " + std::to_string(bad.status);
  }
  must(head.fields.size() <= 100, "fields are bounded");
  must(!(head.chunked && head.content_length), "one framing");
  std::string all(head.method);
  for (const http::header& field : head.fields) {
    must(http::detail::is_token(field.name), "a name is a token");
    must(http::detail::is_field_value(field.value), "a value has no control characters");
    all.append(field.name).append(field.value);
  }
  std::string_view rest = text.substr(end + 4);
  std::string kept;
  std::size_t given = 0;
  while (!parser.done()) {
    char room[64];
    const body_step step = parser.body(kept, room);
    must(step.taken <= kept.size() && step.produced <= sizeof room, "no more than there is");
    all.append(room, step.produced);
    kept.erase(0, step.taken);
    if (step.bad) return all + " bad " + std::to_string(step.bad.status);
    if (step.produced != 0 || step.done) continue;
    must(kept.size() <= message_parser::line_max + piece, "what waits is bounded");
    if (given == rest.size()) return all + (parser.ended_by_eof() ? " eof" : " cut");
    const std::string_view more = rest.substr(given, piece);
    kept.append(more);
    given += more.size();
  }
  for (const auto& [name, value] : parser.trailers()) all.append(name).append(value);
  // How much of the input is the message's: the rest is the next one's.
  return all + " done " + std::to_string(given - kept.size());
}

std::string framed(bool from_client, std::string_view text, std::size_t piece) {
  frame_reader reader(from_client, 1000);
  std::string all;
  while (!text.empty()) {
    std::string_view part = text.substr(0, piece);
    text.remove_prefix(part.size());
    while (!part.empty()) {
      const auto happened = reader.take(part);
      must(reader.data.size() <= 1000, "messages are bounded");
      if (happened == frame_reader::event::bad) {
        must(http::detail::is_close_code(reader.code), "a violation has a code");
        return all + " bad " + std::to_string(reader.code);
      }
      if (happened == frame_reader::event::nothing) continue;
      if (happened == frame_reader::event::message && reader.is_text) {
        http::detail::utf8_check check;
        must(check.take(reader.data) && check.complete(), "text is UTF-8");
      }
      all.append(std::to_string(static_cast<int>(happened))).append(reader.data);
      reader.data.clear();
    }
  }
  return all;
}

void grammars(std::string_view text) {
  std::vector<http::detail::byte_range> ranges;
  if (http::detail::parse_ranges(text, 1000, ranges) == http::detail::range_answer::parts) {
    std::uint64_t sum = 0;
    for (const auto& r : ranges) {
      must(r.first <= r.last && r.last < 1000, "a range is inside");
      sum += r.size();
    }
    must(sum <= 1000, "ranges together are no more than the whole");
  }
  if (const auto date = http::detail::parse_http_date(text); date && *date < 250'000'000'000) {
    must(http::detail::parse_http_date(http::detail::http_date(*date)) == date,
         "a date comes back");
  }
  try {
    const http::url u = http::url::parse(text);
    const std::string again = (u.secure ? "https://" : "http://") + u.authority() + u.target;
    must(http::url::parse(again).authority() == u.authority(), "a URL comes back");
  } catch (const std::invalid_argument&) {
    // Refused, as it should be.
  }
  http::detail::accepts_coding(text, "gzip");
  http::detail::list_has(text, "close");
  if (const auto plain = http::detail::percent_decoded(text, true)) {
    must(plain->size() <= text.size(), "escapes only shrink");
  }
}

void echo(http::request& q, http::response& p) {
  if (q.path() == "/ws") {
    http::websocket ws = http::websocket::accept(q, p);
    while (auto message = ws.read()) ws.write(message->data);
    return;
  }
  p.set("X-Param", q.param("x"));
  p.text(q.body());
}

/// Everything is answered with HTTP, and the connection's end comes.
void served(std::string_view text) {
  // For the life of the process: the runtime's end does not wait for it.
  static http::server* const server = [] {
    http::router routes;
    routes.handle("*", "/f/{path...}", http::files("/usr/share"));
    routes.handle("*", "/{x...}", echo);
    http::server_options options;
    options.limits.header_bytes = 2000;
    options.limits.body = 2000;
    options.timeouts.linger = std::chrono::milliseconds(1);
    return new http::server(routes, options);
  }();
  auto [mine, its] = sigrun::net::unix_stream::pair();
  server->serve(std::move(its));
  std::error_code error;
  mine.write_all(text, error);
  mine.shutdown_write(error);
  std::string answer;
  char room[4096];
  while (const std::size_t count = mine.read(room, error)) answer.append(room, count);
  must(answer.empty() || answer.starts_with("HTTP/1.1 "), "an answer is HTTP");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text{reinterpret_cast<const char*>(bytes + 1), size - 1};
  const auto same = [&](auto parse) {
    must(parse(std::size_t{1} << 16) == parse(std::size_t{1}), "cuts change nothing");
  };
  switch (bytes[0]) {
    case 'q':
      same([&](std::size_t piece) { return parsed(message_parser::kind::request, text, piece); });
      break;
    case 'r':
      same([&](std::size_t piece) { return parsed(message_parser::kind::response, text, piece); });
      break;
    case 'f':
    case 'c':
      same([&](std::size_t piece) { return framed(bytes[0] == 'f', text, piece); });
      break;
    case 'w':
      if (size < 8192) served(text);
      break;
    default:
      grammars(text);
      break;
  }
  return 0;
}
