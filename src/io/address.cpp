// SPDX-License-Identifier: Apache-2.0
#include <sigrun/address.hpp>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace sigrun::net {
namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/// The whole of `text` as a decimal number without a sign.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return {};
  return number;
}

std::optional<std::uint32_t> parse_scope(std::string_view text) {
  if (text.empty()) return {};
  if (const auto index = parse_number<std::uint32_t>(text)) return *index;
  if (text.size() >= IF_NAMESIZE || text.find('\0') != text.npos) return {};
  const unsigned index = if_nametoindex(std::string(text).c_str());
  if (index == 0) return {};
  return index;
}

}  // namespace

std::optional<ip_address> ip_address::parse(std::string_view text) {
  const std::size_t percent = text.find('%');
  const std::string plain(text.substr(0, percent));
  if (plain.find('\0') != plain.npos) return {};
  v4_bytes four{};
  if (percent == text.npos && inet_pton(AF_INET, plain.c_str(), four.data()) == 1) {
    return ip_address(four);
  }
  v6_bytes sixteen{};
  if (inet_pton(AF_INET6, plain.c_str(), sixteen.data()) != 1) return {};
  if (percent == text.npos) return ip_address(sixteen);
  const auto scope = parse_scope(text.substr(percent + 1));
  if (!scope) return {};
  return ip_address(sixteen, *scope);
}

bool ip_address::is_unspecified() const noexcept {
  return std::all_of(bytes_.begin(), bytes_.end(), [](std::uint8_t byte) { return byte == 0; });
}

bool ip_address::is_loopback() const noexcept {
  const ip_address plain = unmapped();
  if (plain.is_v4()) return plain.bytes_[0] == 127;
  return bytes_ == loopback_v6().bytes_;
}

bool ip_address::is_multicast() const noexcept {
  return v6_ ? bytes_[0] == 0xff : bytes_[0] >> 4 == 0xe;
}

bool ip_address::is_link_local() const noexcept {
  if (v6_) return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
  return bytes_[0] == 169 && bytes_[1] == 254;
}

bool ip_address::is_v4_mapped() const noexcept {
  return v6_ && std::equal(mapped_prefix.begin(), mapped_prefix.end(), bytes_.begin());
}

ip_address ip_address::unmapped() const noexcept {
  if (!is_v4_mapped()) return *this;
  return ip_address(v4_bytes{bytes_[12], bytes_[13], bytes_[14], bytes_[15]});
}

std::string ip_address::to_string() const {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(v6_ ? AF_INET6 : AF_INET, bytes_.data(), text, sizeof text);
  std::string result = text;
  if (scope_ != 0) {
    char name[IF_NAMESIZE] = {};
    result += '%';
    result += if_indextoname(scope_, name) != nullptr ? name : std::to_string(scope_);
  }
  return result;
}

std::optional<endpoint> endpoint::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return {};
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  if (!port) return {};
  std::string_view host = text.substr(0, colon);
  if (host.empty()) return endpoint(ip_address::any_v6(), *port);
  const bool in_brackets = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (in_brackets) host = host.substr(1, host.size() - 2);
  const auto address = ip_address::parse(host);
  if (!address || address->is_v6() != in_brackets) return {};
  return endpoint(*address, *port);
}

std::string endpoint::to_string() const {
  const std::string host = address_.to_string();
  const std::string port = std::to_string(port_);
  return address_.is_v6() ? "[" + host + "]:" + port : host + ":" + port;
}

unix_address::unix_address(std::string_view text)
    : name_(text.starts_with('@') ? text.substr(1) : text), abstract_(text.starts_with('@')) {}

unix_address unix_address::abstract(std::string_view name) {
  unix_address result;
  result.name_ = name;
  result.abstract_ = true;
  return result;
}

std::string unix_address::to_string() const {
  if (!abstract_) return name_;
  std::string text = "@";
  for (const char c : name_) {
    if (c >= ' ' && c <= '~' && c != '\\') {
      text += c;
      continue;
    }
    constexpr std::string_view digits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    text += "\\x";
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

}  // namespace sigrun::net
