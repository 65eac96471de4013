// SPDX-License-Identifier: Apache-2.0
//
// Files, eventfds and process ids, as far as the core needs them.
#pragma once

#include "sys/syscall.hpp"

#include <fcntl.h>
#include <sys/syscall.h>

#include <cstdint>
#include <string_view>

namespace sigrun::sys {

SIGRUN_SIGNAL_SAFE inline long write(int fd, const void* bytes, std::size_t size) noexcept {
  return call(SYS_write, fd, bytes, size);
}
SIGRUN_SIGNAL_SAFE inline long write(int fd, std::string_view text) noexcept {
  return write(fd, text.data(), text.size());
}
SIGRUN_SIGNAL_SAFE inline long read(int fd, void* bytes, std::size_t size) noexcept {
  return call(SYS_read, fd, bytes, size);
}
SIGRUN_SIGNAL_SAFE inline long close(int fd) noexcept { return call(SYS_close, fd); }
SIGRUN_SIGNAL_SAFE inline long eventfd(unsigned initial, int flags) noexcept {
  return call(SYS_eventfd2, initial, flags);
}
SIGRUN_SIGNAL_SAFE inline long pidfd_open(int pid, unsigned flags) noexcept {
  return call(SYS_pidfd_open, pid, flags);
}
SIGRUN_SIGNAL_SAFE inline long pidfd_send_signal(int fd, int signo, const void* info,
                                                 unsigned flags) noexcept {
  return call(SYS_pidfd_send_signal, fd, signo, info, flags);
}
[[noreturn, gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline void exit_group(int status) noexcept {
  for (;;) call(SYS_exit_group, status);
}

}  // namespace sigrun::sys
