// SPDX-License-Identifier: Apache-2.0
#include "http/conditions.hpp"

#include "http/date.hpp"
#include "http/text.hpp"
#include "sys/syscall.hpp"

#include <sys/syscall.h>

#include <algorithm>
#include <cstdio>

namespace sigrun::http::detail {
namespace {

constexpr std::size_t ranges_max = 16;

std::string_view without_weakness(std::string_view tag) noexcept {
  return tag.starts_with("W/") ? tag.substr(2) : tag;
}

/// Whether a list of entity tags, or "*", has this one. (RFC 9110, 8.8.3.2)
bool lists_tag(std::string_view list, std::string_view tag, bool weakly) noexcept {
  if (trimmed(list) == "*") return true;
  list_elements elements(list);
  while (const auto element = elements.next()) {
    if (weakly ? without_weakness(*element) == without_weakness(tag)
               : *element == tag && !tag.starts_with("W/")) {
      return true;
    }
  }
  return false;
}

bool modified_after(const validators& now, std::string_view date) noexcept {
  const auto then = parse_http_date(date);
  return then && now.modified > *then;
}

}  // namespace

std::string make_etag(const timespec& modified, std::uint64_t size, bool packed) {
  char text[80];
  std::snprintf(text, sizeof text, "\"%llx.%lx-%llx%s\"",
                static_cast<unsigned long long>(modified.tv_sec),
                static_cast<unsigned long>(modified.tv_nsec), static_cast<unsigned long long>(size),
                packed ? "-gz" : "");
  return text;
}

condition check_conditions(const request& q, const validators& now) {
  if (q.has_header("If-Match")) {
    if (!lists_tag(q.header_value("If-Match"), now.etag, false)) return condition::failed;
  } else if (now.modified >= 0 && modified_after(now, q.header_value("If-Unmodified-Since"))) {
    return condition::failed;
  }
  if (q.has_header("If-None-Match")) {
    if (lists_tag(q.header_value("If-None-Match"), now.etag, true)) return condition::not_modified;
  } else if (const auto since = parse_http_date(q.header_value("If-Modified-Since"));
             since && now.modified >= 0 && now.modified <= *since) {
    return condition::not_modified;
  }
  return condition::go_on;
}

range_answer parse_ranges(std::string_view text, std::uint64_t size,
                          std::vector<byte_range>& ranges) {
  ranges.clear();
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || !same_name(trimmed(text.substr(0, equals)), "bytes")) {
    return range_answer::whole;
  }
  std::size_t count = 0;
  list_elements elements(text.substr(equals + 1));
  while (const auto element = elements.next()) {
    if (++count > ranges_max) return range_answer::whole;
    const std::size_t dash = element->find('-');
    if (dash == std::string_view::npos) return range_answer::whole;
    const std::string_view from = trimmed(element->substr(0, dash));
    const std::string_view to = trimmed(element->substr(dash + 1));
    const auto first = parse_number(from);
    const auto last = parse_number(to);
    if ((!first && !from.empty()) || (!last && !to.empty()) || (from.empty() && to.empty())) {
      return range_answer::whole;
    }
    if (from.empty()) {  // so many from the end
      if (*last != 0 && size != 0) ranges.push_back({size - std::min(size, *last), size - 1});
      continue;
    }
    if (last && *last < *first) return range_answer::whole;
    if (*first < size) ranges.push_back({*first, std::min(last.value_or(size - 1), size - 1)});
  }
  if (count == 0) return range_answer::whole;
  if (ranges.empty()) return range_answer::none;
  auto sorted = ranges;
  std::sort(sorted.begin(), sorted.end(),
            [](const byte_range& a, const byte_range& b) { return a.first < b.first; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].first <= sorted[i - 1].last) return range_answer::whole;
  }
  return range_answer::parts;
}

range_answer wanted_ranges(const request& q, const validators& now, std::uint64_t size,
                           std::vector<byte_range>& ranges) {
  const std::string_view text = q.header_value("Range");
  if (text.empty() || q.method() != "GET") return range_answer::whole;
  if (const std::string_view only_if = trimmed(q.header_value("If-Range")); !only_if.empty()) {
    const bool same = only_if.ends_with('"')
                          ? lists_tag(only_if, now.etag, false) && only_if != "*"
                          : parse_http_date(only_if) == std::optional<std::int64_t>(now.modified);
    if (!same) return range_answer::whole;
  }
  return parse_ranges(text, size, ranges);
}

std::string make_boundary() {
  std::uint64_t random[2] = {};
  sys::call(SYS_getrandom, random, sizeof random, 0);
  char text[40];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(random[0]),
                static_cast<unsigned long long>(random[1]));
  return text;
}

}  // namespace sigrun::http::detail
