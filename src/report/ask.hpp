// SPDX-License-Identifier: Apache-2.0
//
// The stack of another thread, walked by that thread: it is sent a SIGURG of ours, and its handler
// writes the frames of what it interrupted into a buffer that stands ready.
//
//          ask_thread()           its handler            its handler
//   idle ───────────────▶ asked ─────────────▶ walking ─────────────▶ done
//    ▲ ◀──── time-out ──────┘                     │                    │
//    │ ◀───────────────────── ask_thread() ───────│────────────────────┘
//    └── at the next ask_thread(), once done ◀── lost (time-out)
//
//   (1) One asker at a time: the holder of the dump turn (dump.hpp).
//   (2) Who asked takes the buffer back in `asked` by one exchange, so a handler that comes late
//       finds nothing to do. One that is walking when the time is up keeps the buffer until it is
//       done; until then nobody else can be asked.
//   (3) A thread that blocks SIGURG, or whose SIGURG has somebody else's handler, does not answer.
#pragma once

#include "symbol/unwind.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::report {

inline constexpr std::size_t frames_max = 96;

struct stack_trace {
  symbol::frame frames[frames_max];
  std::size_t count = 0;
  bool more = false;           // it is longer
  const void* on_g = nullptr;  // the goroutine on it; nullptr: none
};

/// Has our handler for SIGURG in place. Ordinary code or a handler; keeps what was there.
SIGRUN_SIGNAL_SAFE void prepare_asking() noexcept;

/// False: no answer by `deadline_ns` (CLOCK_MONOTONIC), or no such thread.
SIGRUN_SIGNAL_SAFE bool ask_thread(int tid, std::int64_t deadline_ns, stack_trace& out) noexcept;

/// The stack of who calls, resp. of what a handler has interrupted.
SIGRUN_SIGNAL_SAFE void trace_from(const symbol::registers& start, stack_trace& out) noexcept;

}  // namespace sigrun::report
