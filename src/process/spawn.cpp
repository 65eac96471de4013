// SPDX-License-Identifier: Apache-2.0
//
// Starting a child.
//
//   parent: lay out everything, block all signals
//   clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD): the calling thread sleeps until the child has
//     executed its program or ended; the child runs on a stack of its own in our memory
//   child: dispositions as before the runtime, no handler left, then groups, directory, files,
//     the original mask, execve; on failure it leaves a negated errno and exits
//   parent: puts its mask back; on failure it reaps the child
//
// Invariants:
//  (1) No handler ever runs in the child: it unblocks only after the last one is gone. Its memory
//      is ours, so a handler there would be a handler here.
//  (2) The child calls nothing but the kernel, through sigrun_syscall6 and functions of sigsafe.
//  (3) A child that did not get as far as its program is reaped here, through its pidfd.
#include "process/in_child.hpp"
#include "process/ours.hpp"
#include "process/program.hpp"
#include "process/reaper.hpp"
#include "sched/sched.hpp"
#include "sigsafe/original.hpp"
#include "sys/file.hpp"

#include <sigrun/process.hpp>

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <limits>
#include <new>
#include <stdexcept>

// glibc's clone() by its other name: ThreadSanitizer takes calls of the first one for a fork, and
// does not survive that the child shares our memory.
extern "C" int __clone(int (*)(void*), void* stack, int flags, void* argument, ...) noexcept;

namespace sigrun::process {
namespace {

struct file_move {
  int from;
  int to;
  int copy;  // `from`, moved out of the way of every `to`; -1 when it was not in the way
};

// What parent and child share; the child reads all of it and writes `failure` and `copy`.
struct start_block {
  const char* const* candidates;
  char** argv;
  char** shell_argv;
  char** envp;
  const char* directory;  // nullptr: none
  bool new_process_group;
  bool new_session;
  int parent_death_signal;
  int parent_pid;
  long timer_slack;  // 0: as inherited
  file_move* files;
  std::size_t file_count;
  int first_free_fd;
  signal_set mask;
  long failure = 0;
};

template <class T>
long word(T* pointer) noexcept {
  return reinterpret_cast<long>(pointer);
}

// (1): a handler of ours or of anybody else becomes the disposition it had replaced, or default.
SIGRUN_IN_CHILD void drop_handlers() noexcept {
  sigsafe::restore_dispositions();
  sys::kernel_sigaction action;
  for (long signo = 1; signo <= signal_max; ++signo) {
    if (sigrun_syscall6(SYS_rt_sigaction, signo, 0, word(&action), sys::sigset_bytes, 0, 0) != 0 ||
        action.handler <= sys::handler_ignore) {
      continue;
    }
    action.handler = sys::handler_default;
    action.flags = 0;
    action.restorer = 0;
    action.mask = signal_set{};
    sigrun_syscall6(SYS_rt_sigaction, signo, word(&action), 0, sys::sigset_bytes, 0, 0);
  }
}

// A file that would be overwritten before its turn is copied out of the way first.
SIGRUN_IN_CHILD long move_files(start_block& block) noexcept {
  for (std::size_t i = 0; i < block.file_count; ++i) {
    file_move& file = block.files[i];
    bool in_the_way = false;
    for (std::size_t j = 0; j < i; ++j) in_the_way |= block.files[j].to == file.from;
    if (!in_the_way) continue;
    const long copy =
        sigrun_syscall6(SYS_fcntl, file.from, F_DUPFD_CLOEXEC, block.first_free_fd, 0, 0, 0);
    if (copy < 0) return copy;
    file.copy = static_cast<int>(copy);
  }
  for (std::size_t i = 0; i < block.file_count; ++i) {
    const file_move& file = block.files[i];
    const int from = file.copy >= 0 ? file.copy : file.from;
    const long moved = from == file.to ? sigrun_syscall6(SYS_fcntl, from, F_SETFD, 0, 0, 0, 0)
                                       : sigrun_syscall6(SYS_dup3, from, file.to, 0, 0, 0, 0);
    if (moved < 0) return moved;
  }
  return 0;
}

SIGRUN_IN_CHILD long prepare(start_block& block) noexcept {
  if (block.parent_death_signal != 0) {
    const long asked =
        sigrun_syscall6(SYS_prctl, PR_SET_PDEATHSIG, block.parent_death_signal, 0, 0, 0, 0);
    if (asked < 0) return asked;
    // It may have died before we asked.
    if (sigrun_syscall6(SYS_getppid, 0, 0, 0, 0, 0, 0) != block.parent_pid) return -ESRCH;
  }
  if (block.timer_slack != 0) {
    sigrun_syscall6(SYS_prctl, PR_SET_TIMERSLACK, block.timer_slack, 0, 0, 0, 0);
  }
  if (block.new_session) {
    const long made = sigrun_syscall6(SYS_setsid, 0, 0, 0, 0, 0, 0);
    if (made < 0) return made;
  } else if (block.new_process_group) {
    const long made = sigrun_syscall6(SYS_setpgid, 0, 0, 0, 0, 0, 0);
    if (made < 0) return made;
  }
  // Before the directory and before the program is looked for: neither depends on the files.
  const long moved = move_files(block);
  if (moved < 0) return moved;
  return block.directory == nullptr
             ? 0
             : sigrun_syscall6(SYS_chdir, word(block.directory), 0, 0, 0, 0, 0);
}

SIGRUN_IN_CHILD int child_main(void* argument) noexcept {
  start_block& block = *static_cast<start_block*>(argument);
  drop_handlers();
  long failure = prepare(block);
  if (failure == 0) {
    sigrun_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, word(&block.mask), 0, sys::sigset_bytes, 0, 0);
    failure = exec_candidates(block.candidates, block.argv, block.shell_argv, block.envp);
  }
  block.failure = failure;
  for (;;) sigrun_syscall6(SYS_exit_group, 127, 0, 0, 0, 0, 0);
}

// The child's stack; it holds a few frames and no arrays. The lowest page is the guard.
class child_stack {
 public:
  child_stack() {
    base_ = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc{};
    if (::mprotect(static_cast<char*>(base_) + guard, size - guard, PROT_READ | PROT_WRITE) != 0) {
      ::munmap(base_, size);
      throw std::bad_alloc{};
    }
  }
  ~child_stack() { ::munmap(base_, size); }
  child_stack(const child_stack&) = delete;
  child_stack& operator=(const child_stack&) = delete;
  void* top() const noexcept { return static_cast<char*>(base_) + size; }

