// SPDX-License-Identifier: Apache-2.0
#include "http/dial.hpp"

#include "http/text.hpp"
#include "http/tls.hpp"

#include <cstring>
#include <stdexcept>

namespace sigrun::http {
namespace {

constexpr std::size_t fields_max = 200;
/// Answers 1xx before the one that counts.
constexpr int interim_max = 16;

[[noreturn]] void refuse(std::string_view text, const char* why) {
  throw std::invalid_argument("sigrun::http: the URL \"" + std::string(text) + "\" " + why);
}

bool is_url_char(char c) noexcept {
  const auto u = static_cast<unsigned char>(c);
  return u > 0x20 && u < 0x7f && std::strchr("\"<>\\^`{|}", c) == nullptr;
}

}  // namespace

url url::parse(std::string_view text) {
  url u;
  std::string_view rest = text;
  const std::size_t scheme_end = rest.find("://");
  if (scheme_end == std::string_view::npos) refuse(text, "has no scheme");
  const std::string_view scheme = rest.substr(0, scheme_end);
  if (same_name(scheme, "https") || same_name(scheme, "wss")) {
    u.secure = true;
  } else if (!same_name(scheme, "http") && !same_name(scheme, "ws")) {
    refuse(text, "has another scheme than http, https, ws and wss");
  }
  rest.remove_prefix(scheme_end + 3);
  for (const char c : rest) {
    if (!is_url_char(c)) refuse(text, "has a character that must be escaped");
  }
  rest = rest.substr(0, rest.find('#'));
  const std::size_t path = rest.find_first_of("/?");
  std::string_view authority = rest.substr(0, path);
  if (path != std::string_view::npos) u.target = rest.substr(path);
  if (u.target.empty() || u.target[0] == '?') u.target.insert(0, "/");
  if (authority.find('@') != std::string_view::npos) refuse(text, "has user information");
  std::size_t colon = authority.rfind(':');
  if (authority.starts_with('[')) {
    const std::size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos) refuse(text, "has a bracket too few");
    u.host = authority.substr(1, bracket - 1);
    colon = bracket + 1;
    if (colon != authority.size() && authority[colon] != ':') refuse(text, "has no port there");
  } else {
    u.host = authority.substr(0, colon);
  }
  if (u.host.empty()) refuse(text, "has no host");
  u.port = u.secure ? "443" : "80";
  if (colon < authority.size()) {
    const auto port = detail::parse_number(authority.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) refuse(text, "has a port that is none");
    u.port = std::to_string(*port);
  }
  return u;
}

std::string url::authority() const {
  std::string text = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (secure ? "443" : "80")) text.append(":").append(port);
  return text;
}

namespace detail {

std::unique_ptr<transport> dial(const url& to, const client_options& options,
                                std::chrono::steady_clock::time_point deadline) {
  std::unique_ptr<transport> plain;
  if (!options.unix_path.empty()) {
    plain = make_transport(
        net::unix_stream::connect(net::unix_address(options.unix_path), {.deadline = deadline}));
  } else {
    plain = make_transport(net::tcp_stream::connect(to.host, to.port, {.deadline = deadline}));
  }
  plain->stream().set_deadline(deadline);
  if (!to.secure) return plain;
  auto secured = tls_client_side(std::move(plain), {.host = to.host,
                                                    .ca_file = options.ca_file,
                                                    .certificate = options.certificate,
                                                    .key = options.key,
                                                    .verify = options.verify});
  std::error_code error;
  secured->handshake(error);
  if (error == std::errc::timed_out) throw std::system_error(error, "sigrun::http: TLS");
  if (error) {
    const std::string why = secured->why();
    throw tls_error("sigrun::http: no TLS with " + to.authority() + ": " +
                    (why.empty() ? error.message() : why));
  }
  return secured;
}

std::string request_head(std::string_view method, const url& to, const header_list& fields) {
  if (!is_token(method)) {
    throw std::invalid_argument("sigrun::http: the method \"" + std::string(method) +
                                "\" is no token");
  }
  std::string head(method);
  head.append(" ").append(to.target).append(" HTTP/1.1\r\nHost: ").append(to.authority());
  head.append("\r\n");
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const header field = fields.at(i);
    bool ours = false;
    for (const char* const name : {"Host", "Content-Length", "Connection", "Transfer-Encoding"}) {
      ours = ours || same_name(field.name, name);
    }
    if (!ours) head.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  return head;
}

void client_connection::send(std::string_view head, std::string_view body) {
  const const_buffer parts[] = {head, body};
  std::error_code error;
  under->write({parts, body.empty() ? std::size_t{1} : std::size_t{2}}, error);
  if (error) throw std::system_error(error, "sigrun::http: write");
}

void client_connection::read_head(message_head& head, std::size_t bytes_max, bool no_body) {
  for (int interim = 0;; ++interim) {
    parser.reset();
    if (no_body) parser.expect_no_body();
    std::size_t end = 0;
    while ((end = input.view().find("\r\n\r\n")) == std::string_view::npos) {
      if (input.size() > bytes_max) throw protocol_error("sigrun::http: the head is too large");
      const mutable_buffer room = input.prepare(1);
      std::error_code error;
      const std::size_t count = under->read(room, error);
      if (error) throw std::system_error(error, "sigrun::http: read");
      if (count == 0) {
        throw std::system_error(std::make_error_code(std::errc::connection_reset),
                                "sigrun::http: the server closed the connection");
      }
      answered = true;
      input.commit(count);
    }
    end += 4;
    if (end > bytes_max) throw protocol_error("sigrun::http: the head is too large");
    const verdict bad = parser.head(input.view().substr(0, end), fields_max, head);
    if (bad) throw protocol_error(std::string("sigrun::http: the answer is no HTTP: ") + bad.why);
    input.take(end);
    if (head.status >= 200 || head.status == 101) break;
    if (interim == interim_max) throw protocol_error("sigrun::http: too many interim answers");
  }
  input.pin();
}

std::string client_connection::read_body(const message_head& head, std::uint64_t bytes_max) {
  if (head.content_length.value_or(0) > bytes_max) {
    throw protocol_error("sigrun::http: the body is too large");
  }
  std::string body;
  char room[16 << 10];
  while (!parser.done()) {
    const body_step step = parser.body(input.view(), room);
    input.take(step.taken);
    body.append(room, step.produced);
    if (step.bad) throw protocol_error(std::string("sigrun::http: the body: ") + step.bad.why);
    if (body.size() > bytes_max) throw protocol_error("sigrun::http: the body is too large");
    if (step.done || step.produced != 0) continue;
    const mutable_buffer more = input.prepare(input_buffer::body_size);
    std::error_code error;
    const std::size_t count = under->read(more, error);
    if (error) throw std::system_error(error, "sigrun::http: read");
    if (count == 0 && !parser.ended_by_eof()) {
      throw protocol_error("sigrun::http: the body ended too early");
    }
    input.commit(count);
  }
  reusable = head.keep_alive && !head.to_eof && input.empty();
  return body;
}

}  // namespace detail
}  // namespace sigrun::http
