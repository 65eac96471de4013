// SPDX-License-Identifier: Apache-2.0
//
// What a request makes its answer depend on: preconditions and ranges (RFC 9110, chapters 13, 14).
#pragma once

#include <sigrun/http.hpp>

#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::http::detail {

struct validators {
  std::string etag;            // with its quotes
  std::int64_t modified = -1;  // seconds since 1970; negative: not known
};

/// Of a file's time and size; another one for its compressed form.
std::string make_etag(const timespec& modified, std::uint64_t size, bool packed);

enum class condition { go_on, not_modified, failed };
/// For GET and HEAD, in the order of RFC 9110, 13.2.2.
condition check_conditions(const request& q, const validators& now);

/// Both ends included.
struct byte_range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t size() const noexcept { return last - first + 1; }
};

enum class range_answer {
  whole,  ///< no Range, or one to ignore: malformed, of another unit, too much of it, If-Range
  parts,
  none,  ///< 416: nothing of what is wanted is there
};
/// Ranges that overlap are ignored, and more than 16: an answer is never longer than the whole.
range_answer wanted_ranges(const request& q, const validators& now, std::uint64_t size,
                           std::vector<byte_range>& ranges);
/// The grammar of Range alone.
range_answer parse_ranges(std::string_view text, std::uint64_t size,
                          std::vector<byte_range>& ranges);

/// Random, for multipart bodies.
std::string make_boundary();

}  // namespace sigrun::http::detail