 private:
  static constexpr std::size_t guard = 64 * 1024;  // a page, on every page size of both CPUs
  static constexpr std::size_t size = 2 * guard;
  void* base_;
};

std::vector<file_move> check_files(const spawn_options& options, int& first_free_fd) {
  std::vector<file_move> moves;
  first_free_fd = 3;
  for (const auto& [from, to] : options.files) {
    if (from < 0 || to < 0) {
      throw std::invalid_argument("sigrun::process::spawn: files has {" + std::to_string(from) +
                                  ", " + std::to_string(to) + "}; both must be fds");
    }
    moves.push_back({from, to, -1});
    if (to >= first_free_fd && to < std::numeric_limits<int>::max()) first_free_fd = to + 1;
  }
  return moves;
}

struct started {
  int pid = 0;
  int pidfd = -1;
  long failure = 0;  // negated errno
};

started clone_and_exec(start_block& block) {
  const child_stack stack;
  started child;
  const signal_set before = sys::exchange_mask(signal_set::all());
  block.mask = sigsafe::original_thread_mask(before);
  const int pid = __clone(child_main, stack.top(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                          &block, &child.pidfd);
  const int clone_error = errno;  // tidy: allow errno, glibc's clone(), no switch between
  sys::set_mask(before);
  if (pid < 0) {
    child.failure = -clone_error;
    return child;
  }
  child.pid = pid;
  child.failure = block.failure;
  return child;
}

}  // namespace

child spawn(const std::vector<std::string>& arguments, const spawn_options& options) {
  if (options.parent_death_signal != 0 && !signal_set::valid(options.parent_death_signal)) {
    throw std::invalid_argument("sigrun::process::spawn: parent_death_signal " +
                                std::to_string(options.parent_death_signal) + " is no signal");
  }
  check_no_nul("directory", options.directory);
  const program what{arguments, options.search_path, options.environment,
                     options.inherit_environment};
  start_block block{};
  std::vector<file_move> moves = check_files(options, block.first_free_fd);
  std::vector<char*> argv = what.argv;
  std::vector<char*> shell_argv = what.shell_argv;
  std::vector<char*> envp = what.envp;
  block.candidates = what.candidate_list.data();
  block.argv = argv.data();
  block.shell_argv = shell_argv.data();
  block.envp = envp.data();
  block.directory = options.directory.empty() ? nullptr : options.directory.c_str();
  block.new_process_group = options.new_process_group;
  block.new_session = options.new_session;
  block.parent_death_signal = options.parent_death_signal;
  block.parent_pid = sys::getpid();
  block.timer_slack = sched::timer_slack_for_children();
  block.files = moves.data();
  block.file_count = moves.size();

  starting ours(options.new_process_group || options.new_session);
  const started now = clone_and_exec(block);
  if (now.pid > 0) ours.made(now.pid);
  if (now.failure != 0) {
    if (now.pid > 0) {
      wait_for_end(now.pid, now.pidfd, 0, nullptr);  // (3)
      sys::close(now.pidfd);
    }
    throw std::system_error{static_cast<int>(-now.failure), std::system_category(),
                            "sigrun::process::spawn: " + arguments[0]};
  }
  child result;
  result.pid_ = now.pid;
  result.pidfd_ = now.pidfd;
  return result;
}

child spawn(const std::vector<std::string>& arguments, const spawn_options& options,
            std::error_code& error) noexcept {
  error.clear();
  try {
    return spawn(arguments, options);
  } catch (const std::system_error& refused) {
    error = refused.code();
  } catch (const std::invalid_argument&) {
    error = std::make_error_code(std::errc::invalid_argument);
  } catch (...) {
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return {};
}

}  // namespace sigrun::process
