// SPDX-License-Identifier: Apache-2.0
#include "run_send.hpp"

#include "base/text.hpp"
#include "run_sys.hpp"

#include <cerrno>
#include <cstring>

namespace sigrun::cmd {
namespace {

constexpr unsigned pidfd_process_group = 4;  // PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9

// Calls f(pid) for each number in the children file of this thread, which is the only one. A buffer
// may end inside a number, so its digits are carried on.
template <class F>
long each_child(F f) noexcept {
  const long fd = open_file("/proc/thread-self/children", O_RDONLY);
  if (sys::failed(fd)) return fd;
  int pid = 0;
  char bytes[1024];
  long size;
  while ((size = sys::read(static_cast<int>(fd), bytes, sizeof bytes)) > 0) {
    for (long i = 0; i < size; ++i) {
      if (bytes[i] >= '0' && bytes[i] <= '9') {
        pid = pid * 10 + (bytes[i] - '0');
      } else if (pid != 0) {
        f(pid);
        pid = 0;
      }
    }
  }
  if (pid != 0) f(pid);
  sys::close(static_cast<int>(fd));
  return 0;
}

// Calls f(pid) for each process in `group`. Only for kernels that cannot queue to a group.
template <class F>
void each_member(int group, F f) noexcept {
  const long fd = open_file("/proc", O_RDONLY | O_DIRECTORY);
  if (sys::failed(fd)) return;
  struct entry {
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[1];
  };
  alignas(8) char bytes[4096];
  long size;
  while ((size = sys::call(SYS_getdents64, fd, bytes, sizeof bytes)) > 0) {
    for (long at = 0; at < size;) {
      const auto* const one = reinterpret_cast<const entry*>(bytes + at);
      int pid = 0;
      for (const char* c = one->name; *c >= '0' && *c <= '9'; ++c) pid = pid * 10 + (*c - '0');
      if (pid != 0 && group_of(pid) == group) f(pid);
      at += one->size;
    }
  }
  sys::close(static_cast<int>(fd));
}

// True for what must travel as a queued signal: it has a value, or it is real-time, where kill(2)
// would merge silently once the receiver's queue is full.
bool queued(int signo, const siginfo_t& info) noexcept {
  return (info.si_code < 0 && info.si_code != SI_TKILL) || signo >= 32;
}

siginfo_t queue_form(int signo, const siginfo_t& info) noexcept {
  siginfo_t form;
  if (info.si_code < 0 && info.si_code != SI_TKILL) {
    form = info;
  } else {
    // The kernel lets no process send SI_USER in another's name; SI_QUEUE keeps who sent it.
    std::memset(&form, 0, sizeof form);
    form.si_code = SI_QUEUE;
    if (info.si_code <= 0) {
      form.si_pid = info.si_pid;
      form.si_uid = info.si_uid;
    }
  }
  form.si_signo = signo;
  return form;
}

long send_to_group(signal_target& target, int signo, const siginfo_t* form) noexcept {
  if (form == nullptr) return sys::kill(-target.pid, signo);
  if (target.pidfd < 0) {
    const long fd = sys::pidfd_open(target.pid, 0);
    if (!sys::failed(fd)) target.pidfd = static_cast<int>(fd);
  }
  if (target.pidfd >= 0) {
    const long result = sys::pidfd_send_signal(target.pidfd, signo, form, pidfd_process_group);
    if (result != -EINVAL) return result;
  }
  long last = -ESRCH;
  bool sent = false;
  each_member(target.pid, [&](int pid) {
    last = sys::rt_sigqueueinfo(pid, signo, form);
    sent = sent || last == 0;
  });
  return sent ? 0 : last;
}

}  // namespace

long send_to_children(int signo) noexcept {
  return each_child([signo](int pid) { sys::kill(pid, signo); });
}

long send_on(signal_target& target, int signo, const siginfo_t& info) noexcept {
  siginfo_t form;
  const bool queue = queued(signo, info);
  if (queue) form = queue_form(signo, info);
  const siginfo_t* const payload = queue ? &form : nullptr;
  long result;
  switch (target.kind) {
    case target_kind::group:
      result = send_to_group(target, signo, payload);
      break;
    case target_kind::children:
      return each_child([&](int pid) {
        if (payload == nullptr || sys::failed(sys::rt_sigqueueinfo(pid, signo, payload))) {
          sys::kill(pid, signo);
        }
      });
    default:
      result = payload != nullptr ? sys::rt_sigqueueinfo(target.pid, signo, payload)
                                  : sys::kill(target.pid, signo);
  }
  // A standard signal is at most one in the queue in any case: without room for its value it still
  // goes, by kill(2), which needs none.
  if (payload != nullptr && result == -EAGAIN && signo < 32) {
    result = sys::kill(target.kind == target_kind::group ? -target.pid : target.pid, signo);
  }
  return result;
}

}  // namespace sigrun::cmd
