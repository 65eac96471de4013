// SPDX-License-Identifier: Apache-2.0
#include "report/lines.hpp"

#include "symbol/names.hpp"

namespace sigrun::report {
namespace {

constexpr std::string_view runtime_names[] = {
    "_ZN6sigrun5sched",  "_ZN6sigrun5fiber",         "_ZN6sigrun6detail7go_task",
    "_ZN6sigrun6report", "sigrun_context_start",     "sigrun_call_on_stack",
    "sigrun_preempted",  "sigrun_inject_preemption",
};

bool is_runtime(std::string_view linkage) noexcept {
  for (const std::string_view name : runtime_names) {
    if (linkage.substr(0, name.size()) == name) return true;
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
  line.offset = at.pc - out.image.bias;
  symbol::function_name name;
  if (!symbol::find_function(out.image, at.lookup(), name)) return;
  line.function = name.linkage;
  line.offset = name.offset + (at.pc - at.lookup());
  line.linkage = true;
  line.runtime = is_runtime(name.linkage);
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
