// SPDX-License-Identifier: Apache-2.0
//
// What the kernel says about a process or a thread in /proc (proc(5), "status").
#pragma once

#include <sigrun/signal_set.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::test {

struct proc_signals {
  std::string name;    // "Name:", the thread's name
  char state = '?';    // "State:", R S D T t Z X
  signal_set pending;  // SigPnd, sent to the thread
  signal_set shared;   // ShdPnd, sent to the process
  signal_set blocked;  // SigBlk
  signal_set ignored;  // SigIgn
  signal_set caught;   // SigCgt
};

/// Reads the text of a status file; members that it lacks stay empty.
proc_signals parse_status(std::string_view text);

/// Of a process's initial thread, resp. of one thread; nothing when there is none (any more).
std::optional<proc_signals> read_proc_signals(int pid);
std::optional<proc_signals> read_task_signals(int pid, int tid);

/// Thread ids of a process, ascending.
std::vector<int> thread_ids(int pid);

/// Whole file; empty when it cannot be read.
std::string read_file(const std::string& path);

}  // namespace sigrun::test
