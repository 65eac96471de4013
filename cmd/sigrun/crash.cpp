// SPDX-License-Identifier: Apache-2.0
//
// `sigrun crash FILE`: a crash report for people, with names from debugging information that the
// dying process had not; two of them: whether they are the same crash.
#include "subcommands.hpp"
#include "tool_json.hpp"
#include "tool_text.hpp"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun crash [OPTIONS] FILE\n"
    "       sigrun crash --diff FILE OTHER\n"
    "Shows a crash report of a Sigrun program. Frames without files and lines are looked up by\n"
    "build id, by sigrun-symbolize, where the program or its debugging information is.\n"
    "\n"
    "      --diff    compare what failed in two reports\n"
    "      --raw     look nothing up\n"
    "      --json    one JSON document: the report with what was found, or the comparison\n"
    "  -h, --help    this text\n"
    "\n"
    "Exit code: 0; with --diff 1 when the crashes differ; 2 when a file is no crash report.\n";

json read_report(std::string_view path) {
  std::ifstream file{std::string(path)};
  if (!file) throw tool_error(std::string(path) + " cannot be opened");
  json report = json::parse(file, nullptr, false);
  if (report.is_discarded() || !report.is_object() || report.value("kind", "") != "sigrun-crash") {
    throw tool_error(std::string(path) + " is no crash report");
  }
  if (report.value("schema", 0) != 1) {
    throw tool_error(std::string(path) + " has schema " + report["schema"].dump() +
                     ", which this version does not read");
  }
  return report;
}

// Every frame of the report, wherever it stands.
template <class Visit>
void for_each_frame(json& in, Visit visit) {
  if (in.is_object() && in.contains("pc") && in.contains("symbols")) visit(in);
  if (in.is_structured()) {
    for (auto& each : in) for_each_frame(each, visit);
  }
}

bool has_file(const json& frame) {
  const json& symbols = frame["symbols"];
  return !symbols.empty() && symbols.back().contains("file");
}

std::string symbolizer() {
  if (const char* const text = std::getenv("SIGRUN_SYMBOLIZE")) return text;
  std::string self(4096, '\0');
  const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size());
  if (size > 0) {
    self.resize(static_cast<std::size_t>(size));
    self.resize(self.rfind('/') + 1);
    self += "sigrun-symbolize";
    if (::access(self.c_str(), X_OK) == 0) return self;
  }
  return "sigrun-symbolize";
}

// One question to the helper, all at once: it is given as a file, so that neither side can block
// the other.
std::string ask(const std::string& question) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::tmpfile(), &std::fclose);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::tmpfile(), &std::fclose);
  if (!in || !out ||
      std::fwrite(question.data(), 1, question.size(), in.get()) != question.size()) {
    return {};
  }
  std::rewind(in.get());
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, ::fileno(in.get()), 0);
  posix_spawn_file_actions_adddup2(&files, ::fileno(out.get()), 1);
  const std::string path = symbolizer();
  char* const arguments[] = {const_cast<char*>(path.c_str()), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, path.c_str(), &files, nullptr, arguments, ::environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return {};
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid || status != 0) return {};
  std::rewind(out.get());
  std::string answer;
  char piece[4096];
  while (const std::size_t size = std::fread(piece, 1, sizeof piece, out.get())) {
    answer.append(piece, size);
  }
  return answer;
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == '\t') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

std::uint64_t number(const std::string& text, int base) {
  return std::strtoull(text.c_str(), nullptr, base);
}

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string key_of(const json& frame) {
  const std::uint64_t offset = number(frame["offset"].get<std::string>(), 16);
  return hex(frame.value("exact", false) ? offset : offset - 1) + "\t" +
         frame["module"].get<std::string>();
}

