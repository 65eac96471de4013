// SPDX-License-Identifier: Apache-2.0
//
// What the kit says about itself, and who says it: a log that hangs or throws holds nothing up.
#pragma once

#include <sigrun/chan.hpp>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace sigrun::service {

/// Lines for people: to the user's function, in a goroutine of that name, or to stderr. Never
/// blocks for long.
class line_log {
 public:
  void open(std::string_view name, std::function<void(std::string_view)> to);
  void write(const std::string& line) noexcept;
  /// Waits a second at most for the lines that are under way.
  void close() noexcept;

 private:
  static constexpr std::size_t lines_max = 256;
  chan<std::string> lines_;
  chan<bool> over_;
};

}  // namespace sigrun::service
