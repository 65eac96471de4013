// SPDX-License-Identifier: Apache-2.0
#include "otel/document.hpp"

#include "crash/words.hpp"
#include "report/goroutines.hpp"
#include "report/sink.hpp"
#include "symbol/names.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

#include <nlohmann/json.hpp>

#include <cstdio>

namespace sigrun::otel {
namespace {

using json = nlohmann::json;

std::string hex(std::uint64_t value, int digits) {
  char text[24];
  std::snprintf(text, sizeof text, "%0*llx", digits, static_cast<unsigned long long>(value));
  return text;
}

json value_of(const attribute& one) {
  // 64-bit numbers are strings in this encoding.
  if (one.is_number) return {{"intValue", std::to_string(one.number)}};
  return {{"stringValue", one.text}};
}

json list_of(const std::vector<attribute>& attributes) {
  json list = json::array();
  for (const attribute& one : attributes) {
    list.push_back({{"key", one.key}, {"value", value_of(one)}});
  }
  return list;
}

json event_of(const span_note& note) {
  json attributes = list_of({{"exception.type", note.type},
                             {"exception.message", note.message},
                             {"exception.stacktrace", note.stack}});
  attributes.push_back({{"key", "exception.escaped"}, {"value", {{"boolValue", note.escaped}}}});
  return {{"timeUnixNano", std::to_string(note.time_ns)},
          {"name", "exception"},
          {"attributes", std::move(attributes)}};
}

json span_of(const span_note& note) {
  constexpr int internal = 1;
  constexpr int error = 2;
  return {{"traceId", note.trace_id},
          {"spanId", note.span_id},
          {"name", note.name},
          {"kind", internal},
          {"startTimeUnixNano", std::to_string(note.time_ns)},
          {"endTimeUnixNano", std::to_string(note.time_ns)},
          {"attributes", list_of(note.attributes)},
          {"events", json::array({event_of(note)})},
          {"status", {{"code", error}, {"message", note.message}}}};
}

std::string words_of(std::string_view linkage) {
  std::string text;
  report::sink out(
      [](void* to, std::string_view piece) { static_cast<std::string*>(to)->append(piece); },
      &text);
  crash::write_words(out, linkage);
  out.flush();
  return text;
}

// The innermost first, a frame a line.
void add_frame(std::string& to, const std::string& what, const std::string& where) {
  to.append("at ").append(what);
  if (!where.empty()) to.append(" (").append(where).append(")");
  to.append("\n");
}

std::string stack_of(const fault& what) {
  // Looking names up is one caller's at a time. (symbol/names.hpp (1))
  constexpr std::int64_t patience_ns = 1'000'000'000;
  const bool mine = report::take_turn(sys::now_ns() + patience_ns, false);
  std::string text;
  for (std::size_t i = 0; i < what.stack().size(); ++i) {
    const std::uint64_t pc = what.stack()[i];
    symbol::module_view image;
    if (!symbol::find_module(pc, image)) {
      add_frame(text, "0x" + hex(pc, 1), {});
      continue;
    }
    const std::string where = std::string(image.name()) + "+0x" + hex(pc - image.bias, 1);
    symbol::function_name name;
    const bool known = mine && symbol::find_function(image, i == 0 ? pc : pc - 1, name);
    add_frame(text, known ? words_of(name.linkage) : "?", where);
  }
  if (what.stack_cut) text.append("...\n");
  if (mine) report::give_turn();
  return text;
}

std::string stack_of(const json& frames) {
  std::string text;
  for (const json& frame : frames) {
    const std::string where = frame.value("module", "") + "+" + frame.value("offset", "");
    const json symbols = frame.value("symbols", json::array());
    if (symbols.empty()) add_frame(text, frame.value("pc", "?"), where);
    for (const json& symbol : symbols) {
      const std::string file = symbol.value("file", "");
      add_frame(text, words_of(symbol.value("function", "?")),
                file.empty() ? where : file + ":" + std::to_string(symbol.value("line", 0)));
    }
  }
  return text;
}

// Of all of the text, so that a report that is sent twice, because the sender died before it could
// say so, is the same span. FNV-1a.
std::uint64_t hash_of(std::string_view text, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325U ^ seed;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash != 0 ? hash : 1;
}

attribute text(std::string key, std::string value) { return {std::move(key), std::move(value)}; }
attribute number(std::string key, std::int64_t value) { return {std::move(key), {}, value, true}; }

void read_report(const json& report, resource& about, span_note& out) {
  const json& build = report.at("build");
  const json& process = report.at("process");
  const json& signal = report.at("signal");
  const json& failed = report.at("failed");
  about.push_back(text("service.version", build.value("version", "")));
  about.push_back(number("process.pid", process.value("pid", 0)));
  about.push_back(text("process.executable.path", process.value("executable", "")));
  out.name = "crash";
  out.time_ns = report.at("time_unix_ns").get<std::int64_t>();
  out.escaped = true;
  const std::string name = signal.value("name", "");
  if (report.value("reason", "") == "exception" && report.contains("exception")) {
    const json& exception = report["exception"];
    out.type = exception.value("type", "");
    out.message = exception.value("message", "");
    if (exception.contains("thrown_at")) out.stack = stack_of(exception["thrown_at"].at("frames"));
  } else {
    out.type = name;
    out.message = name + " (" + signal.value("code_name", "") + ")";
    if (signal.contains("address")) out.message += " at " + signal.value("address", "");
  }
  if (out.stack.empty()) out.stack = stack_of(failed.at("frames"));
  out.attributes = {text("sigrun.signal", name),
                    text("sigrun.signal.code", signal.value("code_name", "")),
                    text("sigrun.reason", report.value("reason", "")),
                    text("sigrun.build_id", build.value("build_id", "")),
                    text("thread.name", process.value("thread", "")),
                    number("thread.id", process.value("tid", 0)),
                    number("sigrun.goroutine.id", failed.value("goroutine", std::int64_t{0}))};
}

}  // namespace

std::string document_of(const resource& about, const std::vector<span_note>& spans) {
  json list = json::array();
  for (const span_note& note : spans) list.push_back(span_of(note));
  const json scope = {{"scope", {{"name", "sigrun"}}}, {"spans", std::move(list)}};
  const json whole = {{"resource", {{"attributes", list_of(about)}}},
                      {"scopeSpans", json::array({scope})}};
  const json document = {{"resourceSpans", json::array({whole})}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

span_note note_of(const fault& what, std::int64_t time_ns) {
  std::uint64_t random[3] = {};
  sys::call(SYS_getrandom, random, sizeof random, 0);
  span_note note;
  note.name = "fault";
  note.trace_id = hex(random[0] | 1, 16) + hex(random[1], 16);
  note.span_id = hex(random[2] | 1, 16);
  note.time_ns = time_ns;
  note.type = "sigrun::fault_error";
  note.message = describe(what);
  note.stack = stack_of(what);
  note.attributes = {
      text("sigrun.signal", std::string(signal_name(what.signal))),
      text("sigrun.signal.code", std::string(signal_code_name(what.signal, what.code))),
      number("thread.id", what.tid),
      number("sigrun.goroutine.id", static_cast<std::int64_t>(what.goroutine)),
      number("sigrun.locks_poisoned", what.locks_size)};
  return note;
}

bool note_of_report(std::string_view text, std::string_view file_name, resource& about,
                    span_note& out) {
  const json report = json::parse(text, nullptr, false);
  if (report.is_discarded() || !report.is_object() || !report.value("complete", false))
    return false;
  try {
    if (report.at("kind") != "sigrun-crash" || report.at("schema") != 1) return false;
    read_report(report, about, out);
  } catch (const json::exception&) {
    return false;
  }
  out.attributes.push_back(otel::text("sigrun.crash.file", std::string(file_name)));
  out.trace_id = hex(hash_of(text, 1), 16) + hex(hash_of(text, 2), 16);
  out.span_id = hex(hash_of(text, 3), 16);
  return true;
}

}  // namespace sigrun::otel
