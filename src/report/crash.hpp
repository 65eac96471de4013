// SPDX-License-Identifier: Apache-2.0
//
// The end of a process that crashes: a report, and then death by the signal that it was, with its
// siginfo. Everything here runs in the handler of the thread that failed.
//
//              begin()                report                 the handler returns
//   living ───────────────▶ reporting ──────▶ reported ───────────────────────▶ dead
//                              │   ▲                                              ▲
//      another thread fails:   │   └ it waits, and answers when asked for its     │
//      second fault, time-out: └ stack                                            │
//                                └────────────────────────────────────────────────┘
//
//   (1) Nothing is allocated or locked: buffers, the directory's descriptor and the symbolizer's
//       stand ready since install.
//   (2) The first thread to fail reports; all that fail later wait in their handlers.
//   (3) A second fault of the reporting thread, and the end of `time_ns`, kept by a timer that is
//       made at install, end the process at once by the first signal and its siginfo. What is said
//       of an exception before abort() is part of that time: when a fifth of it is over, the report
//       is begun all the same.
//   (4) Text first, then the file, which appears under its name when it is complete.
//   (5) A forked child does not report: see sighandler.cpp.
#pragma once

#include "report/goroutines.hpp"
#include "sys/signal.hpp"

#include <ucontext.h>
#include <csignal>

namespace sigrun::report {

inline constexpr int schema_version = 1;
inline constexpr std::size_t crash_goroutines_max = 512;
inline constexpr std::size_t crash_threads_max = 128;

struct crash_config {
  int pid = 0;
  level detail = level::all;
  int text_fd = 2;
  bool owns_text_fd = false;
  int directory_fd = -1;  // -1: no file
  // Given up for the report: one for its file, one for what it reads.
  int spare_fds[2] = {-1, -1};
  std::uint64_t file_max = 0;
  std::int64_t time_ns = 2'500'000'000;
  signal_set signals;  // that are reported
  char directory[256] = {};
  char program[128] = {};
  char version[64] = {};
  char commit[64] = {};
  char compiler[128] = {};
  char flags[512] = {};
};

/// An exception that nobody caught, noted before abort().
struct exception_note {
  char type[256] = {};
  char message[512] = {};
  stack_trace thrown;  // where; count 0: unknown
};

/// Makes the buffers and sets the hooks. Once more: the settings change. A negated errno.
long install_crash(const crash_config& config) noexcept;
bool crash_installed() noexcept;
const crash_config& the_crash_config() noexcept;

/// Ordinary code, on the way to abort(). The first one counts; nullptr for all later.
exception_note* claim_exception_note() noexcept;
/// It is filled in.
void publish_exception_note() noexcept;
/// The calling thread is on its way to abort(): the clock runs from here.
void abort_is_coming() noexcept;
inline constexpr int abort_share = 5;  // of time_ns, a fifth

SIGRUN_SIGNAL_SAFE level traceback_level() noexcept;
void set_traceback_level(level to) noexcept;
/// "none", "single", "all", "system", "crash"; false for anything else.
bool parse_level(std::string_view text, level& out) noexcept;

}  // namespace sigrun::report
