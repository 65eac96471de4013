// SPDX-License-Identifier: Apache-2.0
#include "tool_process.hpp"

#include "tool_text.hpp"

#include "procfs/read.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <system_error>

namespace sigrun::cmd {
namespace {

// struct pidfd_info of linux/pidfd.h, first version, and what its request and bit are. From 6.15
// on it tells how a process ended, to those who hold its pidfd.
struct pidfd_info {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
static_assert(sizeof(pidfd_info) == 64);
constexpr std::uint64_t info_exit = 1U << 3;

std::string in_words(int status) {
  if (WIFSIGNALED(status)) return "killed by " + std::string{signal_name(WTERMSIG(status))};
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

process_handle::process_handle(int pid) : pid_(pid) {
  const long result = sys::pidfd_open(pid, 0);
  if (!sys::failed(result)) {
    fd_ = static_cast<int>(result);
    return;
  }
  const int code = static_cast<int>(-result);
  if (code == ESRCH) throw tool_error(no_such_process(pid));
  if (code == EINVAL || code == ENOENT) {
    // What the kernel says for an id of a thread that is not its process's first.
    throw tool_error(std::to_string(pid) + " is a thread's id, not a process id");
  }
  throw tool_error("process " + std::to_string(pid) +
                   " cannot be opened: " + std::generic_category().message(code));
}

process_handle::~process_handle() { sys::close(fd_); }

bool process_handle::wait_end(std::optional<std::chrono::milliseconds> timeout) const {
  const std::int64_t deadline = timeout ? sys::now_ns() + timeout->count() * 1'000'000 : sys::never;
  for (;;) {
    pollfd end{fd_, POLLIN, 0};
    const sys::timespec64 left =
        sys::to_timespec(deadline == sys::never ? 0 : deadline - sys::now_ns());
    const long ready =
        sys::call(SYS_ppoll, &end, 1, deadline == sys::never ? nullptr : &left, nullptr, 0);
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (ready != -EINTR)
      throw tool_error("waiting for the end failed: " +
                       std::generic_category().message(static_cast<int>(-ready)));
  }
}

std::string process_handle::end() const {
  try {
    // Not waited for yet: its entry says. The pidfd vouches for the number, since a zombie keeps
    // it.
    const procfs::process_stat stat = procfs::read_stat(pid_);
    if (stat.state == 'Z' && stat.exit_code) return in_words(*stat.exit_code);
  } catch (const procfs::error&) {
    // Waited for meanwhile: ask the pidfd.
  }
  pidfd_info info{};
  info.mask = info_exit;
  const long result = sys::call(SYS_ioctl, fd_, _IOWR(0xFF, 11, pidfd_info), &info);
  if (sys::failed(result) || (info.mask & info_exit) == 0) return {};
  return in_words(info.exit_code);
}

}  // namespace sigrun::cmd
