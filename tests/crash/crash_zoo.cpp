// SPDX-License-Identifier: Apache-2.0
//
// Programs that die, each in its own way: crash_zoo CASE DIRECTORY. See zoo_test.py; those that
// recover are in recovering.cpp.
#include "zoo.hpp"

#include "fault/fault_syscall6.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/crash.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <link.h>

namespace {

using namespace zoo;  // NOLINT
using sigrun::crash_options;

[[gnu::noinline]] int runs_deep(int depth) {
  char room[512];
  asm volatile("" : : "r"(room) : "memory");
  room[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : runs_deep(hidden(depth - 1)) + room[hidden(0)];
}

[[gnu::noinline]] void throws_late() {
  asm volatile("");
  throw std::runtime_error("no more \"bread\"\n");
}

[[gnu::noinline]] void throws_a_number() {
  asm volatile("");
  throw 42;
}

struct cleans_up {
  ~cleans_up() { asm volatile("" ::: "memory"); }
};

void illegal() { __builtin_trap(); }
void breakpoint() {
#if defined(__x86_64__)
  asm volatile("int3");
#else
  asm volatile("brk #0");
#endif
}
void aborts() { std::abort(); }
void terminates() { std::terminate(); }
void overflows() { runs_deep(hidden(1 << 30)); }

void breaks_noexcept() noexcept {
  cleans_up one;
  throws_late();
}

void sends_itself() {
  ::kill(::getpid(), SIGSEGV);
  for (;;) ::pause();
}

void frees_twice() {
  auto* const block = static_cast<char*>(std::malloc(hidden<std::size_t>(2000)));
  auto* const other = static_cast<char*>(std::malloc(hidden<std::size_t>(2000)));
  std::free(hidden(block));
  std::free(hidden(block));
  std::free(hidden(other));
}

// What malloc keeps beside blocks is rubbish: whoever allocates now fails.
void heap_is_rubbish() {
  std::vector<char*> blocks;
  for (int i = 0; i < 64; ++i) {
    blocks.push_back(static_cast<char*>(std::malloc(hidden<std::size_t>(3000))));
  }
  for (char* const block : blocks) std::memset(hidden(block) - 16, 0xa5, 3000);
  writes_to(hidden<int*>(nullptr));
}

[[gnu::always_inline]] inline void is_inlined(int* at) {
  *at = 43;  // zoo_test.py: the instruction
}

[[gnu::noinline]] void holds_inlined(int* at) {
  is_inlined(at);  // zoo_test.py: the call
  asm volatile("" ::: "memory");
}

void inlined_write() { holds_inlined(hidden<int*>(nullptr)); }

void many_at_once() {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&ready] {
      ready.fetch_add(1);
      while (ready.load() < 8) std::this_thread::yield();
      null_write();
    });
  }
  for (std::thread& each : threads) each.join();
}

// The tables that a stack walk reads are gone: the report itself faults.
void faults_twice() {
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void*) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& p = info->dlpi_phdr[i];
          if (p.p_type != PT_GNU_EH_FRAME) continue;
          // From the next page on: what the report says stands before the tables.
          const std::uintptr_t at = (info->dlpi_addr + p.p_vaddr + 4095) & ~std::uintptr_t{4095};
          ::mprotect(reinterpret_cast<void*>(at), 8192, PROT_NONE);
        }
        return 1;  // of this program alone
      },
      nullptr);
  writes_to(hidden(reinterpret_cast<int*>(0x1230)));
}

void in_a_foreign_call() {
  sigrun::foreign_call([]() __attribute__((noinline)) {
    null_write();
    asm volatile("" ::: "memory");
  });
}

void with_others_waiting() {
  sigrun::chan<int> never(0);
  for (int i = 0; i < 3; ++i) {
    sigrun::go({.name = "waiter"}, [never] { never.recv(); }).detach();
  }
  std::atomic<bool> turning{false};
  sigrun::go({.name = "runner"}, [&turning] {
    for (;;) turning.store(true);
  }).detach();
  while (!turning.load()) sigrun::yield();
  null_write();
}

void in_a_child() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    null_write();
    std::_Exit(98);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  std::_Exit(WIFSIGNALED(status) ? WTERMSIG(status) : 97);
}

void quits() {
  sigrun::signal_chan any(1);
  sigrun::notify(any, SIGUSR1);
  ::kill(::getpid(), SIGQUIT);
  for (;;) ::pause();
}

void uses_up_descriptors() {
  while (::dup(1) >= 0) {
  }
  null_write();
}

void closes_stderr() {
  ::close(2);
  null_write();
}

// Every write to it says ENOSPC.
void stderr_has_no_room() {
  ::dup2(::open("/dev/full", O_WRONLY | O_CLOEXEC), 2);
  null_write();
}

// Of different kinds: one of them is reported, and is what the process dies of.
void many_kinds_at_once() {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  constexpr void (*kinds[])() = {null_write, divide, illegal, aborts, truncated_file, throws_late};
  for (const auto kind : kinds) {
    threads.emplace_back([&ready, kind] {
      ready.fetch_add(1);
      while (ready.load() < 6) std::this_thread::yield();
      kind();
    });
  }
  for (std::thread& each : threads) each.join();
}

// Writes to it, without O_NONBLOCK, wait for ever: it is full, and nobody reads.
void fill(int pipe) {
  const std::vector<char> rubbish(65536, 'x');
  ::fcntl(pipe, F_SETFL, O_NONBLOCK);
  while (::write(pipe, rubbish.data(), rubbish.size()) > 0) {
  }
  ::fcntl(pipe, F_SETFL, 0);
}

