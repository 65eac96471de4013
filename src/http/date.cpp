// SPDX-License-Identifier: Apache-2.0
#include "http/date.hpp"

#include "http/text.hpp"

#include <time.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>

namespace sigrun::http::detail {
namespace {

constexpr const char* day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr const char* month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/// Days since 1970 of a date of the Gregorian calendar.
constexpr std::int64_t days_from_civil(std::int64_t year, int month, int day) noexcept {
  year -= month <= 2;
  const std::int64_t era = year / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
         719468;
}
static_assert(days_from_civil(1970, 1, 1) == 0);
static_assert(days_from_civil(2000, 3, 1) == 11017);

class scanner {
 public:
  explicit scanner(std::string_view text) noexcept : rest_(text) {}
  bool text(std::string_view wanted) noexcept {
    if (!rest_.starts_with(wanted)) return false;
    rest_.remove_prefix(wanted.size());
    return true;
  }
  bool number(std::size_t digits, int& value, bool padded_by_space = false) noexcept {
    if (rest_.size() < digits) return false;
    std::string_view part = rest_.substr(0, digits);
    if (padded_by_space && part[0] == ' ') part.remove_prefix(1);
    const auto parsed = parse_number(part);
    if (!parsed) return false;
    value = static_cast<int>(*parsed);
    rest_.remove_prefix(digits);
    return true;
  }
  bool month(int& value) noexcept {
    for (int i = 0; i < 12; ++i) {
      if (text(month_names[i])) {
        value = i + 1;
        return true;
      }
    }
    return false;
  }
  bool clock(int& hour, int& minute, int& second) noexcept {
    return number(2, hour) && text(":") && number(2, minute) && text(":") && number(2, second);
  }
  bool end() const noexcept { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace

std::string http_date(std::int64_t seconds) {
  const time_t at = seconds;
  tm parts{};
  gmtime_r(&at, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                day_names[parts.tm_wday % 7], parts.tm_mday, month_names[parts.tm_mon % 12],
                parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
  return text;
}

std::optional<std::int64_t> parse_http_date(std::string_view text) noexcept {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  const std::size_t comma = text.find(',');
  bool good = false;
  if (comma == 3) {  // Sun, 06 Nov 1994 08:49:37 GMT
    scanner s(text.substr(4));
    good = s.text(" ") && s.number(2, day) && s.text(" ") && s.month(month) && s.text(" ") &&
           s.number(4, year) && s.text(" ") && s.clock(hour, minute, second) && s.text(" GMT") &&
           s.end();
  } else if (comma != std::string_view::npos) {  // Sunday, 06-Nov-94 08:49:37 GMT
    scanner s(text.substr(comma + 1));
    good = s.text(" ") && s.number(2, day) && s.text("-") && s.month(month) && s.text("-") &&
           s.number(2, year) && s.text(" ") && s.clock(hour, minute, second) && s.text(" GMT") &&
           s.end();
    year += year >= 70 ? 1900 : 2000;
  } else if (text.size() > 4) {  // Sun Nov  6 08:49:37 1994
    scanner s(text.substr(4));
    good = s.month(month) && s.text(" ") && s.number(2, day, true) && s.text(" ") &&
           s.clock(hour, minute, second) && s.text(" ") && s.number(4, year) && s.end();
  }
  if (!good || year < 1970 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) {
    return std::nullopt;
  }
  return ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

void append_date_line(std::string& to) {
  // "Date: " and 29 characters and the line's end, made once a second. A slot is published by its
  // second: 0 while somebody writes it; of two slots the one for now is used.
  struct slot {
    std::atomic<std::int64_t> second{0};
    std::array<std::atomic<std::uint64_t>, 5> text{};
  };
  static slot slots[2];
  constexpr std::size_t length = 37;
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  slot& mine = slots[now.tv_sec & 1];
  std::uint64_t words[5];
  if (mine.second.load(std::memory_order_acquire) == now.tv_sec) {  // pairs with the store below
    for (std::size_t i = 0; i < 5; ++i) words[i] = mine.text[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);  // the words were read before the check
    if (mine.second.load(std::memory_order_relaxed) == now.tv_sec) {
      to.append(reinterpret_cast<const char*>(words), length);
      return;
    }
  }
  const std::string line = "Date: " + http_date(now.tv_sec) + "\r\n";
  to.append(line);
  std::int64_t seen = mine.second.load(std::memory_order_relaxed);
  if (seen == -1 || seen == now.tv_sec || line.size() != length) return;
  if (!mine.second.compare_exchange_strong(seen, -1, std::memory_order_acquire)) return;
  std::atomic_thread_fence(std::memory_order_release);  // -1 is seen before any new word
  std::memset(words, 0, sizeof words);
  std::memcpy(words, line.data(), length);
  for (std::size_t i = 0; i < 5; ++i) mine.text[i].store(words[i], std::memory_order_relaxed);
  mine.second.store(now.tv_sec, std::memory_order_release);
}

}  // namespace sigrun::http::detail
