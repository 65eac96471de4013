// SPDX-License-Identifier: Apache-2.0
//
// A child process under a test: it says when it is ready, its output is kept, and it ends in any
// case. Three things see to that: an alarm inside the child, PR_SET_PDEATHSIG should the test
// itself die, and SIGKILL by the parent when the time is up, which a child cannot catch.
//
// A child starts in a process group of its own (so that SIGTSTP and its kin stop it: the group is
// not orphaned while the test lives), with every disposition at default but those asked for, with
// exactly the mask asked for, and without core files.
#pragma once

#include <sigrun/signal_set.hpp>

#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sigrun::test {

struct child_options {
  signal_set ignored;  ///< SIG_IGN when the child starts; all others are SIG_DFL
  signal_set blocked;  ///< the child's mask when it starts
  std::vector<std::pair<int, rlim_t>> limits;  ///< {RLIMIT_…, soft limit}
  std::vector<std::string> environment;        ///< "NAME=value", added to ours
  std::chrono::milliseconds timeout{20'000};
  bool dead_man = true;  ///< alarm(2) in the child, a while after the time-out
};

struct child_result {
  int status = 0;  ///< as waitpid(2) gives it
  bool timed_out = false;
  std::string out;
  std::string err;
  std::chrono::nanoseconds duration{};

  bool exited_with(int code) const;
  bool killed_by(int signo) const;
  /// "exit 0", "killed by SIGTERM", "time-out", with the output: for failure messages.
  std::string describe() const;
};

/// In the child: tells the parent that it may go on. Does nothing when there is no such parent.
void announce_ready();
/// In the child: sleeps until the parent says go_on(). False when the parent closed or is gone.
bool wait_for_go();

class child_process {
 public:
  /// Forks and runs `body` in the child, which exits with what it returns; an exception is
  /// printed and exits with 121. Only for parents that have no other threads.
  explicit child_process(const std::function<int()>& body, const child_options& options = {});
  /// Starts another program, from its path.
  explicit child_process(const std::vector<std::string>& arguments,
                         const child_options& options = {});
  child_process(child_process&& other) noexcept;
  ~child_process();  // kills and reaps what still runs

  int pid() const { return pid_; }
  /// Waits for announce_ready(). False: the child ended, or the time was up.
  bool ready();
  void go_on();
  void signal(int signo) const;
  void queue(int signo, int value) const;
  /// Waits until the child is stopped and returns the signal that did it; 0 when it ended
  /// instead or the time was up.
  int stopped_by();
  void kill() const;
  /// Output so far, up to the next newline; nothing when the child ended or the time was up.
  std::optional<std::string> read_line();
  /// Waits for the end. Call once.
  child_result finish();

 private:
  // A body that becomes another program does so on the thread that there is, wherever bodies run:
  // it is the program that may look at SIGRUN_TEST_BODY.
  void start(const std::function<int()>& body, const child_options& options,
             bool becomes_a_program = false);
  int left_ms() const;
  bool pump(int timeout_ms);

  int pid_ = -1;
  int pidfd_ = -1;
  int ready_fd_ = -1;
  int go_fd_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  std::size_t line_start_ = 0;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point deadline_;
  child_result result_;
};

/// Starts, waits for the end, returns the result.
child_result run_child(const std::function<int()>& body, const child_options& options = {});
child_result run_child(const std::vector<std::string>& arguments,
                       const child_options& options = {});

/// Full path of this executable, resp. of another in its folder.
std::string self_path();
std::string beside_self(const std::string& name);

}  // namespace sigrun::test
