// SPDX-License-Identifier: Apache-2.0
#include "lab_loss.hpp"

#include "lab.hpp"
#include "tool_json.hpp"
#include "tool_text.hpp"

#include "procfs/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

constexpr char help[] =
    "Usage: sigrun lab loss [OPTIONS]\n"
    "Five situations in which signals get lost. In each, a naive program and three repairs of it\n"
    "are sent the same signals at the same moment, and counted is what each of them knows of:\n"
    "\n"
    "  foreign-call  while the thread is in a foreign call\n"
    "  system-call   between a look at a flag and a raw system call\n"
    "  mask-window   while the thread blocks the signal\n"
    "  full-pipe     while nobody reads the self-pipe\n"
    "  mask-bit      while nobody looks at the mask of bits\n"
    "\n"
    "  -o, --only NAME  this situation alone\n"
    "      --json       one JSON document\n"
    "  -h, --help       this text\n"
    "\n"
    "sent = received + merged + lost. Merged ones are in an event that says for how many it "
    "stands.\n"
    "Nothing here depends on time: the sender waits for the program, and the program for it.\n"
    "\n"
    "Exit code: 0 when each naive program lost and no repair did, 1 when one of them did not do "
    "as\n"
    "it should (it is named), 2 when the arguments are wrong or a program could not be run.\n";

// A step that takes so long does not come; the machine may be busy.
constexpr auto patience = 30s;

struct result {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t merged = 0;
  std::int64_t lost() const noexcept {
    return static_cast<std::int64_t>(sent) - static_cast<std::int64_t>(received + merged);
  }
};

struct unmap {
  void operator()(loss_page* page) const noexcept { ::munmap(page, sizeof *page); }
};

std::unique_ptr<loss_page, unmap> map_page() {
  void* const mapped =
      ::mmap(nullptr, sizeof(loss_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap");
  return std::unique_ptr<loss_page, unmap>(::new (mapped) loss_page{});
}

struct gate {
  int read_end = -1;
  int write_end = -1;
  gate() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw std::system_error(errno, std::system_category(), "pipe2");
    }
    read_end = ends[0];
    write_end = ends[1];
  }
  ~gate() {
    ::close(read_end);
    ::close(write_end);
  }
  gate(const gate&) = delete;
  gate& operator=(const gate&) = delete;
  void open() const {
    if (::write(write_end, "", 1) != 1) {
      throw std::system_error(errno, std::system_category(), "write");
    }
  }
};

// The parent's side of the stage.
class sender {
 public:
  sender(const situation& at, loss_page& page, experiment& to) : at_(at), page_(page), to_(to) {}

  void wait_ready(int rounds) {
    wait([&] { return page_.rounds_ready.load() >= rounds; }, "did not get ready");
  }

  void burst() {
    const int signo = at_.real_time ? SIGRTMIN : SIGUSR1;
    for (int i = 0; i < at_.burst; ++i) {
      send(signo, ++sent_);
      if (page_.nobody_takes.load()) continue;
      wait([&] { return !pends(signo); }, "did not take the signal");
    }
  }

  int sent() const noexcept { return sent_; }

 private:
  template <class Condition>
  void wait(const Condition& holds, const char* what) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!holds()) {
      if (to_.wait(0ms) || std::chrono::steady_clock::now() >= deadline) {
        throw tool_error(std::string{"the program "} + what);
      }
      ::poll(nullptr, 0, 1);
    }
  }

  void send(int signo, int value) {
    const int tid = page_.tid.load();
    siginfo_t info{};
    info.si_signo = signo;
    info.si_code = SI_QUEUE;
    info.si_pid = ::getpid();
    info.si_uid = ::getuid();
    info.si_value.sival_int = value;
    const long sent = tid != 0 ? ::syscall(SYS_rt_tgsigqueueinfo, to_.pid(), tid, signo, &info)
                               : ::syscall(SYS_rt_sigqueueinfo, to_.pid(), signo, &info);
    if (sent != 0) throw std::system_error(errno, std::system_category(), "the signal");
  }

  // Whether the kernel still has it. A thread that took it runs its handler before anything else.
  bool pends(int signo) const {
    const procfs::process_view view = procfs::read_process(to_.pid(), procfs::detail::masks);
    if (view.main().shared_pending.has(signo)) return true;
    for (const procfs::thread_view& thread : view.threads) {
      if (thread.status.pending.has(signo)) return true;
    }
    return false;
  }

  const situation& at_;
  loss_page& page_;
  experiment& to_;
  int sent_ = 0;
};

