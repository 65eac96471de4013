// SPDX-License-Identifier: Apache-2.0
//
// The terminal's foreground group: given to the program's group while the runner's own is there.
#pragma once

#include "run_options.hpp"

namespace sigrun::cmd {

class run_tty {
 public:
  run_tty() noexcept = default;
  run_tty(const run_tty&) = delete;
  run_tty& operator=(const run_tty&) = delete;

  /// Whether the program is to begin in the foreground.
  bool wanted(const run_options& options) noexcept;
  /// start_child() gives it to the program, if there is one.
  void given() noexcept;
  /// Makes `group` the foreground group if ours is it. False when it is not, or there is no
  /// terminal.
  bool give(int group) noexcept;
  bool has_given() const noexcept { return given_; }
  /// At the end: a shell without job control would not do it, and its next command would stop.
  void take_back(int group) noexcept;

 private:
  int fd_ = 0;
  bool given_ = false;
};

/// True when nobody could resume this process if it stopped: its parent is in another session, as
/// far as one parent tells (POSIX calls such a group orphaned).
bool is_orphaned(int self) noexcept;

}  // namespace sigrun::cmd
