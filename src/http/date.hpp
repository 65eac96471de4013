// SPDX-License-Identifier: Apache-2.0
//
// Dates as HTTP has them: "Sun, 06 Nov 1994 08:49:37 GMT". (RFC 9110, 5.6.7)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sigrun::http::detail {

/// Seconds since 1970, which must be in the years 1970 to 9999.
std::string http_date(std::int64_t seconds);
/// Any of the three forms that a recipient must understand; nothing for what is none.
std::optional<std::int64_t> parse_http_date(std::string_view text) noexcept;
/// "Date: …\r\n" of now.
void append_date_line(std::string& to);

}  // namespace sigrun::http::detail
