// SPDX-License-Identifier: Apache-2.0
//
// What main.cpp, compiled once, asks of kinds.cpp, which is compiled in eight ways.
#pragma once

#include <sigrun/fault.hpp>

#include <csignal>
#include <cstddef>

namespace catching {

enum class outcome : char {
  thrown = 'T',     // caught; the destructors of all frames in between were run
  skips = 't',      // caught; those of the frame that faulted were not, those of its callers were
  returned = 'R',   // caught; no destructor was run
  own = 'H',        // by a handler in the function that faulted
  goes_on = '-',    // the processor raised no fault
  dies = 'D',       // of the fault
  aborts = 'A',     // in std::terminate
  unexpected = '?'  // anything else
};

inline constexpr int any_code = -1000;

struct kind {
  const char* name;
  void (*run)();
  int signal;
  int code;  // any_code: not looked at
};

/// Runs one under guarded(), resp. with set_panic_on_fault; on a goroutine. `what` is the fault.
using way = outcome (*)(const kind& one, sigrun::fault& what);
outcome by_guard(const kind& one, sigrun::fault& what);
outcome by_panic(const kind& one, sigrun::fault& what);

/// Of the lock that one kind holds, after the goroutine: it was given up, or it is poisoned.
bool lock_is_right(outcome got);

extern const kind kinds[];
extern const std::size_t kinds_size;

}  // namespace catching
