// SPDX-License-Identifier: Apache-2.0
//
// What a crash report is made of. One object, mapped at install, zero until then.
#pragma once

#include "report/crash.hpp"

namespace sigrun::report {

struct shown_goroutine {
  sched::g_view view;
  bool traced;
  stack_trace trace;
};

struct shown_thread {
  int tid;
  char name[16];
  char state;             // as in /proc/PID/task/TID/stat
  std::uint64_t blocked;  // mask
  bool traced;
  stack_trace trace;
};

struct crash_state {
  int signo;
  int tid;
  siginfo_t info;
  std::int64_t begun_ns;
  const ucontext_t* context;
  const exception_note* note;
  char thread_name[16];
  char file_name[64];

  sched::g_view on;  // the goroutine that failed; self == nullptr: none
  stack_trace trace;

  std::size_t goroutine_count;
  std::uint64_t goroutines_left_out;
  std::size_t thread_count;
  std::uint64_t threads_left_out;
  shown_goroutine goroutines[crash_goroutines_max];
  shown_thread threads[crash_threads_max];
};

SIGRUN_SIGNAL_SAFE void write_first_words(const crash_state& state,
                                          const crash_config& config) noexcept;
SIGRUN_SIGNAL_SAFE void collect(crash_state& state, const crash_config& config,
                                level detail) noexcept;
SIGRUN_SIGNAL_SAFE void write_crash_text(const crash_state& state, const crash_config& config,
                                         level detail) noexcept;
SIGRUN_SIGNAL_SAFE void write_crash_file(crash_state& state, const crash_config& config) noexcept;

/// "SIGSEGV: SEGV_MAPERR at 0x0", "SIGABRT: SI_TKILL from pid 12, uid 0"
SIGRUN_SIGNAL_SAFE void write_signal(sink& out, int signo, const siginfo_t& info) noexcept;

/// The general registers by name, until name is nullptr.
struct named_register {
  const char* name;
  std::uint64_t value;
};
SIGRUN_SIGNAL_SAFE named_register register_at(const ucontext_t& context, std::size_t i) noexcept;

/// Reads a file of /proc in pieces; line(arg, text) for each line, cut at 255 bytes; false ends it.
SIGRUN_SIGNAL_SAFE bool for_each_line(const char* path, bool (*line)(void* arg, std::string_view),
                                      void* arg) noexcept;
SIGRUN_SIGNAL_SAFE std::uint64_t parse_hex(std::string_view& text) noexcept;

}  // namespace sigrun::report
