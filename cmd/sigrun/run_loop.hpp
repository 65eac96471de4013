// SPDX-License-Identifier: Apache-2.0
//
// The init itself: one thread, every signal blocked, one loop.
//
//   starting ── start_child ──▶ running ── main child ended ──▶ leaving ──▶ exit
//                                │    ▲                            ▲
//                  child stopped │    │ SIGCONT       --wait-all   │ no child left
//                    by the tty  ▼    │               running ─────┘
//                               suspended
//
// (1) Every signal but SIGKILL and SIGSTOP stays blocked from the first system call to the last, so
//     none is lost between two steps and no handler exists.
// (2) The main child is not reaped before the last signal to it or its group is sent: their ids
//     cannot have passed to somebody else.
// (3) A real-time signal that its target has no room for is kept in `waiting`, at most waiting_max
//     of them, and its number is left out of the wait: the rest stay queued, in order, in the
//     kernel, and later ones of that number never overtake it.
#pragma once

#include "run_child.hpp"
#include "run_journal.hpp"
#include "run_options.hpp"

namespace sigrun::cmd {

/// Runs options.program to its end and returns the runner's own exit code.
int run_program(const run_options& options) noexcept;

}  // namespace sigrun::cmd