void blocks_on_stderr() {
  int ends[2];
  if (::pipe(ends) != 0) std::_Exit(99);
  fill(ends[1]);
  ::dup2(ends[1], 2);
  null_write();
}

void quits_with_nobody_reading() {
  int ends[2];
  if (::pipe(ends) != 0) std::_Exit(99);
  fill(ends[1]);
  ::dup2(ends[1], 2);
  quits();
}

// The text's file is a FIFO, and nobody reads it (see main).
void blocks_on_a_fifo() { null_write(); }

// poll(2) says that there is room, and write(2) waits for ever all the same.
void hangs_in_a_write() {
  sigrun::fault::watch([](long number, long fd, long) {
    while (number == SYS_write && fd == 2) ::pause();
  });
  null_write();
}

void hangs_while_others_set_alarms() {
  std::atomic<bool> turning{false};
  std::thread([&turning] {
    for (;;) {
      ::alarm(1);
      ::alarm(0);
      turning.store(true);
    }
  }).detach();
  while (!turning.load()) std::this_thread::yield();
  hangs_in_a_write();
}

struct says_nothing : std::exception {
  const char* what() const noexcept override {
    for (;;) ::pause();
  }
};
[[gnu::noinline]] void throws_what_hangs() {
  asm volatile("");
  throw says_nothing();
}

void has_no_disk() {
  const rlimit small{2000, 2000};
  ::setrlimit(RLIMIT_FSIZE, &small);
  null_write();
}

void has_no_address_space() {
  const rlimit small{1 << 20, 1 << 20};
  ::setrlimit(RLIMIT_AS, &small);
  null_write();
}

[[gnu::noinline]] void throws_from_inside() { throws_late(); }

constexpr animal animals[] = {
    {"null_write", null_write, true},
    {"null_write_on_a_thread", null_write, false},
    {"wild", wild_read, true},
    {"read_only", read_only, true},
    {"truncated_file", truncated_file, true},
    {"divide", divide, true},
    {"illegal", illegal, true},
    {"breakpoint", breakpoint, true},
    {"calls_null", calls_null, true},
    {"aborts", aborts, true},
    {"aborts_on_a_thread", aborts, false},
    {"terminates", terminates, true},
    {"throws", throws_from_inside, true},
    {"throws_on_a_thread", throws_from_inside, false},
    {"throws_a_number", throws_a_number, true},
    {"breaks_noexcept", breaks_noexcept, true},
    {"overflows", overflows, true},
    {"overflows_on_a_thread", overflows, false},
    {"sends_itself", sends_itself, true},
    {"frees_twice", frees_twice, true},
    {"heap_is_rubbish", heap_is_rubbish, true},
    {"inlined_write", inlined_write, true},
    {"many_at_once", many_at_once, false},
    {"faults_twice", faults_twice, true},
    {"in_a_foreign_call", in_a_foreign_call, true},
    {"with_others_waiting", with_others_waiting, true},
    {"in_a_child", in_a_child, false},
    {"quits", quits, true},
    {"uses_up_descriptors", uses_up_descriptors, true},
    {"closes_stderr", closes_stderr, true},
    {"stderr_has_no_room", stderr_has_no_room, true},
    {"many_kinds_at_once", many_kinds_at_once, false},
    {"blocks_on_stderr", blocks_on_stderr, true},
    {"quits_with_nobody_reading", quits_with_nobody_reading, true},
    {"blocks_on_a_fifo", blocks_on_a_fifo, true},
    {"hangs_in_a_write", hangs_in_a_write, true},
    {"hangs_while_others_set_alarms", hangs_while_others_set_alarms, true},
    {"throws_what_hangs", throws_what_hangs, true},
    {"has_no_disk", has_no_disk, true},
    {"has_no_address_space", has_no_address_space, true},
};

void run(const animal& one) {
  if (!one.on_goroutine) {
    one.dies();
    return;
  }
  sigrun::run([&one] {
    sigrun::go({.name = "victim"}, [&one] {
      sigrun::set_goroutine_label("case", one.name);
      one.dies();
    }).detach();
    sigrun::chan<int> never(0);
    never.recv();
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  ::alarm(30);
  const std::string_view symbolizer = argc > 3 ? argv[3] : "";
  crash_options options;
  options.directory = argv[2];
  options.program = "zoo";
  options.version = "1.2.3";
  options.symbolizer = symbolizer == "none" ? "" : std::string(symbolizer);
  options.symbolize = symbolizer != "none";
  if (const char* const ms = std::getenv("ZOO_TIME_MS")) {
    options.time_max = std::chrono::milliseconds(std::atoi(ms));
  }
  if (std::string_view(argv[1]) == "blocks_on_a_fifo") {
    options.text_file = options.directory + ".fifo";
    ::mkfifo(options.text_file.c_str(), 0600);
    fill(::open(options.text_file.c_str(), O_RDWR | O_CLOEXEC));
  }
  try {
    sigrun::install_crash_reports(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
  for (const animal& one : animals) {
    if (std::string_view(argv[1]) == one.name) run(one);
  }
  for (const animal& one : recovering()) {
    if (std::string_view(argv[1]) == one.name) {
      one.dies();
      return 0;
    }
  }
  return 96;
}
