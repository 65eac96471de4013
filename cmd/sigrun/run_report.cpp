// SPDX-License-Identifier: Apache-2.0
#include "run_report.hpp"

#include "run_child.hpp"
#include "run_sys.hpp"
#include "run_text.hpp"

#include <sigrun/signal_names.hpp>

#include <sys/resource.h>

#include <cerrno>
#include <cstring>

namespace sigrun::cmd {
namespace {

// tini's levels, each with its stream: warnings go to stderr, everything chattier to stdout.
enum tini_level : int { fatal = 0, warning = 1, info = 2, debug = 3, trace = 4 };

constexpr std::string_view tini_heads[] = {"[FATAL tini (", "[WARN  tini (", "[INFO  tini (",
                                           "[DEBUG tini (", "[TRACE tini ("};

bool tini_says(const run_options& options, tini_level level) noexcept {
  return options.style == run_style::tini && (level == fatal || options.verbosity >= level);
}

class tini_line : public text_line {
 public:
  explicit tini_line(tini_level level) noexcept : text_line(level <= warning ? 2 : 1) {
    add(tini_heads[level]).add(sys::getpid()).add(")] ");
  }
};

class dumb_line : public text_line {
 public:
  dumb_line() noexcept : text_line(2) { add("[dumb-init] "); }
};

bool dumb_says(const run_options& options) noexcept {
  return options.style == run_style::dumb_init && options.verbosity > 0;
}

class native_line : public text_line {
 public:
  native_line() noexcept : text_line(2) { add("sigrun: "); }
};

bool native_says(const run_options& options) noexcept {
  return options.style == run_style::native && options.verbosity > 0;
}

// What strsignal(3) would say, without its locale machinery.
void add_description(text_line& line, int signo) noexcept {
  if (signo >= signal_rt_min) {
    line.add("Real-time signal ").add(signo - signal_rt_min);
  } else if (const char* text = ::sigdescr_np(signo); text != nullptr) {
    line.add(text);
  } else {
    line.add("Unknown signal ").add(signo);
  }
}

void add_errno(text_line& line, long result) noexcept {
  const int error = static_cast<int>(-result);
  line.add("(errno=").add(error).add(" ").add(error_text(error)).add(")");
}

int native_failed_start(const run_options& options, const child_start& start) noexcept {
  native_line line;
  const char* const name = options.program[0];
  switch (start.failed) {
    case start_step::execute:
      line.add(name).add(": ");
      if (start.error == ENOENT && std::strchr(name, '/') == nullptr) {
        line.add("command not found");
      } else if (start.error == ENOENT && sys::call(SYS_faccessat, AT_FDCWD, name, 0) == 0) {
        line.add("cannot execute: its interpreter or loader is not there");
      } else {
        line.add(error_text(start.error));
      }
      line.add("\n");
      return start.error == ENOENT || start.error == ENOTDIR ? 127 : 126;
    case start_step::fork: {
      line.add("cannot start ").add(name).add(": fork: ").add(error_text(start.error));
      rlimit limit{};
      if (start.error == EAGAIN &&
          !sys::failed(sys::call(SYS_prlimit64, 0, RLIMIT_NPROC, nullptr, &limit))) {
        line.add(" (RLIMIT_NPROC, the most processes this user may have, is ");
        if (limit.rlim_cur == RLIM_INFINITY) {
          line.add("unlimited: the system or its cgroup has no more)");
        } else {
          line.add_unsigned(limit.rlim_cur).add(")");
        }
      }
      line.add("\n");
      return 125;
    }
    default:
      line.add("cannot start ")
          .add(name)
          .add(start.failed == start_step::session ? ": setsid: " : ": setpgid: ")
          .add(error_text(start.error))
          .add("\n");
      return 125;
  }
}

int tini_failed_start(const run_options& options, const child_start& start) noexcept {
  tini_line line(fatal);
  switch (start.failed) {
    case start_step::execute:
      line.add("exec ").add(options.program[0]).add(" failed: ");
      break;
    case start_step::fork:
      line.add("fork failed: ");
      break;
    case start_step::terminal:
      line.add("tcsetpgrp failed: ");
      break;
    default:
      line.add("setpgid failed: ");
  }
  line.add(error_text(start.error)).add("\n");
  if (start.failed != start_step::execute) return 1;
  return start.error == ENOENT ? 127 : start.error == EACCES ? 126 : 1;
}

int dumb_failed_start(const run_options& options, const child_start& start) noexcept {
  dumb_line line;
  if (start.failed == start_step::fork) {
    line.add("Unable to fork. Exiting.\n");
    return 1;
  }
  if (start.failed == start_step::session) {
    line.add("Unable to setsid ");
    add_errno(line, -start.error);
    line.add(". Exiting.\n");
    return 1;
  }
  line.add(options.program[0]).add(": ").add(error_text(start.error)).add("\n");
  return 2;
}

void add_sender(text_line& line, const siginfo_t& signal) noexcept {
  if (signal.si_code > 0) {
    line.add(" from the kernel");
  } else if (signal.si_pid == 0) {
    line.add(" from outside this pid namespace");
  } else {
    line.add(" from pid ").add(signal.si_pid);
  }
}

}  // namespace

const char* error_text(int error) noexcept {
  const char* const text = ::strerrordesc_np(error);
  return text != nullptr ? text : "Unknown error";
}

std::string_view to_string(disposal done) noexcept {
  constexpr std::string_view words[] = {"forwarded",    "rewritten", "dropped", "ignored",
                                        "ignored-self", "waiting",   "failed"};
  return words[static_cast<unsigned>(done)];
}

std::string_view to_string(target_kind kind) noexcept {
  constexpr std::string_view words[] = {"none", "process", "group", "children"};
  return words[static_cast<unsigned>(kind)];
}

void report_started(const run_options& options, int pid) noexcept {
  if (tini_says(options, info)) {
    tini_line(info)
        .add("Spawned child process '")
        .add(options.program[0])
        .add("' with pid '")
        .add(pid)
        .add("'\n");
  } else if (dumb_says(options)) {
    dumb_line().add("Child spawned with PID ").add(pid).add(".\n");
  } else if (native_says(options)) {
    native_line().add(options.program[0]).add(" started as pid ").add(pid).add("\n");
  }
}

void report_not_reaper(const run_options& options) noexcept {
  if (!tini_says(options, warning)) return;
  tini_line(warning).add(
      "Tini is not running as PID 1 and isn't registered as a child subreaper.\n"
      "Zombie processes will not be re-parented to Tini, so zombie reaping won't work.\n"
      "To fix the problem, use the -s option or set the environment variable TINI_SUBREAPER to "
      "register Tini as a child subreaper, or run Tini as PID 1.\n");
}

void report_subreaper(const run_options& options, long result) noexcept {
  if (sys::failed(result)) {
    const char* const text = error_text(static_cast<int>(-result));
    if (options.style == run_style::tini) {
      tini_line(fatal).add("Failed to register as child subreaper: ").add(text).add("\n");
    } else {
      native_line().add("cannot become a subreaper: ").add(text).add("\n");
    }
  } else if (tini_says(options, trace)) {
    tini_line(trace).add("Registered as child subreaper\n");
  }
}

void report_detached(const run_options& options, long result, bool was_leader) noexcept {
  if (!dumb_says(options)) return;
  dumb_line line;
  if (sys::failed(result)) {
    line.add("Unable to detach from controlling tty ");
    add_errno(line, result);
    line.add(".\n");
  } else if (was_leader) {
    line.add("Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.\n");
  } else {
    line.add("Detached from controlling tty, but was not session leader.\n");
  }
}

void report_session(const run_options& options, long attach_result) noexcept {
  if (!dumb_says(options)) return;
  if (sys::failed(attach_result)) {
    dumb_line line;
    line.add("Unable to attach to controlling tty ");
    add_errno(line, attach_result);
    line.add(".\n");
  }
  dumb_line().add("setsid complete.\n");
}

void report_no_terminal(const run_options& options, long result) noexcept {
  // tini's line sits in a stdio buffer that executing the program throws away, unless a terminal
  // makes that buffer a line long.
  if (!tini_says(options, debug) || !is_terminal(1)) return;
  tini_line(debug)
      .add("tcsetpgrp failed: ")
      .add(result == -ENOTTY ? "no tty" : "no such device")
      .add(" (ok to proceed)\n");
}

int report_failed_start(const run_options& options, const child_start& start) noexcept {
  switch (options.style) {
    case run_style::tini:
      return tini_failed_start(options, start);
    case run_style::dumb_init:
      return dumb_failed_start(options, start);
    default:
      return native_failed_start(options, start);
  }
}

void report_taken(const run_options& options, const siginfo_t& signal) noexcept {
  if (dumb_says(options)) {
    dumb_line().add("Received signal ").add(signal.si_signo).add(".\n");
  } else if (tini_says(options, debug)) {
    tini_line line(debug);
    if (signal.si_signo == SIGCHLD) {
      line.add("Received SIGCHLD\n");
      return;
    }
    line.add("Passing signal: '");
    add_description(line, signal.si_signo);
    line.add("'\n");
  }
}

void report_passed(const run_options& options, const passage& signal) noexcept {
  const int taken = signal.info.si_signo;
  if (dumb_says(options)) {
    if (signal.done == disposal::ignored) {
      dumb_line().add("Ignoring tty hand-off signal ").add(taken).add(".\n");
      return;
    }
    if (options.rewrite[taken] != taken) {
      dumb_line().add("Translating signal ").add(taken).add(" to ").add(signal.sent).add(".\n");
    }
    if (signal.sent == 0) {
      dumb_line().add("Not forwarding signal 0 to children (ignored).\n");
    } else {
      dumb_line().add("Forwarded signal ").add(signal.sent).add(" to children.\n");
    }
  } else if (signal.done == disposal::failed && signal.error == ESRCH) {
    if (tini_says(options, warning)) {
      tini_line(warning).add("Child was dead when forwarding signal\n");
    }
  } else if (native_says(options)) {
    native_line line;
    line.add(signal_name(taken));
    add_sender(line, signal.info);
    line.add(": ").add(to_string(signal.done));
    if (signal.sent != 0 && signal.sent != taken) line.add(" as ").add(signal_name(signal.sent));
    if (signal.kind != target_kind::none) {
      line.add(" to ").add(to_string(signal.kind)).add(" ").add(signal.target);
    }
    if (signal.error != 0) line.add(" (").add(error_text(signal.error)).add(")");
    line.add("\n");
  }
}

void report_reaped(const run_options& options, const siginfo_t& child, bool is_main) noexcept {
  const bool exited = child.si_code == CLD_EXITED;
  if (dumb_says(options)) {
    dumb_line()
        .add("A child with PID ")
        .add(child.si_pid)
        .add(exited ? " exited with exit status " : " was terminated by signal ")
        .add(child.si_status)
        .add(".\n");
  } else if (options.style == run_style::tini) {
    if (tini_says(options, debug)) {
      tini_line(debug).add("Reaped child with pid: '").add(child.si_pid).add("'\n");
    }
    if (is_main && tini_says(options, info)) {
      tini_line line(info);
      line.add(exited ? "Main child exited normally (with status '"
                      : "Main child exited with signal (with signal '");
      if (exited) {
        line.add(child.si_status);
      } else {
        add_description(line, child.si_status);
      }
      line.add("')\n");
    } else if (!is_main && options.warn_on_reap && tini_says(options, warning)) {
      tini_line(warning).add("Reaped zombie process with pid=").add(child.si_pid).add("\n");
    }
  } else if (native_says(options)) {
    native_line line;
    line.add(is_main ? options.program[0] : "adopted process").add(", pid ").add(child.si_pid);
    if (exited) {
      line.add(", exited with ").add(child.si_status).add("\n");
    } else {
      line.add(", was killed by ").add(signal_name(child.si_status)).add("\n");
    }
  }
}

void report_nothing_to_reap(const run_options& options, bool any_child) noexcept {
  if (!tini_says(options, trace)) return;
  tini_line(trace).add(any_child ? "No child to reap\n" : "No child to wait\n");
}

void report_child_stopped(const run_options& options, int signo) noexcept {
  if (!native_says(options)) return;
  native_line().add(options.program[0]).add(" was stopped by ").add(signal_name(signo)).add("\n");
}

void report_suspending(const run_options& options, int signo) noexcept {
  if (dumb_says(options)) {
    dumb_line().add("Suspending self due to TTY signal.\n");
  } else if (native_says(options)) {
    native_line().add("stopping too, as if by ").add(signal_name(signo)).add("\n");
  }
}

void report_grace_over(const run_options& options, int group) noexcept {
  native_line line;
  line.add("the grace period of ").add(options.grace_ns / 1'000'000'000);
  if (const auto ms = options.grace_ns / 1'000'000 % 1'000; ms != 0) {
    line.add(".").add_unsigned(static_cast<std::uint64_t>(ms), 3);
  }
  line.add(" s is over: SIGKILL to ");
  if (group != 0) {
    line.add("process group ").add(group).add("\n");
  } else {
    line.add("what is left\n");
  }
}

void report_leaving(const run_options& options, int exit_code) noexcept {
  if (dumb_says(options)) {
    dumb_line().add("Child exited with status ").add(exit_code).add(". Goodbye.\n");
  } else if (tini_says(options, trace)) {
    tini_line(trace).add("Exiting: child has exited\n");
  } else if (native_says(options)) {
    native_line().add("exiting with ").add(exit_code).add("\n");
  }
}

}  // namespace sigrun::cmd
