// SPDX-License-Identifier: Apache-2.0
//
// System calls only an init makes. Each returns the kernel's value, as those of src/sys do.
#pragma once

#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>

namespace sigrun::cmd {

inline long wait_for(int kind, int id, siginfo_t* info, int options) noexcept {
  info->si_pid = 0;  // stays 0 when nothing has changed
  return sys::call(SYS_waitid, kind, id, info, options, nullptr);
}
inline long set_parent_death_signal(int signo) noexcept {
  return sys::call(SYS_prctl, PR_SET_PDEATHSIG, signo, 0, 0, 0);
}
inline long set_subreaper() noexcept {
  return sys::call(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
inline bool is_subreaper() noexcept {
  int on = 0;
  return !sys::failed(sys::call(SYS_prctl, PR_GET_CHILD_SUBREAPER, &on, 0, 0, 0)) && on == 1;
}
inline int parent_pid() noexcept { return static_cast<int>(sys::call(SYS_getppid)); }
inline int group_of(int pid) noexcept { return static_cast<int>(sys::call(SYS_getpgid, pid)); }
inline int session_of(int pid) noexcept { return static_cast<int>(sys::call(SYS_getsid, pid)); }

/// The foreground group of the terminal behind `fd`; negative when it is not our terminal.
inline int foreground_group(int fd) noexcept {
  int group = -1;
  const long result = sys::call(SYS_ioctl, fd, TIOCGPGRP, &group);
  return sys::failed(result) ? static_cast<int>(result) : group;
}
inline long set_foreground_group(int fd, int group) noexcept {
  return sys::call(SYS_ioctl, fd, TIOCSPGRP, &group);
}
inline long open_file(const char* path, int flags, int mode = 0) noexcept {
  return sys::call(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}
inline bool is_terminal(int fd) noexcept {
  char settings[256];
  return !sys::failed(sys::call(SYS_ioctl, fd, TCGETS, settings));
}

}  // namespace sigrun::cmd
