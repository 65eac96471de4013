// SPDX-License-Identifier: Apache-2.0
//
// Numbers and times as people write them in environment variables and configuration files, and as
// they like to read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sigrun::service {

/// A decimal number, all of the text; nothing for anything else or what does not fit.
std::optional<std::int64_t> parse_number(std::string_view text) noexcept;

/// "30s", "250ms", "1m30s", "2h", "10us", "5ns", "1.5s"; a bare number only when `bare_seconds`.
/// Nothing for anything else, negative or too long (292 years).
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text,
                                                       bool bare_seconds = false) noexcept;

/// "350 us", "12 ms", "4.2 s", "3 min 5 s": two places that matter.
std::string describe(std::chrono::nanoseconds time);

/// "NAME=value is not <wanted>".
std::string bad_variable(std::string_view name, std::string_view value, std::string_view wanted);

/// What an exception says.
std::string what_of_current_exception() noexcept;

/// How many single changes lead from one word to the other: for "did you mean".
std::size_t edit_distance(std::string_view a, std::string_view b);

/// Runs f() when it goes, also when goexit() unwinds the stack.
template <class F>
class at_end {
 public:
  explicit at_end(F f) : f_(std::move(f)) {}
  ~at_end() { f_(); }
  at_end(const at_end&) = delete;
  at_end& operator=(const at_end&) = delete;

 private:
  F f_;
};

}  // namespace sigrun::service
