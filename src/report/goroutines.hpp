// SPDX-License-Identifier: Apache-2.0
//
// The text of a dump: every goroutine with its stack, in the form of Go's (runtime/traceback.go,
// debug=2 of runtime/pprof), so that readers of that read ours:
//
//   goroutine 7 [chan receive, 2 minutes, locked to thread, name=parser]:
//   work(...)
//           /src/work.cpp:31 +0x1f
//   created by main in goroutine 1
//           /src/main.cpp:12 +0x2a
//
// All of it may run in a handler, in a process that is about to die:
//   (1) One dump at a time, who has the turn. In a handler the turn is awaited for a while and then
//       taken, because who has it may be the very thread that was interrupted.
//   (2) Goroutines are looked at beside the program, one after the other; each stack is that of one
//       moment, the dump as a whole is not.
//   (3) After the deadline stacks are no longer walked; after the bound on their number goroutines
//       are counted only. Both are said at the end.
#pragma once

#include "report/ask.hpp"
#include "report/lines.hpp"
#include "sched/snapshot.hpp"

namespace sigrun::report {

/// What is shown: Go's GOTRACEBACK, as far as it makes sense here.
enum class level : std::uint8_t { none, single, all, system, crash };

struct dump_options {
  level detail = level::all;
  std::size_t goroutines_max = SIZE_MAX;
  std::int64_t deadline_ns = INT64_MAX;
  demangler words = nullptr;
  const sched::g* first = nullptr;           // comes first, with
  const stack_trace* first_trace = nullptr;  // this stack
};

struct dump_counts {
  std::uint64_t shown = 0;
  std::uint64_t not_shown = 0;  // (3)
  std::uint64_t no_stack = 0;   // did not answer, or would not stand still
};

/// True: the caller has the turn. `force`: takes it in any case when the time is up.
SIGRUN_SIGNAL_SAFE bool take_turn(std::int64_t deadline_ns, bool force) noexcept;
SIGRUN_SIGNAL_SAFE void give_turn() noexcept;

/// The stack of a goroutine, wherever it is. False: it could not be had. With the turn.
SIGRUN_SIGNAL_SAFE bool trace_of(sched::g_view& view, std::int64_t deadline_ns,
                                 stack_trace& out) noexcept;

/// Reads a goroutine's labels, "key=value …", without a lock, into `room`.
SIGRUN_SIGNAL_SAFE std::string_view labels_text(const sched::g_view& view, char* room,
                                                std::size_t size) noexcept;

/// With the turn.
SIGRUN_SIGNAL_SAFE void write_trace(sink& out, const stack_trace& trace, bool system,
                                    demangler words) noexcept;
SIGRUN_SIGNAL_SAFE void write_goroutine(sink& out, const sched::g_view& view,
                                        const stack_trace* trace,
                                        const dump_options& options) noexcept;
SIGRUN_SIGNAL_SAFE dump_counts write_goroutines(sink& out, const dump_options& options) noexcept;

/// All of it, with the turn and bounds of its own, for a handler: what SIGQUIT writes.
SIGRUN_SIGNAL_SAFE void write_goroutines_from_handler(fd_target& target,
                                                      const ucontext_t& context) noexcept;

}  // namespace sigrun::report
