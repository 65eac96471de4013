// SPDX-License-Identifier: Apache-2.0
#include "lab.hpp"

#include "sys/signal.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>

namespace sigrun::cmd::lab {
namespace {

[[noreturn]] void run_child(const std::function<int()>& program, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(125);  // it ended before the line above
  ::setpgid(0, 0);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  for (int signo = 1; signo <= signal_max; ++signo) {
    const sys::kernel_sigaction by_default{};
    sys::rt_sigaction(signo, &by_default, nullptr);
  }
  sys::set_mask({});
  int code = 125;
  try {
    code = program();
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "sigrun lab: %s\n", problem.what());
  }
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace

experiment::experiment(const std::function<int()>& program) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error(errno, std::system_category(), "fork");
  if (pid_ == 0) run_child(program, parent);
  ::setpgid(pid_, pid_);  // whoever of the two is first
}

experiment::~experiment() { kill(); }

std::optional<int> experiment::wait(std::chrono::milliseconds time) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (!status_) {
    int status = 0;
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) {
      status_ = status;
    } else if (std::chrono::steady_clock::now() >= deadline) {
      break;
    } else {
      ::poll(nullptr, 0, 1);
    }
  }
  return status_;
}

void experiment::kill() noexcept {
  ::kill(-pid_, SIGKILL);  // what it left behind too
  if (status_) return;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = status;
}

}  // namespace sigrun::cmd::lab
