// SPDX-License-Identifier: Apache-2.0
//
// The kernel's own signal calls and structures (rt_sigaction(2) and its kin), past glibc, which
// hides 32 and 33, wraps handlers and uses a larger set.
#pragma once

#include "sys/syscall.hpp"

#include <sigrun/signal_set.hpp>

#include <sys/syscall.h>
#include <csignal>

#include <cstdint>

namespace sigrun::sys {

using handler_function = void (*)(int, void*, void*) noexcept;

/// struct kernel_sigaction of both CPUs (linux include/linux/signal_types.h).
struct kernel_sigaction {
  std::uintptr_t handler = 0;  // SIG_DFL is 0, SIG_IGN is 1
  unsigned long flags = 0;
  std::uintptr_t restorer = 0;
  signal_set mask;

  friend bool operator==(const kernel_sigaction&, const kernel_sigaction&) = default;
};
static_assert(sizeof(kernel_sigaction) == 32);

inline constexpr std::uintptr_t handler_default = 0;
inline constexpr std::uintptr_t handler_ignore = 1;
inline constexpr unsigned long flag_restorer = 0x04000000;

/// siginfo_t is the same 128 bytes for glibc and the kernel.
static_assert(sizeof(siginfo_t) == 128);

inline constexpr std::size_t sigset_bytes = sizeof(signal_set);

SIGRUN_SIGNAL_SAFE inline long rt_sigaction(int signo, const kernel_sigaction* to,
                                            kernel_sigaction* from) noexcept {
  return call(SYS_rt_sigaction, signo, to, from, sigset_bytes);
}
SIGRUN_SIGNAL_SAFE inline long rt_sigprocmask(int how, const signal_set* to,
                                              signal_set* from) noexcept {
  return call(SYS_rt_sigprocmask, how, to, from, sigset_bytes);
}
SIGRUN_SIGNAL_SAFE inline signal_set current_mask() noexcept {
  signal_set mask;
  rt_sigprocmask(SIG_BLOCK, nullptr, &mask);
  return mask;
}
SIGRUN_SIGNAL_SAFE inline long set_mask(signal_set mask) noexcept {
  return rt_sigprocmask(SIG_SETMASK, &mask, nullptr);
}
/// The same, resp. block(), and the mask that there was: in one call, so that no handler of this
/// thread, which might edit it, runs between.
SIGRUN_SIGNAL_SAFE inline signal_set exchange_mask(signal_set mask) noexcept {
  signal_set before;
  rt_sigprocmask(SIG_SETMASK, &mask, &before);
  return before;
}
SIGRUN_SIGNAL_SAFE inline signal_set exchange_blocked(signal_set more) noexcept {
  signal_set before;
  rt_sigprocmask(SIG_BLOCK, &more, &before);
  return before;
}
SIGRUN_SIGNAL_SAFE inline long block(signal_set set) noexcept {
  return rt_sigprocmask(SIG_BLOCK, &set, nullptr);
}
SIGRUN_SIGNAL_SAFE inline long unblock(signal_set set) noexcept {
  return rt_sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

struct timespec64 {
  std::int64_t seconds;
  std::int64_t nanoseconds;
};
inline constexpr timespec64 no_wait{0, 0};

/// Waits for a member of `set`; nullptr waits without end. -EAGAIN on time-out, -EINTR when a
/// handler ran. (sigtimedwait(2))
SIGRUN_SIGNAL_SAFE inline long rt_sigtimedwait(signal_set set, siginfo_t* info,
                                               const timespec64* timeout) noexcept {
  return call(SYS_rt_sigtimedwait, &set, info, timeout, sigset_bytes);
}
SIGRUN_SIGNAL_SAFE inline signal_set pending() noexcept {
  signal_set set;
  call(SYS_rt_sigpending, &set, sigset_bytes);
  return set;
}

SIGRUN_SIGNAL_SAFE inline int getpid() noexcept { return static_cast<int>(call(SYS_getpid)); }
SIGRUN_SIGNAL_SAFE inline int gettid() noexcept { return static_cast<int>(call(SYS_gettid)); }
SIGRUN_SIGNAL_SAFE inline unsigned getuid() noexcept {
  return static_cast<unsigned>(call(SYS_getuid));
}
SIGRUN_SIGNAL_SAFE inline long kill(int pid, int signo) noexcept {
  return call(SYS_kill, pid, signo);
}
SIGRUN_SIGNAL_SAFE inline long tgkill(int pid, int tid, int signo) noexcept {
  return call(SYS_tgkill, pid, tid, signo);
}
/// To a process, resp. to one of its threads, with a siginfo of the caller's making. The kernel
/// lets a process give itself any si_code, and others only negative ones.
SIGRUN_SIGNAL_SAFE inline long rt_sigqueueinfo(int pid, int signo, const siginfo_t* info) noexcept {
  return call(SYS_rt_sigqueueinfo, pid, signo, info);
}
SIGRUN_SIGNAL_SAFE inline long rt_tgsigqueueinfo(int pid, int tid, int signo,
                                                 const siginfo_t* info) noexcept {
  return call(SYS_rt_tgsigqueueinfo, pid, tid, signo, info);
}
SIGRUN_SIGNAL_SAFE inline long sigaltstack(const stack_t* to, stack_t* from) noexcept {
  return call(SYS_sigaltstack, to, from);
}

}  // namespace sigrun::sys
