// SPDX-License-Identifier: Apache-2.0
#include "service/text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <exception>
#include <numeric>
#include <vector>

namespace sigrun::service {
namespace {

struct unit {
  std::string_view name;
  double nanoseconds;
};
// Longer names first: "ms" is not "m" and a rest.
constexpr unit units[] = {{"min", 60e9}, {"ns", 1},   {"us", 1e3},   {"ms", 1e6},
                          {"s", 1e9},    {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};

}  // namespace

std::optional<std::int64_t> parse_number(std::string_view text) noexcept {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text,
                                                       bool bare_seconds) noexcept {
  double sum = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    if (text[0] < '0' || text[0] > '9') return std::nullopt;
    double number = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc{}) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    if (text.empty()) {
      if (!bare_seconds || sum != 0) return std::nullopt;
      sum = number * 1e9;
      break;
    }
    const unit* const found =
        std::find_if(std::begin(units), std::end(units),
                     [&](const unit& one) { return text.substr(0, one.name.size()) == one.name; });
    if (found == std::end(units)) return std::nullopt;
    text.remove_prefix(found->name.size());
    sum += number * found->nanoseconds;
  }
  if (sum > 9.2e18) return std::nullopt;
  return std::chrono::nanoseconds(std::llround(sum));
}

std::string describe(std::chrono::nanoseconds time) {
  const double ns = static_cast<double>(time.count());
  char text[48];
  if (ns < 1e6) {
    std::snprintf(text, sizeof text, "%.0f us", ns / 1e3);
  } else if (ns < 1e9) {
    std::snprintf(text, sizeof text, "%.0f ms", ns / 1e6);
  } else if (ns < 60e9) {
    std::snprintf(text, sizeof text, "%.1f s", ns / 1e9);
  } else {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
    std::snprintf(text, sizeof text, "%lld min %lld s", static_cast<long long>(seconds / 60),
                  static_cast<long long>(seconds % 60));
  }
  return text;
}

std::string bad_variable(std::string_view name, std::string_view value, std::string_view wanted) {
  return std::string(name) + "=" + std::string(value) + " is not " + std::string(wanted);
}

std::string what_of_current_exception() noexcept {
  try {
    try {
      throw;
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "an exception that is no std::exception";
    }
  } catch (...) {
    return {};  // no memory for words
  }
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t same = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, same});
    }
  }
  return row[b.size()];
}

}  // namespace sigrun::service
