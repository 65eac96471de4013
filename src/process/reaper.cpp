// SPDX-License-Identifier: Apache-2.0
#include "process/reaper.hpp"

#include "process/ours.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <cerrno>
#include <mutex>
#include <new>

namespace sigrun::process {
namespace {

struct orphan {
  int pid;
  int pidfd;
  bool watched;
  orphan* next;
};

// Constant-initialised and never destroyed: the reaper may outlive static destructors.
struct reaper_state {
  std::mutex lock;
  int owner = 0;  // pid of the process whose children these are: a forked child starts anew
  orphan* first = nullptr;
  int epoll = -1;
  bool thread_runs = false;
};
union forever {
  reaper_state state;
  constexpr forever() : state{} {}
  ~forever() {}
};
constinit forever the_reaper;

void* reap(void*) noexcept;

// Starts the thread with everything blocked, so that no signal of the program ever lands on it.
bool start_thread() noexcept {
  const signal_set before = sys::exchange_mask(signal_set::all());
  pthread_t thread;
  const bool started = ::pthread_create(&thread, nullptr, reap, nullptr) == 0;
  if (started) {
    ::pthread_setname_np(thread, "sigrun-reaper");
    ::pthread_detach(thread);
  }
  sys::set_mask(before);
  return started;
}

// Takes every child out of the list that has ended. With the lock held.
void sweep(reaper_state& state) noexcept {
  for (orphan** link = &state.first; *link != nullptr;) {
    orphan* const entry = *link;
    if (wait_for_end(entry->pid, entry->pidfd, WNOHANG, nullptr) == -EAGAIN) {
      link = &entry->next;
      continue;
    }
    sys::close(entry->pidfd);  // leaves the epoll set with its last fd
    *link = entry->next;
    delete entry;
  }
}

// Has the thread watch every child of the list, as far as the system lets it. With the lock held.
void watch_all(reaper_state& state) noexcept {
  if (state.epoll < 0) state.epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (state.epoll < 0) return;
  for (orphan* entry = state.first; entry != nullptr; entry = entry->next) {
    if (entry->watched) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    entry->watched = ::epoll_ctl(state.epoll, EPOLL_CTL_ADD, entry->pidfd, &event) == 0;
  }
  if (!state.thread_runs) state.thread_runs = start_thread();
}

void* reap(void*) noexcept {
  reaper_state& state = the_reaper.state;
  for (;;) {
    int epoll = -1;
    {
      const std::lock_guard hold{state.lock};
      sweep(state);
      if (state.first == nullptr) {
        sys::close(state.epoll);
        state.epoll = -1;
        state.thread_runs = false;
        return nullptr;
      }
      epoll = state.epoll;
    }
    epoll_event events[16];
    ::epoll_wait(epoll, events, 16, -1);
  }
}

}  // namespace

long wait_for_end(int pid, int pidfd, int options, exit_status* status) noexcept {
  siginfo_t info{};
  for (;;) {
    long result = sys::call(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | options, nullptr);
    if (result == -EINVAL || result == -EBADF) {
      // Kernels before 5.4. The pid is still our child's: only a wait frees it.
      result = sys::call(SYS_waitid, P_PID, pid, &info, WEXITED | options, nullptr);
    }
    if (result == -EINTR) continue;
    if (sys::failed(result)) return result;
    break;
  }
  if (info.si_pid == 0) return -EAGAIN;
  note_reaped(pid);
  if (status != nullptr) {
    *status = {};
    (info.si_code == CLD_EXITED ? status->code : status->signal) = info.si_status;
    status->core_dumped = info.si_code == CLD_DUMPED;
  }
  return 0;
}

void hand_over(int pid, int pidfd) noexcept {
  // Most have ended already and need no thread.
  if (wait_for_end(pid, pidfd, WNOHANG, nullptr) != -EAGAIN) {
    sys::close(pidfd);
    return;
  }
  reaper_state& state = the_reaper.state;
  const int self = sys::getpid();
  if (state.owner != self && state.owner != 0) {
    // A forked child: the list, the lock and the thread were its parent's.
    new (&the_reaper.state) reaper_state{};
  }
  auto* const entry = new (std::nothrow) orphan{pid, pidfd, false, nullptr};
  if (entry == nullptr) {
    sys::close(pidfd);
    return;
  }
  const std::lock_guard hold{state.lock};
  state.owner = self;
  sweep(state);
  entry->next = state.first;
  state.first = entry;
  watch_all(state);
}

}  // namespace sigrun::process
