// SPDX-License-Identifier: Apache-2.0
#include "run_child.hpp"

#include "base/text.hpp"
#include "run_report.hpp"
#include "run_sys.hpp"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

namespace sigrun::cmd {
namespace {

struct child_plan {
  const run_options* options;
  const inherited_signals* inherited;
  bool take_terminal;
  child_start* result;
};

// Variables that name the process they are meant for (sd_listen_fds(3), sd_watchdog_enabled(3),
// systemd.exec(5)). Where they name the runner they must name the program, or it ignores them.
constexpr std::string_view pid_variables[] = {"LISTEN_PID=", "WATCHDOG_PID=", "SYSTEMD_EXEC_PID="};

void rename_pid_variables(int runner, int child) noexcept {
  static char texts[3][40];
  unsigned used = 0;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    for (const std::string_view name : pid_variables) {
      if (used == 3 || std::strncmp(*entry, name.data(), name.size()) != 0) continue;
      const char* digit = *entry + name.size();
      long value = 0;
      while (*digit >= '0' && *digit <= '9' && value <= INT32_MAX) {
        value = value * 10 + (*digit++ - '0');
      }
      if (*digit != '\0' || value != runner) continue;
      base::text_buffer<39> text;
      text.add(name).add(child);
      char* const to = texts[used++];
      std::memcpy(to, text.view().data(), text.view().size());
      to[text.view().size()] = '\0';
      *entry = to;
      break;
    }
  }
}

// As execvp(3): a file the kernel does not know how to run is a shell script.
long execute_file(const char* path, char** arguments) noexcept {
  const long result = sys::call(SYS_execve, path, arguments, environ);
  if (result != -ENOEXEC) return result;
  static const char* script[1024];
  std::size_t count = 0;
  script[count++] = "/bin/sh";
  script[count++] = path;
  for (char** word = arguments + 1; *word != nullptr; ++word) {
    if (count == 1023) return -E2BIG;
    script[count++] = *word;
  }
  script[count] = nullptr;
  return sys::call(SYS_execve, "/bin/sh", script, environ);
}

// Returns the negated errno that best says why the program cannot run.
long execute(char** arguments) noexcept {
  const char* const name = arguments[0];
  if (name[0] == '\0') return -ENOENT;
  if (std::strchr(name, '/') != nullptr) return execute_file(name, arguments);
  const char* path = nullptr;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "PATH=", 5) == 0) {
      path = *entry + 5;
      break;
    }
  }
  if (path == nullptr) path = "/bin:/usr/bin";
  const std::size_t name_size = std::strlen(name);
  static char file[4096];
  long reason = -ENOENT;
  for (;;) {
    const char* end = std::strchr(path, ':');
    const std::size_t size =
        end != nullptr ? static_cast<std::size_t>(end - path) : std::strlen(path);
    if (size + name_size + 2 > sizeof file) {
      reason = -ENAMETOOLONG;
    } else {
      std::memcpy(file, path, size);
      std::size_t at = size;
      if (size != 0) file[at++] = '/';
      std::memcpy(file + at, name, name_size + 1);
      const long result = execute_file(file, arguments);
      // A file that is there but may not be run is worth more to the user than "not found".
      if (result == -EACCES) {
        reason = result;
      } else if (result != -ENOENT && result != -ENOTDIR && result != -ESTALE &&
                 result != -ENODEV && result != -ETIMEDOUT) {
        return result;
      }
    }
    if (end == nullptr) return reason;
    path = end + 1;
  }
}

