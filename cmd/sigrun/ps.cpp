// SPDX-License-Identifier: Apache-2.0
//
// `sigrun ps PID`: what each thread of a process blocks, waits for and has pending, and what the
// process ignores and catches.
#include "subcommands.hpp"
#include "tool_json.hpp"
#include "tool_text.hpp"

#include "procfs/process.hpp"

#include <algorithm>
#include <array>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun ps [OPTIONS] PID\n"
    "Shows what a process does with its signals: what it ignores and catches, and what each of\n"
    "its threads blocks, waits for and has pending.\n"
    "\n"
    "  -t, --threads      one row for each thread; otherwise threads that are alike share one\n"
    "  -a, --all-signals  one row for each signal as well, and sets spelled out, with the two\n"
    "                     signals that the C library keeps for itself\n"
    "      --json         one JSON document\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit code: 0, or 2 when the process does not exist or cannot be read.\n";

struct ps_options {
  bool threads = false;
  bool all_signals = false;
};

std::string_view disposition(const procfs::thread_status& main, int signo) {
  if (main.ignored.has(signo)) return "ignored";
  return main.caught.has(signo) ? "caught" : "default";
}

std::string_view default_word(int signo) {
  switch (signal_default_action(signo)) {
    case default_action::terminate:
      return "terminate";
    case default_action::core:
      return "core";
    case default_action::ignore:
      return "ignore";
    case default_action::stop:
      return "stop";
    case default_action::resume:
      return "continue";
  }
  return "?";
}

json thread_json(const procfs::thread_view& thread) {
  const procfs::thread_status& s = thread.status;
  return {{"tid", s.tid},
          {"name", s.name},
          {"state", state_word(s.state)},
          {"blocked", set_json(s.blocked)},
          {"ignored", set_json(s.ignored)},
          {"caught", set_json(s.caught)},
          {"pending", set_json(s.pending)},
          {"shared_pending", set_json(s.shared_pending)},
          {"waits", thread.waits},
          {"awaited", set_json(thread.awaited)}};
}

// The threads in whose set `signo` is.
template <class Set>
json threads_with(const procfs::process_view& view, int signo, Set set) {
  json tids = json::array();
  for (const procfs::thread_view& thread : view.threads) {
    if (set(thread).has(signo)) tids.push_back(thread.status.tid);
  }
  return tids;
}

json signal_json(const procfs::process_view& view, int signo) {
  using procfs::thread_view;
  return {
      {"signal", signal_name(signo)},
      {"number", signo},
      {"disposition", disposition(view.main(), signo)},
      {"default", default_word(signo)},
      {"pending", view.main().shared_pending.has(signo)},
      {"signalfd", view.signalfds.has(signo)},
      {"blocked_by",
       threads_with(view, signo, [](const thread_view& t) { return t.status.blocked; })},
      {"pending_for",
       threads_with(view, signo, [](const thread_view& t) { return t.status.pending; })},
      {"awaited_by", threads_with(view, signo, [](const thread_view& t) { return t.awaited; })}};
}

json process_json(const procfs::process_view& view, const ps_options& options) {
  const procfs::thread_status& main = view.main();
  json out = {{"pid", view.pid},
              {"name", main.name},
              {"state", state_word(main.state)},
              {"parent", main.ppid},
              {"uid", main.uid},
              {"effective_uid", main.effective_uid},
              {"namespace_pids", main.ns_pids},
              {"queued", main.queued},
              {"queue_limit", main.queue_limit},
              {"ignored", set_json(main.ignored)},
              {"caught", set_json(main.caught)},
              {"pending", set_json(main.shared_pending)},
              {"signalfds", set_json(view.signalfds)},
              {"threads", json::array()},
              {"unreadable", view.unreadable}};
  for (const procfs::thread_view& thread : view.threads) {
    out["threads"].push_back(thread_json(thread));
  }
  if (options.all_signals) {
    out["signals"] = json::array();
    for (int signo = 1; signo <= signal_max; ++signo) {
      out["signals"].push_back(signal_json(view, signo));
    }
  }
  return out;
}

constexpr std::size_t columns = 6;
using row = std::array<std::string, columns>;

// A table in which long cells go on below; each column is as wide as it needs, up to its limit.
std::string format_table(const std::vector<row>& rows,
                         const std::array<std::size_t, columns>& most) {
  std::array<std::size_t, columns> width{};
  std::vector<std::array<std::vector<std::string>, columns>> cells(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      cells[r][c] = wrap(rows[r][c], most[c]);
      for (const std::string& line : cells[r][c]) width[c] = std::max(width[c], line.size());
    }
  }
  std::string out;
  for (const auto& cell : cells) {
    std::size_t height = 0;
    for (const auto& lines : cell) height = std::max(height, lines.size());
    for (std::size_t line = 0; line < height; ++line) {
      std::string text;
      for (std::size_t c = 0; c < columns; ++c) {
        const std::string part = line < cell[c].size() ? cell[c][line] : "";
        text += part + std::string(width[c] - part.size() + 2, ' ');
      }
      out += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
    }
  }
  return out;
}

