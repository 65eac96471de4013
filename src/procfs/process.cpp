// SPDX-License-Identifier: Apache-2.0
#include "procfs/process.hpp"

#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

namespace sigrun::procfs {
namespace {

constexpr std::size_t threads_max = 1U << 20;
constexpr std::size_t descriptors_max = 1U << 16;
constexpr std::size_t processes_max = 1U << 22;  // the kernel's own limit (PID_MAX_LIMIT)

// The set that a waiting thread gave to the kernel. No value when its memory is closed to us.
std::optional<signal_set> awaited_set(int pid, const syscall_state& call) {
  std::uint64_t bits = 0;
  const iovec to{&bits, sizeof bits};
  const iovec from{reinterpret_cast<void*>(call.arguments[0]), sizeof bits};
  const long got = sys::call(SYS_process_vm_readv, pid, &to, 1, &from, 1, 0);
  if (got != static_cast<long>(sizeof bits)) return std::nullopt;
  return signal_set{bits};
}

bool is_wait(const syscall_state& call) {
  return call.what == syscall_state::kind::in_call && call.number == SYS_rt_sigtimedwait;
}

// With 500 threads, three such lines are enough.
void note_unreadable(process_view& view, const error& problem) {
  if (problem.vanished() || view.unreadable.size() > 3) return;
  view.unreadable.emplace_back(view.unreadable.size() < 3 ? problem.what()
                                                          : "and more of the same");
}

void look_inside(process_view& view, thread_view& thread) {
  const int tid = thread.status.tid;
  try {
    thread.call = read_syscall(view.pid, tid);
    if (!is_wait(*thread.call)) return;
    const auto set = awaited_set(view.pid, *thread.call);
    // Between the two reads the thread may have left the call and reused the memory.
    const syscall_state again = read_syscall(view.pid, tid);
    if (!is_wait(again) || again.arguments != thread.call->arguments) return;
    thread.waits = true;
    // The mask may have been read before the call began, which opens the awaited signals.
    thread.status = read_status(view.pid, tid);
    thread.ever_blocked = thread.status.blocked;
    // What is blocked all the same is not awaited, whatever the memory says.
    if (set) thread.awaited = *set - thread.status.blocked;
  } catch (const error& problem) {
    note_unreadable(view, problem);
  }
}

void look_at_signalfds(process_view& view) {
  try {
    for (const int fd : list_numbers(path_of(view.pid, "fd"), descriptors_max)) {
      try {
        if (read_link(path_of(view.pid, "fd/" + std::to_string(fd))) != "anon_inode:[signalfd]") {
          continue;
        }
        const std::string path = path_of(view.pid, "fdinfo/" + std::to_string(fd));
        if (const auto set = parse_signalfd(read_text(path))) view.signalfds |= *set;
      } catch (const error& problem) {
        note_unreadable(view, problem);
      }
    }
  } catch (const error& problem) {
    note_unreadable(view, problem);
  }
}

}  // namespace

signal_set process_view::blocked_by_some() const noexcept {
  signal_set set;
  for (const thread_view& thread : threads) set |= thread.status.blocked;
  return set;
}

signal_set process_view::blocked_by_all() const noexcept {
  signal_set set = signal_set::all();
  for (const thread_view& thread : threads) set &= thread.status.blocked;
  return set;
}

signal_set process_view::taken_synchronously() const noexcept {
  signal_set set = signalfds;
  for (const thread_view& thread : threads) set |= thread.awaited;
  return set;
}

process_view read_process(int pid, detail depth) {
  process_view view;
  view.pid = pid;
  for (const int tid : list_numbers(path_of(pid, "task"), threads_max)) {
    try {
      thread_view thread;
      thread.status = read_status(pid, tid);
      thread.ever_blocked = thread.status.blocked;
      view.threads.push_back(std::move(thread));
    } catch (const error& problem) {
      if (!problem.vanished()) throw;
    }
  }
  if (view.threads.empty()) throw error(path_of(pid, "task"), ESRCH);
  // /proc/TID exists for every thread, though it is not listed.
  if (view.main().tgid != pid) {
    throw std::invalid_argument(std::to_string(pid) + " is a thread of process " +
                                std::to_string(view.main().tgid) + ", not a process");
  }
  const auto main = std::find_if(view.threads.begin(), view.threads.end(),
                                 [&](const thread_view& t) { return t.status.tid == pid; });
  if (main != view.threads.end()) std::rotate(view.threads.begin(), main, main + 1);
  if (depth == detail::masks) return view;
  for (thread_view& thread : view.threads) {
    look_inside(view, thread);
    try {
      thread.wchan = read_wchan(pid, thread.status.tid);
    } catch (const error&) {
      // Only an ornament: what matters has been said by status and syscall.
    }
  }
  look_at_signalfds(view);
  return view;
}

process_view steady(const process_view& older, process_view newer) {
  std::erase_if(newer.threads, [&](thread_view& thread) {
    const auto before =
        std::find_if(older.threads.begin(), older.threads.end(),
                     [&](const thread_view& t) { return t.status.tid == thread.status.tid; });
    if (before == older.threads.end()) return true;
    thread.status.blocked &= before->status.blocked;
    thread.ever_blocked |= before->ever_blocked;
    thread.status.pending &= before->status.pending;
    thread.status.shared_pending &= before->status.shared_pending;
    thread.awaited |= before->awaited;
    thread.waits |= before->waits;
    // A thread that was seen in another state is not stuck in this one.
    if (before->status.state != thread.status.state && thread.status.state == 'D') {
      thread.status.state = before->status.state;
    }
    return false;
  });
  newer.signalfds |= older.signalfds;
  if (newer.threads.empty()) throw error(path_of(newer.pid, "task"), ESRCH);
  return newer;
}

std::vector<zombie> zombies_of(int pid) {
  std::vector<zombie> found;
  for (const int candidate : list_numbers("/proc", processes_max)) {
    try {
      process_stat stat = read_stat(candidate);
      if (stat.state == 'Z' && stat.ppid == pid) {
        found.push_back({candidate, std::move(stat.name)});
      }
    } catch (const error&) {
      // It ended while we looked, or is hidden from us (hidepid): not a zombie of ours to tell.
    }
  }
  return found;
}

}  // namespace sigrun::procfs
