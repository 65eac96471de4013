// SPDX-License-Identifier: Apache-2.0
//
// What one run is asked to do, whichever command line said so.
#pragma once

#include <sigrun/signal_set.hpp>

#include <cstdint>

namespace sigrun::cmd {

/// Whose messages, defaults and small habits.
enum class run_style : std::uint8_t { native, tini, dumb_init };

enum class tty_choice : std::uint8_t { automatic, always, never };

struct run_options {
  run_options() noexcept {
    for (int i = 0; i <= signal_max; ++i) rewrite[i] = static_cast<std::uint8_t>(i);
    for (int i = 0; i < 256; ++i) exit_code[i] = static_cast<std::uint8_t>(i);
  }

  char** program = nullptr;  // null-terminated
  const char* journal = nullptr;
  std::int64_t grace_ns = -1;  // from the first signal that asks to end, to SIGKILL; -1: never
  int parent_death_signal = 0;
  int verbosity = 0;
  run_style style = run_style::native;
  tty_choice tty = tty_choice::automatic;
  bool signal_group = false;
  bool own_session = false;
  bool subreaper = true;
  bool die_by_signal = false;
  bool wait_all = false;
  bool warn_on_reap = false;
  bool exit_code_given[256] = {};  // --map-exit named it
  std::uint8_t exit_code[256];
  std::uint8_t rewrite[signal_max + 1];  // 0: dropped
};

}  // namespace sigrun::cmd
