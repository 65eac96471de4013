// SPDX-License-Identifier: Apache-2.0
//
// `sigrun lab storm`: runs one process for each mode, sees that it ends, and prints its books.
#include "lab_storm.hpp"

#include "lab.hpp"
#include "tool_json.hpp"
#include "tool_text.hpp"

#include "procfs/process.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <new>
#include <system_error>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

constexpr char help[] =
    "Usage: sigrun lab storm [OPTIONS]\n"
    "Signals by all ways, forks, execs, threads that come and go, subscriptions that come and go,\n"
    "foreign calls and preempted computations, all at once; then the books are closed. One "
    "process\n"
    "for each isolation (strict, shared), each way in (wait, handler), and 1 and 8 Ps.\n"
    "\n"
    "  -s, --seed N         of what the actors do (default: from the clock; it is printed)\n"
    "  -t, --seconds T      how long each of them storms (default 2s)\n"
    "  -i, --isolation I    strict or shared alone\n"
    "  -w, --way-in W       wait or handler alone\n"
    "  -p, --procs N        this number of Ps alone\n"
    "      --json           one JSON document\n"
    "  -h, --help           this text\n"
    "\n"
    "Exit code: 0 when all books balance, 1 when one does not or a run hangs (it is named), 2 "
    "when\n"
    "the arguments are wrong or a run could not be started.\n";

// How long a run may take to calm down, on a busy machine and under a sanitizer.
constexpr auto calming_max = 60s;

struct storm_request {
  std::uint64_t seed = 0;
  std::chrono::milliseconds time{2000};
  std::string_view isolate;
  std::string_view way;
  int procs = 0;
  bool as_json = false;
};

struct unmap {
  void operator()(storm_page* page) const noexcept { ::munmap(page, sizeof *page); }
};

