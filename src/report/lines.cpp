// SPDX-License-Identifier: Apache-2.0
#include "report/lines.hpp"

#include "report/symbolizer.hpp"
#include "symbol/names.hpp"

namespace sigrun::report {
namespace {

constexpr std::string_view runtime_names[] = {
    "_ZN6sigrun5sched",  "_ZN6sigrun5fiber",     "_ZN6sigrun6detail7go_task",
    "_ZN6sigrun6report", "sigrun_context_start", "sigrun_call_on_stack",
    "sigrun_preempted",
};
// The same in words, as the symbolizer has them.
constexpr std::string_view runtime_words[] = {
    "sigrun::sched::", "sigrun::fiber::",      "sigrun::detail::go_task", "sigrun::report::",
    "sigrun::arch::",  "sigrun_context_start", "sigrun_preempted",        "sigrun_call_on_stack",
};

template <std::size_t N>
bool begins_with_one_of(std::string_view text, const std::string_view (&names)[N]) noexcept {
  for (const std::string_view name : names) {
    if (text.substr(0, name.size()) == name) return true;
  }
  return false;
}

std::string_view base_name(std::string_view path) noexcept {
  const std::size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  return path;
}

}  // namespace

void resolve(const symbol::frame& at, frame_lines& out) noexcept {
  out.count = 1;
  code_line& line = out.lines[0];
  line = code_line{};
  line.offset = at.pc;
  if (!symbol::find_module(at.lookup(), out.image)) {
    out.image = symbol::module_view{};
    return;
  }
  if (const std::size_t count = learned(at.lookup(), out.lines); count != 0) {
    out.count = count;
    for (std::size_t i = 0; i < count; ++i) {
      out.lines[i].runtime = begins_with_one_of(out.lines[i].function, runtime_words);
    }
    if (!out.lines[0].function.empty()) return;
    out.count = 1;
    line = code_line{};
  }
  line.offset = at.pc - out.image.bias;
  symbol::function_name name;
  if (!symbol::find_function(out.image, at.lookup(), name)) return;
  line.function = name.linkage;
  line.offset = name.offset + (at.pc - at.lookup());
  line.linkage = true;
  line.runtime = begins_with_one_of(name.linkage, runtime_names);
}

void write_function(sink& out, const frame_lines& of, const code_line& line,
                    demangler words) noexcept {
  if (!line.function.empty()) {
    if (line.linkage && words != nullptr) {
      words(out, line.function);
    } else {
      out.add(line.function);
    }
    return;
  }
  if (of.image.begin != of.image.end) out.add(base_name(of.image.name())).add('+');
  out.hex(line.offset);
}

std::size_t write_lines(sink& out, const frame_lines& of, bool system, demangler words) noexcept {
  std::size_t written = 0;
  for (std::size_t i = 0; i < of.count; ++i) {
    const code_line& line = of.lines[i];
    if (line.runtime && !system) continue;
    write_function(out, of, line, words);
    out.add("(...)\n\t");
    if (!line.file.empty()) {
      out.add(line.file);
    } else if (of.image.begin != of.image.end) {
      out.add(of.image.name());
    } else {
      out.add("?");
    }
    out.add(':').count(line.line).add(" +").hex(line.offset).add('\n');
    ++written;
  }
  return written;
}

}  // namespace sigrun::report