void look_up(json& report) {
  std::map<std::string, std::string> ids;
  for (const json& module : report["modules"]) {
    ids[module.value("path", "")] = module.value("build_id", "");
  }
  std::map<std::string, std::vector<json*>> wanted;
  for_each_frame(report, [&](json& frame) {
    if (!has_file(frame) && frame.contains("module")) wanted[key_of(frame)].push_back(&frame);
  });
  std::string question;
  std::vector<const std::vector<json*>*> order;
  for (const auto& [key, frames] : wanted) {
    const std::string path = (*frames.front())["module"].get<std::string>();
    const std::string& id = ids[path];
    // The first field comes back with each line of the answer: here it is the frame's number.
    question += hex(order.size()) + "\t" + key.substr(0, key.find('\t')) + "\t" +
                (id.empty() ? "-" : id) + "\t" + path + "\n";
    order.push_back(&frames);
  }
  if (question.empty()) return;
  std::map<std::size_t, json> found;
  std::string line;
  for (const char c : ask(question + ".\n")) {
    if (c != '\n') {
      line += c;
      continue;
    }
    const std::vector<std::string> f = fields_of(line);
    line.clear();
    if (f.size() != 5) continue;
    json symbol = {{"function", f[1]}};
    if (!f[2].empty()) symbol.update({{"file", f[2]}, {"line", number(f[3], 10)}});
    symbol["offset"] = f[4];
    found[number(f[0], 16)].push_back(std::move(symbol));
  }
  for (auto& [index, symbols] : found) {
    for (json& each : symbols) each["inlined"] = &each != &symbols.back();
    for (json* const frame : *order.at(index)) (*frame)["symbols"] = symbols;
  }
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void add_frames(std::string& out, const json& in) {
  for (const json& frame : in.value("frames", json::array())) {
    const std::string module = frame.value("module", "?");
    for (const json& symbol : frame["symbols"]) {
      out += symbol.value("function", "?") + "(...)\n\t" + symbol.value("file", module) + ":" +
             std::to_string(symbol.value("line", 0)) + " +" + symbol.value("offset", "0x0") + "\n";
    }
    if (frame["symbols"].empty()) {
      const std::string offset = frame.value("offset", frame.value("pc", "0x0"));
      out += module.substr(module.rfind('/') + 1) + "+" + offset + "(...)\n\t" + module + ":0 +" +
             offset + "\n";
    }
  }
  if (in.value("more_frames", false)) out += "...additional frames elided...\n";
}

std::string headline(const json& report) {
  const json& signal = report["signal"];
  std::string text = signal.value("name", "?") + ": " + signal.value("code_name", "?");
  if (signal.contains("address")) text += " at " + text_of(signal["address"]);
  if (report.contains("exception")) {
    const json& exception = report["exception"];
    text = "uncaught exception " + exception.value("type", "?") + ": " +
           exception.value("message", "") + " (" + text + ")";
  }
  return text;
}

std::string text_of_report(const json& report) {
  std::string out = headline(report) + "\n";
  for (const char* const part : {"process", "build"}) {
    out += part;
    out += ":";
    for (const auto& [name, value] : report[part].items()) {
      out += " " + name + "=" + text_of(value);
    }
    out += "\n";
  }
  out += "\n";
  if (report.contains("exception") && report["exception"].contains("thrown_at")) {
    out += "thrown at:\n";
    add_frames(out, report["exception"]["thrown_at"]);
    out += "\n";
  }
  const json& failed = report["failed"];
  if (failed.value("goroutine", 0) == 0) {
    out += "thread " + text_of(failed["tid"]) + " [failed]:\n";
    add_frames(out, failed);
    out += "\n";
  }
  for (const json& each : report["goroutines"]) {
    out += "goroutine " + text_of(each["id"]) + " [" + each.value("state", "?");
    if (const std::string name = each.value("name", ""); !name.empty()) out += ", name=" + name;
    out += "]:\n";
    add_frames(out, each);
    out += "\n";
  }
  for (const json& each : report["threads"]) {
    out += "thread " + text_of(each["tid"]) + " [" + each.value("name", "?") + "]:\n";
    add_frames(out, each);
    out += "\n";
  }
  return out;
}

// What failed, as far as it is the same in the next run: functions, not addresses.
std::vector<std::string> signature(const json& report) {
  std::vector<std::string> lines{report["signal"].value("name", "?") + " " +
                                 report["signal"].value("code_name", "?")};
  const json* where = &report["failed"];
  if (report.contains("exception")) {
    lines.push_back("exception " + report["exception"].value("type", "?"));
    if (report["exception"].contains("thrown_at")) where = &report["exception"]["thrown_at"];
  }
  for (const json& frame : where->value("frames", json::array())) {
    for (const json& symbol : frame["symbols"]) lines.push_back(symbol.value("function", "?"));
    if (frame["symbols"].empty()) {
      lines.push_back(frame.value("module", "?") + "+" + frame.value("offset", "?"));
    }
  }
  return lines;
}

int compare(const json& one, const json& other, bool as_json) {
  const std::vector<std::string> a = signature(one), b = signature(other);
  const bool same = a == b;
  if (as_json) {
    print_json({{"same", same}, {"first", a}, {"second", b}}, 2);
    return same ? 0 : 1;
  }
  const auto common = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  std::string out = same ? "the same crash\n" : "different crashes\n";
  for (std::size_t i = 0; i < common; ++i) out += "  " + a[i] + "\n";
  for (std::size_t i = common; i < a.size(); ++i) out += "- " + a[i] + "\n";
  for (std::size_t i = common; i < b.size(); ++i) out += "+ " + b[i] + "\n";
  print(out);
  return same ? 0 : 1;
}

int crash_body(int argc, char** argv) {
  tool_line line(argc, argv, {{'\1', "json"}, {'\2', "diff"}, {'\3', "raw"}});
  bool as_json = false, diff = false, raw = false;
  while (const char id = line.next()) {
    as_json |= id == '\1';
    diff |= id == '\2';
    raw |= id == '\3';
  }
  const auto load = [raw](std::string_view path) {
    json report = read_report(path);
    if (!raw) look_up(report);
    return report;
  };
  try {
    if (diff) {
      const auto files = line.operands({"FILE", "OTHER"});
      return compare(load(files[0]), load(files[1]), as_json);
    }
    const json report = load(line.operands({"FILE"})[0]);
    if (as_json) {
      print_json(report, 1);
    } else {
      print(text_of_report(report));
    }
  } catch (const json::exception& error) {
    throw tool_error(std::string("the report is damaged: ") + error.what());
  }
  return 0;
}

}  // namespace

int crash_main(int argc, char** argv) { return run_tool("crash", help, argc, argv, &crash_body); }

}  // namespace sigrun::cmd
