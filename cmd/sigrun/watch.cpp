// SPDX-License-Identifier: Apache-2.0
//
// `sigrun watch PID`: one line for each change of what a process's threads block and have pending
// and of what the process ignores and catches, until it ends.
#include "subcommands.hpp"
#include "tool_json.hpp"
#include "tool_process.hpp"
#include "tool_text.hpp"

#include "procfs/process.hpp"

#include <ctime>

#include <map>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun watch [OPTIONS] PID\n"
    "Looks at a process again and again and prints a line for each change of what its threads\n"
    "block and have pending, of what it ignores and catches, and when threads come and go. Ends\n"
    "when the process ends. What comes and goes between two looks is not seen.\n"
    "\n"
    "  -i, --interval T   time between two looks (default 200ms)\n"
    "  -n, --count N      look N times at most\n"
    "      --json         one JSON object a line\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit code: 0 when the process has ended or the looks are used up, 2 when it does not exist\n"
    "or cannot be read.\n";

struct watch_options {
  std::chrono::milliseconds interval{200};
  std::uint64_t count = 0;  // 0: until the end
  bool as_json = false;
};

std::string utc_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[40];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + length, sizeof text - length, ".%03dZ",
                static_cast<int>(now.tv_nsec / 1'000'000));
  return text;
}

// One line of output. A text line and a JSON line say the same.
class watcher {
 public:
  watcher(int pid, bool as_json) : pid_(pid), as_json_(as_json) {}

  void event(std::string_view what, const procfs::thread_status* thread, std::string_view text,
             json more) {
    const std::string time = utc_now();
    if (as_json_) {
      json out = {{"time", time}, {"event", what}, {"pid", pid_}};
      if (thread != nullptr) {
        out["tid"] = thread->tid;
        out["name"] = thread->name;
      }
      out.update(more);
      print_json(out, -1);
      return;
    }
    std::string line = time + "  ";
    if (thread == nullptr) {
      line += "process " + std::to_string(pid_);
    } else {
      line += "thread " + std::to_string(thread->tid) + " (" + printable(thread->name) + ")";
    }
    print(line + "  " + std::string{text} + "\n");
  }

  void change(std::string_view what, const procfs::thread_status* thread, signal_set before,
              signal_set after) {
    const signal_set added = after - before;
    const signal_set removed = before - after;
    if (added.empty() && removed.empty()) return;
    std::string text{what};
    if (!added.empty()) text += " + " + format_set(added);
    if (!removed.empty()) text += " - " + format_set(removed);
    event(what, thread, text, {{"added", set_json(added)}, {"removed", set_json(removed)}});
  }

  void start(const procfs::process_view& view) {
    const procfs::thread_status& main = view.main();
    event("start", nullptr,
          "start: " + printable(main.name) + ", " + std::to_string(view.threads.size()) +
              (view.threads.size() == 1 ? " thread" : " threads") + ", ignores " +
              format_set(main.ignored) + ", catches " + format_set(main.caught) + ", pending " +
              format_set(main.shared_pending),
          {{"name", main.name},
           {"threads", view.threads.size()},
           {"ignored", set_json(main.ignored)},
           {"caught", set_json(main.caught)},
           {"pending", set_json(main.shared_pending)}});
    for (const procfs::thread_view& thread : view.threads) appears(thread.status, "thread");
  }

  // What is new in `view` against the look before; `view` becomes that.
  void compare(const procfs::process_view& before, const procfs::process_view& view) {
    const procfs::thread_status& was = before.main();
    const procfs::thread_status& is = view.main();
    change("ignored", nullptr, was.ignored, is.ignored);
    change("caught", nullptr, was.caught, is.caught);
    change("pending", nullptr, was.shared_pending, is.shared_pending);
    std::map<int, const procfs::thread_status*> older;
    for (const procfs::thread_view& thread : before.threads) {
      older[thread.status.tid] = &thread.status;
    }
    for (const procfs::thread_view& thread : view.threads) {
      const auto found = older.find(thread.status.tid);
      if (found == older.end()) {
        appears(thread.status, "thread_start");
        continue;
      }
      change("blocked", &thread.status, found->second->blocked, thread.status.blocked);
      change("pending", &thread.status, found->second->pending, thread.status.pending);
      older.erase(found);
    }
    for (const auto& [tid, thread] : older) event("thread_end", thread, "ended", json::object());
  }

 private:
  void appears(const procfs::thread_status& thread, std::string_view what) {
    event(what, &thread,
          std::string{what == "thread" ? "" : "started, "} + "blocks " +
              format_set(thread.blocked) + ", pending " + format_set(thread.pending),
          {{"blocked", set_json(thread.blocked)}, {"pending", set_json(thread.pending)}});
  }

  int pid_;
  bool as_json_;
};

watch_options read_options(tool_line& line) {
  watch_options options;
  while (const char option = line.next()) {
    if (option == 'i') options.interval = parse_time(line.value(), "--interval");
    if (option == 'n') {
      options.count = parse_count(line.value(), "--count", std::uint64_t{1} << 32);
    }
    if (option == 1) options.as_json = true;
  }
  return options;
}

int watch(int pid, const watch_options& options) {
  const process_handle process(pid);
  watcher out(pid, options.as_json);
  procfs::process_view before = procfs::read_process(pid, procfs::detail::masks);
  out.start(before);
  for (std::uint64_t looks = 1; options.count == 0 || looks < options.count; ++looks) {
    if (process.wait_end(options.interval)) {
      const std::string end = process.end();
      out.event("end", nullptr, end.empty() ? "ended" : "ended: " + end,
                end.empty() ? json::object() : json{{"end", end}});
      return 0;
    }
    try {
      procfs::process_view view = procfs::read_process(pid, procfs::detail::masks);
      out.compare(before, view);
      before = std::move(view);
    } catch (const procfs::error& problem) {
      // It is ending: the pidfd says so at the next turn, and its entries went before it.
      if (!problem.vanished()) throw;
    }
  }
  return 0;
}

int body(int argc, char** argv) {
  tool_line line(
      argc, argv,
      {{'i', "interval", argument::required}, {'n', "count", argument::required}, {1, "json"}});
  const watch_options options = read_options(line);
  return watch(parse_id(line.operands({"PID"})[0], "process id"), options);
}

}  // namespace

int watch_main(int argc, char** argv) { return run_tool("watch", help, argc, argv, body); }

}  // namespace sigrun::cmd
