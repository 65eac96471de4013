// SPDX-License-Identifier: Apache-2.0
//
// epoll(7) by raw calls. The wait is epoll_pwait in both forms, because arm64 has no epoll_wait.
#pragma once

#include "sys/signal.hpp"

#include <sys/epoll.h>
#include <sys/syscall.h>

namespace sigrun::sys {

SIGRUN_SIGNAL_SAFE inline long epoll_create(int flags) noexcept {
  return call(SYS_epoll_create1, flags);
}
SIGRUN_SIGNAL_SAFE inline long epoll_ctl(int epoll_fd, int operation, int fd,
                                         epoll_event* event) noexcept {
  return call(SYS_epoll_ctl, epoll_fd, operation, fd, event);
}
/// In milliseconds, -1 for ever.
SIGRUN_SIGNAL_SAFE inline long epoll_wait_ms(int epoll_fd, epoll_event* events, int events_max,
                                             int timeout_ms) noexcept {
  return call(SYS_epoll_pwait, epoll_fd, events, events_max, timeout_ms, nullptr, sigset_bytes);
}
/// -ENOSYS before Linux 5.11.
SIGRUN_SIGNAL_SAFE inline long epoll_wait_ns(int epoll_fd, epoll_event* events, int events_max,
                                             const timespec64* timeout) noexcept {
  return call(SYS_epoll_pwait2, epoll_fd, events, events_max, timeout, nullptr, sigset_bytes);
}

}  // namespace sigrun::sys