bool alike(const procfs::thread_view& a, const procfs::thread_view& b) {
  return a.status.state == b.status.state && a.status.blocked == b.status.blocked &&
         a.status.pending == b.status.pending && a.waits == b.waits && a.awaited == b.awaited;
}

std::string format_threads(const procfs::process_view& view, const ps_options& options) {
  std::vector<row> rows{{"TID", "NAME", "STATE", "BLOCKED", "PENDING", "WAITS FOR"}};
  std::vector<bool> told(view.threads.size());
  for (std::size_t i = 0; i < view.threads.size(); ++i) {
    if (told[i]) continue;
    const procfs::thread_view& thread = view.threads[i];
    std::size_t others = 0;
    for (std::size_t j = i + 1; !options.threads && j < view.threads.size(); ++j) {
      if (told[j] || !alike(thread, view.threads[j])) continue;
      told[j] = true;
      ++others;
    }
    std::string name = printable(thread.status.name);
    if (others > 0) name += " and " + std::to_string(others) + " more";
    const bool exact = options.all_signals;
    rows.push_back({std::to_string(thread.status.tid), std::move(name),
                    std::string{state_word(thread.status.state)},
                    format_set(thread.status.blocked, exact),
                    format_set(thread.status.pending, exact),
                    thread.waits && thread.awaited.empty() ? "signals (not readable)"
                                                           : format_set(thread.awaited, exact)});
  }
  return format_table(rows, {10, 28, 16, 40, 30, 30});
}

std::string format_signals(const procfs::process_view& view) {
  std::vector<row> rows{{"NO", "SIGNAL", "DISPOSITION", "DEFAULT", "BLOCKED BY", "PENDING"}};
  const std::string all = std::to_string(view.threads.size());
  for (int signo = 1; signo <= signal_max; ++signo) {
    std::size_t blocked = 0;
    std::size_t pending = 0;
    for (const procfs::thread_view& thread : view.threads) {
      blocked += thread.status.blocked.has(signo);
      pending += thread.status.pending.has(signo);
    }
    std::string where = view.main().shared_pending.has(signo) ? "process" : "";
    if (pending > 0) {
      where += (where.empty() ? "" : ", ") + std::to_string(pending) +
               (pending == 1 ? " thread" : " threads");
    }
    rows.push_back({std::to_string(signo), std::string{signal_name(signo)},
                    std::string{disposition(view.main(), signo)}, std::string{default_word(signo)},
                    blocked == 0 ? "-" : std::to_string(blocked) + " of " + all,
                    where.empty() ? "-" : where});
  }
  return format_table(rows, {4, 16, 12, 12, 20, 30});
}

std::string format_process(const procfs::process_view& view, const ps_options& options) {
  const procfs::thread_status& main = view.main();
  const auto line = [](std::string_view key, const std::string& value) {
    std::string out;
    for (const std::string& part : wrap(value, 88)) {
      out += (out.empty() ? std::string{key} + std::string(10 - key.size(), ' ')
                          : std::string(10, ' ')) +
             part + "\n";
    }
    return out;
  };
  const bool exact = options.all_signals;
  std::string about = std::to_string(view.pid) + " " + printable(main.name) + ", parent " +
                      std::to_string(main.ppid) + ", user " + std::to_string(main.uid) + ", " +
                      std::to_string(view.threads.size()) +
                      (view.threads.size() == 1 ? " thread" : " threads");
  if (main.ns_pids.size() > 1) {
    about += ", pid " + std::to_string(main.ns_pids.back()) + " in its own namespace";
  }
  std::string out = line("process", about);
  out += line("ignores", format_set(main.ignored, exact));
  out += line("catches", format_set(main.caught, exact));
  out += line("pending", format_set(main.shared_pending, exact) +
                             (main.shared_pending.empty() ? "" : " (for the process)"));
  if (!view.signalfds.empty()) out += line("signalfd", format_set(view.signalfds, exact));
  out += line("queue", std::to_string(main.queued) + " of " + std::to_string(main.queue_limit) +
                           " signals queued for user " + std::to_string(main.uid) +
                           " (RLIMIT_SIGPENDING)");
  out += "\n" + format_threads(view, options);
  if (options.all_signals) out += "\n" + format_signals(view);
  return out;
}

int body(int argc, char** argv) {
  ps_options options;
  bool as_json = false;
  tool_line line(argc, argv, {{'t', "threads"}, {'a', "all-signals"}, {1, "json"}});
  while (const char option = line.next()) {
    if (option == 't') options.threads = true;
    if (option == 'a') options.all_signals = true;
    if (option == 1) as_json = true;
  }
  const int pid = parse_id(line.operands({"PID"})[0], "process id");
  const procfs::process_view view = procfs::read_process(pid, procfs::detail::full);
  if (as_json) {
    print_json(process_json(view, options), 2);
    return 0;
  }
  print(format_process(view, options));
  for (const std::string& why : view.unreadable) {
    std::fprintf(stderr, "sigrun ps: not shown: %s\n", why.c_str());
  }
  return 0;
}

}  // namespace

int ps_main(int argc, char** argv) { return run_tool("ps", help, argc, argv, body); }

}  // namespace sigrun::cmd
