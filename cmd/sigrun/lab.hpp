// SPDX-License-Identifier: Apache-2.0
//
// The laboratory's experiments, and the child processes that they run their programs in.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>

namespace sigrun::cmd::lab {

/// argv[0] is "loss" resp. "storm". Exit codes as in their help.
int loss_main(int argc, char** argv);
int storm_main(int argc, char** argv);
/// What a storm has executed: PID SIGNO FIRST COUNT. Looks whether it has an original mask and
/// original dispositions, then sends. Not for users.
int burst_main(int argc, char** argv);

/// A forked child that runs one program of the laboratory: in a process group of its own, with
/// nothing blocked, every disposition at its default and no core files. It cannot outlive us: the
/// kernel kills it when the thread that made it ends, and the destructor kills it and its group.
class experiment {
 public:
  /// Forks; the child exits with what `program` returns, or with 125 and a line on stderr when it
  /// throws. Only for a process without other threads. Throws std::system_error.
  explicit experiment(const std::function<int()>& program);
  ~experiment();
  experiment(const experiment&) = delete;
  experiment& operator=(const experiment&) = delete;

  pid_t pid() const noexcept { return pid_; }
  /// Its wait status once it has ended; nothing when it has not within `time`.
  std::optional<int> wait(std::chrono::milliseconds time);
  /// Ends the whole group by SIGKILL and reaps the child.
  void kill() noexcept;

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

}  // namespace sigrun::cmd::lab
