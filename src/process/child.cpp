// SPDX-License-Identifier: Apache-2.0
#include "process/reaper.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/process.hpp>

#include <poll.h>
#include <sys/wait.h>

#include <cerrno>
#include <utility>

namespace sigrun::process {
namespace {

[[noreturn]] void refuse(long result, const char* what) {
  throw std::system_error{static_cast<int>(-result), std::system_category(), what};
}

}  // namespace

child::child(child&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      status_(std::exchange(other.status_, std::nullopt)) {}

child& child::operator=(child&& other) noexcept {
  if (this != &other) {
    child old{std::move(*this)};
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::exchange(other.pidfd_, -1);
    status_ = std::exchange(other.status_, std::nullopt);
  }
  return *this;
}

child::~child() {
  if (pidfd_ < 0) return;
  if (status_) {
    sys::close(pidfd_);
  } else {
    hand_over(pid_, pidfd_);
  }
}

void child::signal(int signo) {
  std::error_code error;
  signal(signo, error);
  if (error) throw std::system_error{error, "sigrun::process::child::signal"};
}

void child::signal(int signo, std::error_code& error) noexcept {
  error.clear();
  const long result =
      pidfd_ < 0 || status_ ? -ESRCH : sys::pidfd_send_signal(pidfd_, signo, nullptr, 0);
  if (sys::failed(result)) error = {static_cast<int>(-result), std::system_category()};
}

exit_status child::wait() {
  if (status_) return *status_;
  if (pidfd_ < 0) refuse(-ECHILD, "sigrun::process::child::wait: there is no child");
  exit_status status;
  const long result = wait_for_end(pid_, pidfd_, 0, &status);
  if (sys::failed(result)) {
    refuse(result, "sigrun::process::child::wait: its status was taken, or SIGCHLD is ignored");
  }
  status_ = status;
  return status;
}

std::optional<exit_status> child::wait_for(std::chrono::nanoseconds timeout) {
  if (status_) return status_;
  if (pidfd_ < 0) refuse(-ECHILD, "sigrun::process::child::wait_for: there is no child");
  const std::int64_t now = sys::now_ns();
  const std::int64_t wanted = timeout.count() < 0 ? 0 : timeout.count();
  const std::int64_t deadline = wanted > sys::never - now ? sys::never : now + wanted;
  for (;;) {
    pollfd fd{pidfd_, POLLIN, 0};
    sys::timespec64 left = sys::to_timespec(deadline - sys::now_ns());
    const long ready = sys::call(SYS_ppoll, &fd, 1, &left, nullptr, sys::sigset_bytes);
    if (ready > 0) return wait();
    if (ready == 0) return std::nullopt;
    if (ready != -EINTR) refuse(ready, "sigrun::process::child::wait_for");
  }
}

}  // namespace sigrun::process
