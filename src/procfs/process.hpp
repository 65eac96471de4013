// SPDX-License-Identifier: Apache-2.0
//
// One look at a process from the outside: each thread's masks, and who waits for which signals.
//
// A look is not atomic. Threads that end meanwhile are left out; a thread that is between two
// states is seen in one of them. Who needs certainty looks more than once (steady()).
#pragma once

#include "procfs/read.hpp"

#include <optional>
#include <string>
#include <vector>

namespace sigrun::procfs {

struct thread_view {
  thread_status status;
  /// What was blocked in any look; `status.blocked` is what was blocked in all of them.
  signal_set ever_blocked;
  /// The signals for which the thread waits in sigwait(3) and its kin, taken from its memory.
  /// While it waits, the kernel shows them as not blocked.
  signal_set awaited;
  /// The thread is inside such a call, whether or not its set could be read.
  bool waits = false;
  std::optional<syscall_state> call;  // no value: not permitted to know
  std::string wchan;
};

struct process_view {
  int pid = 0;
  std::vector<thread_view> threads;  // the initial thread first; never empty
  signal_set signalfds;              // what its signalfds read, together
  /// Entries that could not be read, as "path: why"; what follows from them is missing.
  std::vector<std::string> unreadable;

  const thread_status& main() const noexcept { return threads.front().status; }
  /// The union resp. intersection of the threads' blocked sets.
  signal_set blocked_by_some() const noexcept;
  signal_set blocked_by_all() const noexcept;
  /// Signals that somebody takes synchronously: sigwait(3) or a signalfd.
  signal_set taken_synchronously() const noexcept;
};

enum class detail {
  masks,  ///< the status files only
  full,   ///< also what each thread waits for, and signalfds
};

/// Looks at process `pid`. Throws error when its status cannot be read or all its threads ended,
/// std::invalid_argument when `pid` is a thread of another process.
process_view read_process(int pid, detail depth);

/// What holds in both looks: blocked and pending sets intersected, waits united, threads that
/// were there both times. Takes the newer look's word for the rest. Throws error when no thread is
/// left.
process_view steady(const process_view& older, process_view newer);

/// A child that has ended and has not been waited for.
struct zombie {
  int pid = 0;
  std::string name;
};
/// The zombies whose parent is `pid`. Throws error when /proc itself cannot be listed.
std::vector<zombie> zombies_of(int pid);

}  // namespace sigrun::procfs
