// SPDX-License-Identifier: Apache-2.0
#include "http/connection.hpp"
#include "http/core.hpp"
#include "http/text.hpp"

#include <sigrun/http.hpp>

namespace sigrun::http {

void detail::request_state::begin() {
  head.method = head.target = target = raw_path = query = {};
  head.version = 11;
  head.fields.clear();
  head.host = {};
  decoded_path.reset();
  params.clear();
  if (!locals.empty()) locals.clear();
  body_limit = conn.core().options.limits.body;
}

std::string_view request::method() const noexcept { return state_->head.method; }
std::string_view request::target() const noexcept { return state_->target; }
std::string_view request::path() const {
  return state_->decoded_path ? std::string_view(*state_->decoded_path) : state_->raw_path;
}
std::string_view request::query() const noexcept { return state_->query; }

std::optional<std::string> request::query_value(std::string_view name) const {
  std::string_view rest = state_->query;
  while (!rest.empty()) {
    const std::size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const std::size_t equals = pair.find('=');
    const auto key = detail::percent_decoded(pair.substr(0, equals), true);
    if (key != name) continue;
    return equals == std::string_view::npos
               ? std::string()
               : detail::percent_decoded(pair.substr(equals + 1), true);
  }
  return std::nullopt;
}

int request::version() const noexcept { return state_->head.version; }
std::string_view request::host() const noexcept { return state_->head.host; }
std::span<const header> request::headers() const noexcept { return state_->head.fields; }
std::string_view request::header_value(std::string_view name) const noexcept {
  return state_->head.find(name);
}
bool request::has_header(std::string_view name) const noexcept { return state_->head.has(name); }

std::string_view request::param(std::string_view name) const noexcept {
  for (const auto& [key, value] : state_->params) {
    if (key == name) return value;
  }
  return {};
}
bool request::has_param(std::string_view name) const noexcept {
  for (const auto& [key, value] : state_->params) {
    if (key == name) return true;
  }
  return false;
}
void request::set_params(std::vector<std::pair<std::string, std::string>> params) {
  state_->params = std::move(params);
}

const std::string& request::remote() const { return state_->conn.remote(); }
bool request::is_secure() const noexcept { return state_->conn.under().secure(); }

std::optional<std::uint64_t> request::content_length() const noexcept {
  if (state_->head.chunked) return std::nullopt;
  return state_->head.content_length.value_or(0);
}

std::size_t request::read(mutable_buffer into) { return state_->conn.read_body(into); }

std::string request::body() {
  std::string all;
  char room[8192];
  while (const std::size_t count = read(room)) all.append(room, count);
  return all;
}

void request::limit_body(std::uint64_t bytes) noexcept { state_->body_limit = bytes; }

std::span<const std::pair<std::string, std::string>> request::trailers() const noexcept {
  detail::message_parser& parser = state_->conn.parser();
  if (!parser.done()) return {};
  return parser.trailers();
}

bool request::client_is_gone() const noexcept {
  return state_->conn.broken() ||
         detail::look_at(state_->conn.under().stream()) == detail::pending::end;
}

std::any& request::local(std::string_view name) {
  const auto found = state_->locals.find(name);
  return found != state_->locals.end() ? found->second : state_->locals[std::string(name)];
}

}  // namespace sigrun::http
