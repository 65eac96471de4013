// SPDX-License-Identifier: Apache-2.0
//
// Children are looked for in /proc, since a wait for any child that takes none would show the same
// one each time.
//
// Invariants:
//  (1) Whose a child is, is asked after a pidfd was opened for it, and it is reaped by that pidfd:
//      if it was somebody else's after all and he has reaped it meanwhile, there is nothing to
//      take, whoever has its number by then.
//  (2) Only who has ended is asked about: a child that is just being made is none.
#include "process/ours.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/go.hpp>
#include <sigrun/orphans.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace sigrun::process {

struct orphans_state {
  explicit orphans_state(orphans_options from) : options(std::move(from)) {}
  void watch();
  void look();
  bool may_take(int pid) const;
  bool take(int pid);
  void tell(const orphan& one);

  const orphans_options options;
  signal_chan signals{16};
  chan<orphan> events{256};
  mutable mutex lock;
  orphans_stats stats;
  bool was_subreaper = false;
  goroutine watcher;
};

namespace {

std::atomic<bool> there_is_one{false};

// The children of all threads; those of one that cannot be read are left for the next look.
std::vector<int> children_now() {
  std::vector<int> all;
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return all;
  while (const dirent* const task = ::readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    std::ifstream in(std::string("/proc/self/task/") + task->d_name + "/children");
    for (int pid = 0; in >> pid;) all.push_back(pid);
  }
  ::closedir(tasks);
  return all;
}

bool has_ended(int pid) {
  siginfo_t info{};
  const long result =
      sys::call(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT, nullptr);
  return !sys::failed(result) && info.si_pid == pid;
}

std::chrono::microseconds time_of(const timeval& t) {
  return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
}

}  // namespace

bool orphans_state::may_take(int pid) const {
  if (whose_child(pid) != whose::others) return false;
  if (options.all) return true;
  const auto of = [&](long call) {
    const long id = sys::call(call, pid);
    return id > 0 && id != pid && is_our_group(static_cast<int>(id));
  };
  return of(SYS_getpgid) || of(SYS_getsid);
}

// False: it may be somebody else's.
bool orphans_state::take(int pid) {
  const long pidfd = sys::call(SYS_pidfd_open, pid, 0);
  if (sys::failed(pidfd)) return true;
  const long group = sys::call(SYS_getpgid, pid);
  siginfo_t info{};
  rusage used{};
  long result = -ECHILD;
  const bool mine = may_take(pid);  // (1)
  if (mine) result = sys::call(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | WNOHANG, &used);
  sys::close(static_cast<int>(pidfd));
  if (!mine) return whose_child(pid) == whose::ours;
  if (sys::failed(result) || info.si_pid != pid) return true;
  orphan one;
  one.pid = pid;
  one.group = static_cast<int>(group);
  (info.si_code == CLD_EXITED ? one.status.code : one.status.signal) = info.si_status;
  one.status.core_dumped = info.si_code == CLD_DUMPED;
  one.user = time_of(used.ru_utime);
  one.system = time_of(used.ru_stime);
  one.rss_max_kib = used.ru_maxrss;
  tell(one);
  return true;
}

void orphans_state::tell(const orphan& one) {
  {
    const std::lock_guard hold(lock);
    ++stats.reaped;
    if (!one.status.success()) ++stats.failed;
    while (!events.try_send(one)) {
      orphan oldest;
      if (events.try_recv(oldest)) ++stats.events_dropped;
    }
  }
  if (!options.ended) return;
  try {
    options.ended(one);
  } catch (const std::exception&) {
    // As it says.
  }
}

void orphans_state::look() {
  std::size_t left = 0;
  for (const int pid : foreign_call([] { return children_now(); })) {
    if (has_ended(pid) && !take(pid)) ++left;  // (2)
  }
  forget_empty_groups();
  const std::lock_guard hold(lock);
  stats.left = left;
}

void orphans_state::watch() {
  for (;;) {
    look();
    signal_event event;
    if (signals.recv_for(std::chrono::seconds(1), event) == chan_status::closed) return;
    while (signals.try_recv(event)) {
      // One look is for all of them.
    }
  }
}

orphans::orphans(orphans_options options)
    : state_(std::make_shared<orphans_state>(std::move(options))) {
  if (there_is_one.exchange(true)) {
    throw std::logic_error("sigrun::process::orphans: there is one in this process already");
  }
  try {
    const std::string file = "/proc/self/task/" + std::to_string(sys::getpid()) + "/children";
    const long fd = sys::call(SYS_openat, AT_FDCWD, file.c_str(), O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd)) {
      throw std::system_error(static_cast<int>(-fd), std::system_category(),
                              "sigrun::process::orphans: " + file);
    }
    sys::close(static_cast<int>(fd));
    notify_options how;
    how.full = overflow::coalesce;
    notify(state_->signals, {SIGCHLD}, how);
    int before = 0;
    sys::call(SYS_prctl, PR_GET_CHILD_SUBREAPER, &before, 0, 0, 0);
    state_->was_subreaper = before != 0;
    if (state_->options.subreaper) sys::call(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    state_->watcher = go({.name = "orphans"}, [state = state_] { state->watch(); });
  } catch (...) {
    there_is_one.store(false);
    throw;
  }
}

orphans::~orphans() {
  stop(state_->signals);
  state_->signals.close();
  state_->watcher.join();
  if (state_->options.subreaper && !state_->was_subreaper) {
    sys::call(SYS_prctl, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  }
  state_->events.close();
  there_is_one.store(false);
}

chan<orphan> orphans::events() const { return state_->events; }

orphans_stats orphans::stats() const {
  const std::lock_guard hold(state_->lock);
  return state_->stats;
}

}  // namespace sigrun::process
