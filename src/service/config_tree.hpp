// SPDX-License-Identifier: Apache-2.0
//
// A configuration file as a tree, whatever its format, with the line of each node.
//
// Invariants:
//  (1) A tree is at most levels_max deep, so that it can be walked and destroyed on any stack.
//  (2) Parsers run on stacks of 8 MiB, in a foreign call, and get at most bytes_max bytes.
#pragma once

#include <sigrun/config.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::config::detail {

inline constexpr std::size_t bytes_max = 4U << 20;
inline constexpr int levels_max = 32;
inline constexpr std::size_t problems_max = 100;

enum class kind : std::uint8_t { nothing, boolean, integer, number, text, array, table };

struct node {
  kind what = kind::nothing;
  int line = 0;
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<node> items;
  std::map<std::string, node, std::less<>> members;
};

struct reading {
  std::string file;
  std::vector<problem> problems;
  std::size_t dropped = 0;  // beyond problems_max

  void note(int line, std::string key, std::string what);
};

/// What is not well-formed is thrown as invalid.
node parse_toml(std::string_view text, const std::string& file);
node parse_json(std::string_view text, const std::string& file);
[[noreturn]] void malformed(const std::string& file, int line, std::string what);
/// At most bytes_max + 1 bytes of whatever `path` is; std::system_error. FNV-1a of a text.
std::string read_bounded(const std::string& path);
std::uint64_t hash_of(std::string_view text) noexcept;
inline constexpr std::string_view too_deep = "nested more than 32 levels deep";

}  // namespace sigrun::config::detail
