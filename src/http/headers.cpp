// SPDX-License-Identifier: Apache-2.0
#include "http/text.hpp"

#include <sigrun/http.hpp>

#include <algorithm>

namespace sigrun::http {

void header_list::add(std::string_view name, std::string_view value) {
  if (!detail::is_token(name)) {
    throw std::invalid_argument("sigrun::http: \"" + std::string(name) + "\" is no header's name");
  }
  value = detail::trimmed(value);
  if (!detail::is_field_value(value)) {
    throw std::invalid_argument("sigrun::http: the value of " + std::string(name) +
                                " has a control character in it");
  }
  if (text_.size() + name.size() + value.size() > (1u << 30)) {
    throw std::invalid_argument("sigrun::http: too many headers");
  }
  entries_.push_back({static_cast<std::uint32_t>(text_.size()),
                      static_cast<std::uint32_t>(name.size()),
                      static_cast<std::uint32_t>(value.size())});
  text_.append(name).append(value);
}

void header_list::set(std::string_view name, std::string_view value) {
  // Added first: when it throws, the old one is still there; and `value` may be the old one.
  add(name, std::string(value));
  const auto last = std::prev(entries_.end());
  entries_.erase(std::remove_if(entries_.begin(), last,
                                [&](const entry& e) { return same_name(view(e).name, name); }),
                 last);
}

std::size_t header_list::remove(std::string_view name) noexcept {
  return std::erase_if(entries_, [&](const entry& e) { return same_name(view(e).name, name); });
}

header header_list::view(const entry& e) const noexcept {
  const std::string_view text = text_;
  return {text.substr(e.begin, e.name_size), text.substr(e.begin + e.name_size, e.value_size)};
}

std::string_view header_list::get(std::string_view name) const noexcept {
  for (const entry& e : entries_) {
    if (same_name(view(e).name, name)) return view(e).value;
  }
  return {};
}

bool header_list::contains(std::string_view name) const noexcept {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const entry& e) { return same_name(view(e).name, name); });
}

header header_list::at(std::size_t index) const { return view(entries_.at(index)); }

void header_list::clear() noexcept {
  entries_.clear();
  text_.clear();
}

std::string_view status_text(int status) noexcept {
  struct entry {
    int status;
    std::string_view text;
  };
  static constexpr entry table[] = {{100, "Continue"},
                                    {101, "Switching Protocols"},
                                    {200, "OK"},
                                    {201, "Created"},
                                    {202, "Accepted"},
                                    {203, "Non-Authoritative Information"},
                                    {204, "No Content"},
                                    {205, "Reset Content"},
                                    {206, "Partial Content"},
                                    {300, "Multiple Choices"},
                                    {301, "Moved Permanently"},
                                    {302, "Found"},
                                    {303, "See Other"},
                                    {304, "Not Modified"},
                                    {307, "Temporary Redirect"},
                                    {308, "Permanent Redirect"},
                                    {400, "Bad Request"},
                                    {401, "Unauthorized"},
                                    {402, "Payment Required"},
                                    {403, "Forbidden"},
                                    {404, "Not Found"},
                                    {405, "Method Not Allowed"},
                                    {406, "Not Acceptable"},
                                    {407, "Proxy Authentication Required"},
                                    {408, "Request Timeout"},
                                    {409, "Conflict"},
                                    {410, "Gone"},
                                    {411, "Length Required"},
                                    {412, "Precondition Failed"},
                                    {413, "Content Too Large"},
                                    {414, "URI Too Long"},
                                    {415, "Unsupported Media Type"},
                                    {416, "Range Not Satisfiable"},
                                    {417, "Expectation Failed"},
                                    {421, "Misdirected Request"},
                                    {422, "Unprocessable Content"},
                                    {426, "Upgrade Required"},
                                    {428, "Precondition Required"},
                                    {429, "Too Many Requests"},
                                    {431, "Request Header Fields Too Large"},
                                    {500, "Internal Server Error"},
                                    {501, "Not Implemented"},
                                    {502, "Bad Gateway"},
                                    {503, "Service Unavailable"},
                                    {504, "Gateway Timeout"},
                                    {505, "HTTP Version Not Supported"}};
  const auto* const found =
      std::lower_bound(std::begin(table), std::end(table), status,
                       [](const entry& e, int wanted) { return e.status < wanted; });
  return found != std::end(table) && found->status == status ? found->text : std::string_view();
}

}  // namespace sigrun::http