long prepare_group(const child_plan& plan) noexcept {
  const run_options& options = *plan.options;
  child_start& result = *plan.result;
  if (options.own_session) {
    if (const long error = sys::call(SYS_setsid); sys::failed(error)) {
      result.failed = start_step::session;
      return error;
    }
    const long attached = sys::call(SYS_ioctl, 0, TIOCSCTTY, 0);
    if (options.style == run_style::dumb_init) report_session(options, attached);
    return 0;
  }
  if (options.style == run_style::dumb_init) return 0;  // --single-child shares the group
  if (const long error = sys::call(SYS_setpgid, 0, 0); sys::failed(error)) {
    result.failed = start_step::group;
    return error;
  }
  if (!plan.take_terminal) return 0;
  // Every signal is still blocked, so taking the terminal from the background does not stop us.
  const int group = sys::getpid();
  const long error = sys::call(SYS_ioctl, 0, TIOCSPGRP, &group);
  if (options.style == run_style::tini && sys::failed(error)) {
    if (error == -ENOTTY || error == -ENXIO) {
      report_no_terminal(options, error);
      return 0;
    }
    result.failed = start_step::terminal;
    return error;
  }
  return 0;
}

void restore_signals(const child_plan& plan) noexcept {
  const inherited_signals& inherited = *plan.inherited;
  if (plan.options->style == run_style::dumb_init) {
    // It is dumb-init's habit to hand on a clean slate, not what it inherited.
    const sys::kernel_sigaction by_default{};
    for (int signo = 1; signo < 32; ++signo) sys::rt_sigaction(signo, &by_default, nullptr);
    sys::set_mask(signal_set{});
    return;
  }
  sys::rt_sigaction(SIGCHLD, &inherited.child, nullptr);
  if (plan.options->style == run_style::tini) {
    sys::rt_sigaction(SIGTTIN, &inherited.tty_in, nullptr);
    sys::rt_sigaction(SIGTTOU, &inherited.tty_out, nullptr);
  }
  sys::set_mask(inherited.mask);
}

int child_main(void* argument) noexcept {
  const child_plan& plan = *static_cast<child_plan*>(argument);
  child_start& result = *plan.result;
  long error = prepare_group(plan);
  if (!sys::failed(error)) {
    // Whoever asks for SIGKILL at the parent's death wants nothing left; the runner cannot pass
    // that signal on, so the program asks for it too.
    if (plan.options->style == run_style::native && plan.options->parent_death_signal == SIGKILL) {
      set_parent_death_signal(SIGKILL);
    }
    rename_pid_variables(static_cast<int>(sys::call(SYS_getppid)), sys::getpid());
    restore_signals(plan);
    error = execute(plan.options->program);
    result.failed = start_step::execute;
  }
  result.error = static_cast<int>(-error);
  result.exit_code = report_failed_start(*plan.options, result);
  // Not by sys::exit_group(), which does not return: AddressSanitizer would look for this stack's
  // bounds before it, and it knows only the runner's.
  sys::call(SYS_exit_group, result.exit_code);
  return result.exit_code;
}

alignas(64) char child_stack[32 * 1024];

}  // namespace

const child_start& start_child(const run_options& options, const inherited_signals& inherited,
                               bool take_terminal) noexcept {
  static child_start own;
  child_start* result = &own;
  child_plan plan{&options, &inherited, take_terminal, result};
  int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  if (take_terminal && foreground_group(0) >= 0) {
    // From the moment it has the terminal, Ctrl-Z may stop the child, even before it executes; the
    // runner must not be held up with it, or nobody could resume either. So this one runs beside.
    const long page = sys::call(SYS_mmap, 0, sizeof(child_start), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!sys::failed(page)) {
      result = plan.result = new (reinterpret_cast<void*>(page)) child_start;
      flags = SIGCHLD;
    }
  }
  // glibc's clone() switches to the child's own stack, which a plain vfork system call made from
  // here would not.
  const int pid = ::clone(child_main, child_stack + sizeof child_stack, flags, &plan);
  if (pid < 0) {
    result->failed = start_step::fork;
    result->error = errno;
    return *result;
  }
  // The child does this too; whoever is first, the group is there before a signal is sent to it.
  if (flags == SIGCHLD) sys::call(SYS_setpgid, pid, pid);
  result->pid = pid;
  return *result;
}

}  // namespace sigrun::cmd
