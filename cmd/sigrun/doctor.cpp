// SPDX-License-Identifier: Apache-2.0
//
// `sigrun doctor PID`: looks at a process several times and says in words what is wrong with its
// signals.
#include "doctor_rules.hpp"
#include "subcommands.hpp"
#include "tool_json.hpp"
#include "tool_text.hpp"

#include "sys/clock.hpp"

#include <poll.h>

#include <algorithm>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun doctor [OPTIONS] PID\n"
    "Looks at a process from outside and says in words what is wrong with its signals: what is\n"
    "wrong, what follows, where it can be seen and what to do. docs/doctor.md explains each\n"
    "finding by its id.\n"
    "\n"
    "      --looks N      look N times and report only what lasts (default 3, at most 100)\n"
    "      --interval T   time between two looks (default 50ms)\n"
    "      --strict       notes count as findings for the exit code\n"
    "      --json         one JSON document\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit code: 0 healthy (notes may be printed), 1 warnings or errors were found, 2 the process\n"
    "does not exist or cannot be read.\n";

struct doctor_options {
  int looks = 3;
  std::chrono::milliseconds interval{50};
  bool strict = false;
  bool as_json = false;
};

bool same_child(const procfs::zombie& a, const procfs::zombie& b) { return a.pid == b.pid; }

doctor_input examine(int pid, const doctor_options& options) {
  doctor_input in;
  in.looks = options.looks;
  const std::int64_t begin = sys::now_ns();
  in.view = procfs::read_process(pid, procfs::detail::full);
  in.zombies = procfs::zombies_of(pid);
  for (int look = 1; look < options.looks; ++look) {
    // A plain pause: a process cannot tell anybody that its mask has changed.
    poll(nullptr, 0, static_cast<int>(options.interval.count()));
    in.view = procfs::steady(in.view, procfs::read_process(pid, procfs::detail::full));
    const auto now = procfs::zombies_of(pid);
    std::erase_if(in.zombies, [&](const procfs::zombie& child) {
      return std::none_of(now.begin(), now.end(),
                          [&](const procfs::zombie& z) { return same_child(z, child); });
    });
  }
  in.span = std::chrono::milliseconds{(sys::now_ns() - begin) / 1'000'000};
  return in;
}

json to_json(const doctor_input& in, const std::vector<finding>& findings, bool healthy) {
  json out = {{"pid", in.view.pid},
              {"name", in.view.main().name},
              {"threads", in.view.threads.size()},
              {"looks", in.looks},
              {"span_ms", in.span.count()},
              {"healthy", healthy},
              {"findings", json::array()}};
  for (const finding& f : findings) {
    out["findings"].push_back({{"id", f.id},
                               {"severity", to_string(f.how_bad)},
                               {"signals", set_json(f.signals)},
                               {"tids", f.tids},
                               {"text", f.text},
                               {"why", f.why},
                               {"evidence", f.evidence},
                               {"advice", f.advice}});
  }
  return out;
}

void add_paragraph(std::string& out, std::string_view label, std::string_view text) {
  constexpr std::size_t indent = 8;
  bool first = true;
  for (const std::string& line : wrap(text, 90 - indent)) {
    std::string lead = first ? "  " + std::string{label} : "";
    lead.resize(indent, ' ');
    out += lead + line + "\n";
    first = false;
  }
}

std::string to_text(const doctor_input& in, const std::vector<finding>& findings) {
  std::size_t count[3] = {};
  for (const finding& f : findings) ++count[static_cast<int>(f.how_bad)];
  const auto plural = [](std::size_t n, const std::string& word) {
    return std::to_string(n) + " " + word + (n == 1 ? "" : "s");
  };
  std::string out = std::to_string(in.view.pid) + " " + printable(in.view.main().name) + ", " +
                    plural(in.view.threads.size(), "thread") + ": ";
  if (findings.empty()) return out + "nothing is wrong with its signals\n";
  out += plural(count[2], "error") + ", " + plural(count[1], "warning") + ", " +
         plural(count[0], "note") + "\n";
  for (const finding& f : findings) {
    out += "\n" + std::string{to_string(f.how_bad)} + " [" + std::string{f.id} + "]\n";
    add_paragraph(out, "", f.text);
    add_paragraph(out, "Why", f.why);
    for (const std::string& line : f.evidence) add_paragraph(out, "Seen", line);
    add_paragraph(out, "Do", f.advice);
  }
  return out;
}

int body(int argc, char** argv) {
  doctor_options options;
  tool_line line(argc, argv,
                 {{1, "looks", argument::required},
                  {2, "interval", argument::required},
                  {3, "strict"},
                  {4, "json"}});
  while (const char option = line.next()) {
    if (option == 1) {
      options.looks = static_cast<int>(parse_count(line.value(), "--looks", 100));
    }
    if (option == 2) options.interval = parse_time(line.value(), "--interval");
    if (option == 3) options.strict = true;
    if (option == 4) options.as_json = true;
  }
  if (options.interval > std::chrono::hours{1}) throw tool_error("--interval: at most 1h");
  const int pid = parse_id(line.operands({"PID"})[0], "process id");
  const doctor_input in = examine(pid, options);
  const std::vector<finding> findings = diagnose(in);
  const severity counts = options.strict ? severity::note : severity::warning;
  const bool healthy = std::none_of(findings.begin(), findings.end(), [&](const finding& f) {
    return static_cast<int>(f.how_bad) >= static_cast<int>(counts);
  });
  if (options.as_json) {
    print_json(to_json(in, findings, healthy), 2);
  } else {
    print(to_text(in, findings));
  }
  return healthy ? 0 : 1;
}

}  // namespace

int doctor_main(int argc, char** argv) { return run_tool("doctor", help, argc, argv, body); }

}  // namespace sigrun::cmd
