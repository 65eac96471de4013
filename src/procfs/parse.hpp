// SPDX-License-Identifier: Apache-2.0
//
// The texts under /proc that say what a process does with its signals (proc(5)), as values.
//
// Every parser takes text and nothing else, so that it can be tested and fuzzed without a process.
// All of them throw std::invalid_argument, whose text names the field, for text that the kernel
// would not write; none of them trusts a length, a number or an order of lines. Fields that are
// not ours are skipped, because each kernel version adds some.
#pragma once

#include <sigrun/signal_set.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::procfs {

/// What /proc/PID/task/TID/status says. `shared_pending`, `ignored`, `caught`, `queued` and
/// `queue_limit` are the process's (resp. the user's), and the same in each of its threads.
struct thread_status {
  std::string name;  // as the kernel writes it: newline and backslash escaped, any other byte raw
  char state = '?';  // R S D T t Z X I (proc(5))
  int tgid = 0;
  int tid = 0;
  int ppid = 0;
  int tracer_pid = 0;
  unsigned uid = 0;  // real user id, whose RLIMIT_SIGPENDING counts
  unsigned effective_uid = 0;
  int threads = 0;
  bool kernel_thread = false;     // said by kernels from 6.7 on
  std::vector<int> ns_pids;       // this thread's id in each pid namespace, ours first
  std::uint64_t queued = 0;       // signals queued for this user
  std::uint64_t queue_limit = 0;  // RLIMIT_SIGPENDING
  signal_set pending;             // for this thread alone
  signal_set shared_pending;      // for the process
  signal_set blocked;
  signal_set ignored;
  signal_set caught;
};
thread_status parse_status(std::string_view text);

/// The fields of /proc/PID/stat that are used here. The name may hold blanks and parentheses.
struct process_stat {
  int pid = 0;
  std::string name;
  char state = '?';
  int ppid = 0;
  int group = 0;
  int session = 0;
  std::uint64_t start_ticks = 0;  // since boot; tells a process from a later one of the same pid
  std::optional<int> exit_code;   // a wait status; 0 for those who may not trace the process
};
process_stat parse_stat(std::string_view text);

/// /proc/PID/comm without its newline.
std::string parse_comm(std::string_view text);

/// One line of /proc/PID/maps.
struct mapping {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // one past the last byte
  std::string permissions;
  std::uint64_t offset = 0;
  std::uint64_t inode = 0;
  std::string path;  // empty for anonymous memory; "[stack]" and the like for the kernel's own
};
std::vector<mapping> parse_maps(std::string_view text);
/// The mapping that holds `address`, nullptr when there is none.
const mapping* find_mapping(const std::vector<mapping>& maps, std::uint64_t address) noexcept;

/// One line of /proc/PID/limits; no value means unlimited.
struct resource_limit {
  std::string name;  // "Max pending signals"
  std::optional<std::uint64_t> soft;
  std::optional<std::uint64_t> hard;
};
std::vector<resource_limit> parse_limits(std::string_view text);

/// /proc/PID/task/TID/syscall: what the thread asked the kernel for, if it is inside it at all.
struct syscall_state {
  enum class kind { running, blocked, in_call };
  kind what = kind::running;
  long number = -1;  // valid for in_call
  std::array<std::uint64_t, 6> arguments{};
  std::uint64_t sp = 0;
  std::uint64_t pc = 0;
};
syscall_state parse_syscall(std::string_view text);

/// The set of a signalfd from /proc/PID/fdinfo/FD; no value when the text is of another kind of
/// file.
std::optional<signal_set> parse_signalfd(std::string_view text);

}  // namespace sigrun::procfs