result run_program(const situation& at, const loss_design& design) {
  const auto page = map_page();
  const gate between;
  experiment program([&] {
    loss_program in(at, *page, between.read_end);
    design.program(in);
    return 0;
  });
  sender from(at, *page, program);
  for (int round = 1; round <= at.rounds; ++round) {
    from.wait_ready(round);
    from.burst();
    between.open();
  }
  const std::optional<int> status = program.wait(patience);
  if (!status) throw tool_error("the program did not end");
  if (*status != 0) throw tool_error("the program failed");
  return {static_cast<std::uint64_t>(from.sent()), page->received.load(), page->merged.load()};
}

result run_design(const situation& at, const loss_design& design) {
  try {
    return run_program(at, design);
  } catch (const std::exception& problem) {
    throw tool_error(std::string{at.name} + ", " + design.name + ": " + problem.what());
  }
}

void print_row(const char* name, const result& is, const char* why) {
  char line[200];
  std::snprintf(line, sizeof line, "  %-24s %4llu  %8llu  %6llu  %4lld   %s\n", name,
                static_cast<unsigned long long>(is.sent),
                static_cast<unsigned long long>(is.received),
                static_cast<unsigned long long>(is.merged), static_cast<long long>(is.lost()), why);
  print(line);
}

json row_json(const char* name, const result& is, const char* why) {
  return {{"design", name},      {"sent", is.sent},   {"received", is.received},
          {"merged", is.merged}, {"lost", is.lost()}, {"why", why}};
}

int loss(std::string_view only, bool as_json) {
  json document = {{"situations", json::array()}};
  std::string wrong;
  for (const loss_row& row : loss_rows()) {
    if (!only.empty() && only != row.at.name) continue;
    json designs = json::array();
    if (!as_json) {
      char line[200];
      std::snprintf(line, sizeof line, "%-26s sent  received  merged  lost   (%s)\n", row.at.name,
                    row.at.what);
      print(line);
    }
    for (const loss_design& design : row.designs) {
      const result is = run_design(row.at, design);
      const bool naive = &design == &row.designs[0];
      if (naive ? is.lost() <= 0 : is.lost() != 0) {
        wrong += std::string{"sigrun lab loss: "} + row.at.name + ", " + design.name + ": sent " +
                 std::to_string(is.sent) + ", lost " + std::to_string(is.lost()) + "\n";
      }
      designs.push_back(row_json(design.name, is, design.why));
      if (!as_json) print_row(design.name, is, design.why);
    }
    document["situations"].push_back(
        {{"name", row.at.name}, {"when", row.at.what}, {"designs", std::move(designs)}});
    if (!as_json) print("\n");
  }
  if (as_json) print_json(document, 2);
  std::fputs(wrong.c_str(), stderr);
  return wrong.empty() ? 0 : 1;
}

void check_name(std::string_view name) {
  std::string names;
  for (const loss_row& row : loss_rows()) {
    if (name == row.at.name) return;
    names += (names.empty() ? "" : ", ") + std::string{row.at.name};
  }
  throw tool_error("--only: no situation '" + printable(name) + "'; there are " + names);
}

int body(int argc, char** argv) {
  tool_line line(argc, argv, {{'o', "only", argument::required}, {1, "json"}});
  std::string_view only;
  bool as_json = false;
  while (const char option = line.next()) {
    if (option == 'o') only = line.value();
    if (option == 1) as_json = true;
  }
  line.operands({});
  if (!only.empty()) check_name(only);
  return loss(only, as_json);
}

}  // namespace

int loss_main(int argc, char** argv) { return run_tool("lab loss", help, argc, argv, body); }

}  // namespace sigrun::cmd::lab