std::unique_ptr<storm_page, unmap> map_page() {
  void* const mapped = ::mmap(nullptr, sizeof(storm_page), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap");
  return std::unique_ptr<storm_page, unmap>(::new (mapped) storm_page{});
}

// ------------------------------------------------------------------------------ a run that hangs

const char* stage_name(storm_stage stage) noexcept {
  constexpr const char* names[] = {"starting", "storming", "calming", "over", "booking"};
  return names[static_cast<unsigned>(stage)];
}

// Who has not ended, and where each thread is: all that can be known from outside.
std::string autopsy(int pid, const storm_page& page) {
  std::string text = std::string{"hangs in stage "} + stage_name(page.stage.load()) + "\n";
  for (unsigned i = 0; i < page.actors.load() && i < actors_max; ++i) {
    const actor_note& note = page.notes[i];
    if (note.ended.load()) continue;
    text += std::string{"  actor "} + note.name.data() + " has not ended, round " +
            std::to_string(note.rounds.load()) + "\n";
  }
  const procfs::process_view view = procfs::read_process(pid, procfs::detail::full);
  text += "  pending: " + format_set(view.main().shared_pending) + "\n";
  for (const procfs::thread_view& thread : view.threads) {
    text += "  thread " + std::to_string(thread.status.tid) + " " + thread.status.name + " " +
            thread.wchan + ", blocks " + format_set(thread.status.blocked) + ", awaits " +
            format_set(thread.awaited) + ", pending " + format_set(thread.status.pending) + "\n";
  }
  return text;
}

// A run's grandchildren have us as their reaper when it is gone.
void reap_orphans() noexcept {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

std::string run_once(const storm_options& options, storm_page& page) {
  experiment run([&] { return run_storm(options, page); });
  const std::optional<int> status = run.wait(options.time + calming_max);
  std::string problems;
  if (!status) {
    try {
      problems = autopsy(run.pid(), page);
    } catch (const std::exception& problem) {
      problems = std::string{"hangs, and cannot be looked at: "} + problem.what() + "\n";
    }
    // The runtime writes its goroutines on the standard error, and dies of it.
    ::kill(run.pid(), SIGQUIT);
    run.wait(5s);
  } else if (WIFSIGNALED(*status)) {
    problems = "killed by " + std::string{signal_name(WTERMSIG(*status))} + " in stage " +
               stage_name(page.stage.load()) + "\n";
  } else if (WEXITSTATUS(*status) > 1) {
    problems = "exited with " + std::to_string(WEXITSTATUS(*status)) + "\n";
  }
  run.kill();
  reap_orphans();
  return page.failures.data() + problems;
}

// ---------------------------------------------------------------------------------------- output

constexpr const char* columns[] = {"sent",    "received", "by kernel", "merged",     "deferred",
                                   "dropped", "denied",   "limited",   "handed back"};
constexpr std::size_t columns_max = std::size(columns);

std::array<std::uint64_t, columns_max> numbers_of(const book& is) {
  return {is.sent,    is.received, is.by_kernel, is.merged,     is.deferred,
          is.dropped, is.denied,   is.limited,   is.handed_back};
}

std::string right(const std::string& text, std::size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

void print_books(const storm_page& page) {
  std::string text(18, ' ');
  for (const char* column : columns) text += right(column, 12);
  text += '\n';
  for (unsigned i = 0; i < books_max; ++i) {
    std::string line = "  " + std::string{name_of(static_cast<book_id>(i))};
    line.resize(18, ' ');
    for (const std::uint64_t number : numbers_of(page.books[i])) {
      line += right(number != 0 ? std::to_string(number) : "-", 12);
    }
    text += line + "\n";
  }
  print(text);
}

json books_json(const storm_page& page) {
  json books = json::array();
  for (unsigned i = 0; i < books_max; ++i) {
    json book = {{"book", name_of(static_cast<book_id>(i))}};
    const auto numbers = numbers_of(page.books[i]);
    for (std::size_t c = 0; c < columns_max; ++c) book[columns[c]] = numbers[c];
    books.push_back(std::move(book));
  }
  return books;
}

// Each line of `problems` with the run in front.
void tell(const std::string& run, const storm_options& options, const std::string& problems) {
  std::size_t begin = 0;
  while (begin < problems.size()) {
    const std::size_t end = problems.find('\n', begin);
    std::fprintf(stderr, "sigrun lab storm: %s, seed %llu: %s\n", run.c_str(),
                 static_cast<unsigned long long>(options.seed),
                 problems.substr(begin, end - begin).c_str());
    if (end == std::string::npos) break;
    begin = end + 1;
  }
}

// ------------------------------------------------------------------------------------------ modes

bool wanted(const storm_request& request, const storm_options& options) {
  const bool strict = options.isolate == isolation::strict;
  const bool wait = options.way == way_in::wait;
  return (request.isolate.empty() || (request.isolate == "strict") == strict) &&
         (request.way.empty() || (request.way == "wait") == wait);
}

std::vector<storm_options> modes(const storm_request& request) {
  std::vector<storm_options> all;
  for (const isolation isolate : {isolation::strict, isolation::shared}) {
    for (const way_in way : {way_in::wait, way_in::handler}) {
      for (const int procs : {1, 8}) {
        storm_options options{request.seed, request.time, isolate, way, procs};
        if (!wanted(request, options)) continue;
        if (request.procs != 0) {
          if (procs != 1) continue;
          options.procs = request.procs;
        }
        all.push_back(options);
      }
    }
  }
  return all;
}

int storm_all(const storm_request& request) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  json document = {{"seed", request.seed}, {"runs", json::array()}};
  if (!request.as_json) print("seed " + std::to_string(request.seed) + "\n\n");
  bool failed = false;
  for (const storm_options& options : modes(request)) {
    const std::string name = name_of(options);
    const auto page = map_page();
    if (!request.as_json) print(name + "\n");
    const std::string problems = run_once(options, *page);
    if (request.as_json) {
      document["runs"].push_back({{"isolation", name.substr(0, 6)},
                                  {"way_in", options.way == way_in::wait ? "wait" : "handler"},
                                  {"procs", options.procs},
                                  {"balanced", problems.empty()},
                                  {"refused", page->refused.load()},
                                  {"books", books_json(*page)}});
    } else {
      print_books(*page);
      print("  refused by the kernel (EAGAIN): " + std::to_string(page->refused.load()) + "\n\n");
    }
    tell(name, options, problems);
    failed = failed || !problems.empty();
  }
  if (request.as_json) print_json(document, 2);
  return failed ? 1 : 0;
}

std::string_view one_of(std::string_view value, const char* option, const char* a, const char* b) {
  if (value == a || value == b) return value;
  throw tool_error(std::string{option} + ": '" + printable(value) + "' is not " + a + " or " + b);
}

int body(int argc, char** argv) {
  tool_line line(argc, argv,
                 {{'s', "seed", argument::required},
                  {'t', "seconds", argument::required},
                  {'i', "isolation", argument::required},
                  {'w', "way-in", argument::required},
                  {'p', "procs", argument::required},
                  {1, "json"}});
  storm_request request;
  while (const char option = line.next()) {
    if (option == 's') request.seed = parse_count(line.value(), "--seed", UINT64_MAX);
    if (option == 't') request.time = parse_time(line.value(), "--seconds");
    if (option == 'i') request.isolate = one_of(line.value(), "--isolation", "strict", "shared");
    if (option == 'w') request.way = one_of(line.value(), "--way-in", "wait", "handler");
    if (option == 'p') {
      request.procs = static_cast<int>(parse_count(line.value(), "--procs", 256));
    }
    if (option == 1) request.as_json = true;
  }
  line.operands({});
  if (request.seed == 0) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    request.seed = static_cast<std::uint64_t>(now.count()) % 1'000'000'000 + 1;
  }
  return storm_all(request);
}

}  // namespace

int storm_main(int argc, char** argv) { return run_tool("lab storm", help, argc, argv, body); }

}  // namespace sigrun::cmd::lab
