// SPDX-License-Identifier: Apache-2.0
#include "http/text.hpp"

#include <sigrun/http.hpp>

#include <array>
#include <charconv>

namespace sigrun::http {
namespace detail {
namespace {

constexpr std::array<bool, 256> token_table() {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (const char c :
       {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
    table[static_cast<std::size_t>(c)] = true;
  }
  return table;
}
constexpr std::array<bool, 256> token_chars = token_table();

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

}  // namespace

bool is_token(std::string_view text) noexcept {
  for (const char c : text) {
    if (!token_chars[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

bool is_field_value(std::string_view text) noexcept {
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if ((u < 0x20 && u != '\t') || u == 0x7f) return false;
  }
  return true;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out.push_back(' ');
    } else if (text[i] == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const int high = hex_value(text[i + 1]);
      const int low = hex_value(text[i + 2]);
      if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::optional<std::uint64_t> parse_number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

std::optional<std::string_view> list_elements::next() noexcept {
  while (!rest_.empty()) {
    bool quoted = false;
    std::size_t end = 0;
    for (; end < rest_.size() && (quoted || rest_[end] != ','); ++end) {
      if (rest_[end] == '"') quoted = !quoted;
      if (quoted && rest_[end] == '\\' && end + 1 < rest_.size()) ++end;
    }
    const std::string_view element = trimmed(rest_.substr(0, end));
    rest_.remove_prefix(end < rest_.size() ? end + 1 : rest_.size());
    if (!element.empty()) return element;
  }
  return std::nullopt;
}

bool list_has(std::string_view list, std::string_view token) noexcept {
  list_elements elements(list);
  while (const auto element = elements.next()) {
    if (same_name(*element, token)) return true;
  }
  return false;
}

bool accepts_coding(std::string_view accept_encoding, std::string_view coding) noexcept {
  bool any = false;
  list_elements elements(accept_encoding);
  while (const auto element = elements.next()) {
    const std::size_t semicolon = element->find(';');
    const std::string_view name = trimmed(element->substr(0, semicolon));
    bool refused = false;
    if (semicolon != std::string_view::npos) {
      // "q=0", "q=0.0", "q=0.000": all other qualities are above zero.
      const std::string_view weight = trimmed(element->substr(semicolon + 1));
      refused = weight.size() >= 3 && lower(weight[0]) == 'q' && weight[1] == '=' &&
                weight.find_first_not_of("0.", 2) == std::string_view::npos;
    }
    if (same_name(name, coding)) return !refused;
    if (name == "*") any = !refused;
  }
  return any;
}

void append_json(std::string& to, std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  to.push_back('"');
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to.push_back('\\');
      to.push_back(c);
    } else if (u < 0x20 || u >= 0x7f) {
      // What is not ASCII need not be UTF-8: byte by byte, as Latin-1.
      to.append("\\u00");
      to.push_back(digits[u >> 4]);
      to.push_back(digits[u & 15]);
    } else {
      to.push_back(c);
    }
  }
  to.push_back('"');
}

}  // namespace detail

bool same_name(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (detail::lower(a[i]) != detail::lower(b[i])) return false;
  }
  return true;
}

}  // namespace sigrun::http
