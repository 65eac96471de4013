// SPDX-License-Identifier: Apache-2.0
//
// What is written for one frame. Names come from the symbol table of the image; where there is
// none, the image and the address in it say as much to a tool that has the symbols.
#pragma once

#include "report/sink.hpp"
#include "symbol/modules.hpp"
#include "symbol/unwind.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sigrun::report {

/// A function at a place in the code. A frame has more than one when calls were inlined: the
/// innermost first.
struct code_line {
  std::string_view function;  // empty: unknown
  std::string_view file;      // empty: unknown
  std::uint32_t line = 0;
  std::uint64_t offset = 0;  // in the function if that is known, else in the image
  bool linkage = false;      // `function` is the linker's name for it
  bool runtime = false;      // belongs to the scheduler
};

inline constexpr std::size_t lines_max = 12;

struct frame_lines {
  symbol::module_view image;  // begin == end: none
  code_line lines[lines_max];
  std::size_t count = 0;  // 1 at least
};

/// With the dump turn.
SIGRUN_SIGNAL_SAFE void resolve(const symbol::frame& at, frame_lines& out) noexcept;

/// Puts a linker's name into words; may allocate. nullptr where that is not allowed.
using demangler = void (*)(sink& out, std::string_view linkage);

/// "name(...)\n\tfile:line +0x1f\n" for each line, as Go does (runtime/traceback.go). Lines of the
/// scheduler only when `system`. Returns how many were written.
SIGRUN_SIGNAL_SAFE std::size_t write_lines(sink& out, const frame_lines& of, bool system,
                                           demangler words) noexcept;
SIGRUN_SIGNAL_SAFE void write_function(sink& out, const frame_lines& of, const code_line& line,
                                       demangler words) noexcept;

}  // namespace sigrun::report
