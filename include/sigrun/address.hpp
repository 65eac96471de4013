// SPDX-License-Identifier: Apache-2.0
//
// Where a socket is: IPv4 and IPv6 addresses with a port, and Unix addresses. Values without
// resources; any thread may use its own, and nothing here blocks or looks a name up.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sigrun::net {

/// An IPv4 or IPv6 address; 0.0.0.0 by default.
class ip_address {
 public:
  using v4_bytes = std::array<std::uint8_t, 4>;
  using v6_bytes = std::array<std::uint8_t, 16>;

  constexpr ip_address() noexcept = default;
  /// In network byte order: {127, 0, 0, 1}.
  constexpr explicit ip_address(const v4_bytes& bytes) noexcept {
    for (std::size_t i = 0; i < 4; ++i) bytes_[i] = bytes[i];
  }
  /// `scope` is the index of the interface that a link-local address belongs to, 0 for none.
  constexpr explicit ip_address(const v6_bytes& bytes, std::uint32_t scope = 0) noexcept
      : bytes_(bytes), scope_(scope), v6_(true) {}

  /// "127.0.0.1", "::1", "fe80::1%eth0" or "fe80::1%2" (the interface must exist); no names, no
  /// brackets, no blanks. Nothing when it is not an address.
  static std::optional<ip_address> parse(std::string_view text);

  static constexpr ip_address any_v4() noexcept { return {}; }
  static constexpr ip_address any_v6() noexcept { return ip_address(v6_bytes{}); }
  static constexpr ip_address loopback_v4() noexcept { return ip_address(v4_bytes{127, 0, 0, 1}); }
  static constexpr ip_address loopback_v6() noexcept {
    v6_bytes bytes{};
    bytes[15] = 1;
    return ip_address(bytes);
  }

  constexpr bool is_v4() const noexcept { return !v6_; }
  constexpr bool is_v6() const noexcept { return v6_; }
  bool is_unspecified() const noexcept;  ///< 0.0.0.0 or ::
  bool is_loopback() const noexcept;     ///< 127.0.0.0/8, ::1, or ::ffff:127.0.0.0/104
  bool is_multicast() const noexcept;
  bool is_link_local() const noexcept;  ///< 169.254.0.0/16 or fe80::/10
  bool is_v4_mapped() const noexcept;   ///< ::ffff:0:0/96

  /// The first four bytes for IPv4, all sixteen for IPv6.
  constexpr const v6_bytes& bytes() const noexcept { return bytes_; }
  constexpr std::uint32_t scope() const noexcept { return scope_; }
  /// The IPv4 address inside ::ffff:a.b.c.d; any other is returned as it is.
  ip_address unmapped() const noexcept;

  /// As RFC 5952 wants it, with "%" and the interface's name (its index when it has no name).
  std::string to_string() const;

  friend auto operator<=>(const ip_address&, const ip_address&) = default;

 private:
  v6_bytes bytes_{};
  std::uint32_t scope_ = 0;
  bool v6_ = false;
};

/// An IP address and a port.
class endpoint {
 public:
  constexpr endpoint() noexcept = default;
  constexpr endpoint(const ip_address& address, std::uint16_t port) noexcept
      : address_(address), port_(port) {}

  /// "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80"; ":80" is any_v6(), which takes IPv4 too when
  /// it is listened on. The port is a decimal number up to 65535. Nothing when it is not one.
  static std::optional<endpoint> parse(std::string_view text);

  constexpr const ip_address& address() const noexcept { return address_; }
  constexpr std::uint16_t port() const noexcept { return port_; }
  std::string to_string() const;

  friend auto operator<=>(const endpoint&, const endpoint&) = default;

 private:
  ip_address address_;
  std::uint16_t port_ = 0;
};

/// The address of a Unix socket: a path, a name in the abstract namespace, or none (what a client
/// that was not bound has).
class unix_address {
 public:
  /// Bytes that a path may have at most, resp. an abstract name. Longer ones are refused where
  /// they are used: std::errc::filename_too_long.
  static constexpr std::size_t path_max = 107;

  unix_address() = default;
  /// The path, or "@name" for the abstract `name`; "" is unnamed. A path that begins with "@" can
  /// be written "./@…".
  unix_address(std::string_view text);  // NOLINT(google-explicit-constructor): it is one
  unix_address(const char* text) : unix_address(std::string_view(text)) {}         // NOLINT
  unix_address(const std::string& text) : unix_address(std::string_view(text)) {}  // NOLINT
  /// An abstract name of any bytes, NUL included.
  static unix_address abstract(std::string_view name);

  bool is_unnamed() const noexcept { return name_.empty() && !abstract_; }
  bool is_abstract() const noexcept { return abstract_; }
  /// The path, or the abstract name without its "@".
  const std::string& name() const noexcept { return name_; }
  /// As the constructor takes it; other bytes of an abstract name than printable ASCII, and "\",
  /// are written "\x00".
  std::string to_string() const;

  friend bool operator==(const unix_address&, const unix_address&) = default;

 private:
  std::string name_;
  bool abstract_ = false;
};

}  // namespace sigrun::net
