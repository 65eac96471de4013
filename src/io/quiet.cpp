// SPDX-License-Identifier: Apache-2.0
#include "io/quiet.hpp"

#include <unistd.h>
#include <csignal>

#include <atomic>
#include <cerrno>

namespace sigrun::detail {
namespace {

constexpr signal_set pipe_signal = signal_set::of(SIGPIPE);
constexpr int rwf_nosignal = 0x100;  // <linux/fs.h>, from 6.18 on

constinit std::atomic<bool> no_rwf_nosignal{false};

}  // namespace

sigpipe_guard::sigpipe_guard() noexcept {
  signal_set before;
  sys::rt_sigprocmask(SIG_BLOCK, &pipe_signal, &before);
  was_blocked_ = before.has(SIGPIPE);
  // Where it was open none can be pending for this thread.
  if (was_blocked_) was_pending_ = sys::pending().has(SIGPIPE);
}

sigpipe_guard::~sigpipe_guard() {
  // Signals to the thread are taken before those to the process, so this one is ours.
  if (raised_ && !was_pending_) sys::rt_sigtimedwait(pipe_signal, nullptr, &sys::no_wait);
  if (!was_blocked_) sys::unblock(pipe_signal);
}

long write_quietly(int fd, const iovec* list, int count) noexcept {
  if (fd == STDOUT_FILENO || fd == STDERR_FILENO) return sys::call(SYS_writev, fd, list, count);
  if (!no_rwf_nosignal.load(std::memory_order_relaxed)) {
    // -1, -1: at the descriptor's own position. (pwritev2(2))
    const long result = sys::call(SYS_pwritev2, fd, list, count, -1, -1, rwf_nosignal);
    if (result != -EOPNOTSUPP && result != -EINVAL) return result;
    no_rwf_nosignal.store(true, std::memory_order_relaxed);
  }
  sigpipe_guard guard;
  const long result = sys::call(SYS_writev, fd, list, count);
  if (result == -EPIPE) guard.raised();
  return result;
}

}  // namespace sigrun::detail
