// SPDX-License-Identifier: Apache-2.0
//
// The small grammar of RFC 9110, chapter 5.6: tokens, lists, quality values; and percent-encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sigrun::http::detail {

bool is_token(std::string_view text) noexcept;
/// Visible, blank or tab, or above 0x7f: nothing that could end a line.
bool is_field_value(std::string_view text) noexcept;
std::string_view trimmed(std::string_view text) noexcept;

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// Decodes %XX, and "+" as a space when asked to. Nothing for a bad escape, and for %00.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space);

/// A decimal number without sign; nothing for anything else and for what does not fit.
std::optional<std::uint64_t> parse_number(std::string_view text) noexcept;

/// The elements of a comma-separated list, one by one. Commas in quoted strings do not separate.
class list_elements {
 public:
  explicit list_elements(std::string_view text) noexcept : rest_(text) {}
  /// Nothing at the end; empty elements are passed over.
  std::optional<std::string_view> next() noexcept;

 private:
  std::string_view rest_;
};

/// Whether a list has that token, regardless of case.
bool list_has(std::string_view list, std::string_view token) noexcept;

/// Whether Accept-Encoding allows `coding`: its own quality, or that of "*", is not 0.
bool accepts_coding(std::string_view accept_encoding, std::string_view coding) noexcept;

/// Text in JSON's quotes.
void append_json(std::string& to, std::string_view text);

}  // namespace sigrun::http::detail
