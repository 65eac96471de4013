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

// How `time_ns` is divided: each wait has its share, and nobody uses up another's. What is left is
// for the processor; the timer is for what none of this foresees.
struct time_plan {
  std::int64_t turn_ns;    // for a dump that is under way
  std::int64_t stacks_ns;  // goroutines and threads
  std::int64_t names_ns;   // the symbolizer
  std::int64_t text_ns;    // waiting for the text's descriptor, in all
  std::int64_t file_ns;    // and for the file's

  constexpr std::int64_t sum() const noexcept {
    return turn_ns + stacks_ns + names_ns + text_ns + file_ns;
  }
};
constexpr time_plan plan_for(std::int64_t time_ns) noexcept {
  const std::int64_t part = time_ns / 100;
  return {4 * part, 24 * part, 32 * part, 16 * part, 4 * part};
}
inline constexpr std::int64_t time_ns_min = 100'000'000;
inline constexpr std::int64_t time_ns_max = 3'000'000'000;
static_assert(plan_for(time_ns_min).sum() <= time_ns_min / 100 * 80);
static_assert(plan_for(time_ns_max).sum() <= time_ns_max / 100 * 80);

struct crash_state {
  int signo;
  int tid;
  siginfo_t info;
  std::int64_t begun_ns;
  time_plan plan;
  std::int64_t text_patience_ns;  // of text_ns, what is left
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

/// The text's descriptor, for one of its writers; the patience left over is the next one's.
class text_target {
 public:
  SIGRUN_SIGNAL_SAFE text_target(crash_state& state, const crash_config& config) noexcept
      : state_(state), out(&fd_target::write, &target_) {
    target_.fd = config.text_fd;
    target_.patience_ns = state.text_patience_ns;
    target_.asks_first = true;
  }
  SIGRUN_SIGNAL_SAFE ~text_target() {
    out.flush();
    state_.text_patience_ns = target_.patience_ns;
  }
  text_target(const text_target&) = delete;
  text_target& operator=(const text_target&) = delete;

 private:
  crash_state& state_;
  fd_target target_;

 public:
  sink out;
};

SIGRUN_SIGNAL_SAFE void write_first_words(crash_state& state, const crash_config& config) noexcept;
SIGRUN_SIGNAL_SAFE void collect(crash_state& state, const crash_config& config,
                                level detail) noexcept;
SIGRUN_SIGNAL_SAFE void write_crash_text(crash_state& state, const crash_config& config,
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
