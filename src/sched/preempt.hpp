// SPDX-License-Identifier: Apache-2.0
//
// Asynchronous preemption: sysmon asks an M, by a SIGURG of its own, to stop the G that it runs;
// the handler on that M decides, and says so in machine::preempt.
//
//                 sysmon: ask()                handler: answer
//   none ─────────────────────────▶ asked ─────────────────────▶ injected   the G will leave
//    ▲  ▲                           │ ▲ └──────────────────────▶ outside    not in a marked
//    function │  └─── g0: it left by itself ─┘ └──── sysmon, once more ──────┘ └────── g0
//    ──────────────────── injected, outside, no_room, in_runtime
//
//   (1) A G is stopped only where it says that it may be: the interrupted pc lies in the section of
//       SIGRUN_PREEMPTIBLE. Code that the compiler placed there knows nothing of the runtime's
//       locks, so none is held; a marked function that the runtime calls back within a section of
//       its own (machine.hpp) is found by `busy`, one inside a foreign call by `foreign`.
//   (2) The handler runs on the M it decides about, between two instructions of it: what it reads
//       there (busy, foreign, current) cannot change under it. It decides by these, not by the
//       siginfo: the kernel merges a SIGURG into one that is pending.
//   (3) The interrupted stack must be the G's, with room for the injected frame and what the
//       scheduler calls from it, and not the one that the handler stands on (an M without a signal
//       stack).
//   (4) Within the injected frame pc is outside of the section and busy set, so a second request
//       finds nothing to inject into: frames do not pile up.
//   (5) The answer is awaited for `patience`. While it is `outside`, sysmon asks again, for the G
//       may be in a short call; then it takes the P as from any other code.
//   (6) Each request is counted once more, by what became of it:
//       asked == injected + outside + no_room + in_runtime + yielded + unanswered, at rest.
//   (7) In a child made by fork the M is a copy, and the thread another: nothing is injected.
//   (8) An M that sleeps in the kernel is not signalled, or its system call might end with EINTR:
//       its P is taken. A G whose P was taken while it computed is asked again after 10 ms, 20 ms,
//       and so on up to a second, for it may be in marked code then, and has to wait for a P there.
//
// The handler's part is preempt_check.cpp, compiled like the signal-safe zone.
#pragma once

#include "base/signal_safe.hpp"

#include <ucontext.h>
#include <csignal>
#include <cstddef>
#include <cstdint>

namespace sigrun::sched {

struct machine;

/// What became of a request; the last two are for counting alone.
enum class preempt_state : std::uint8_t {
  none,
  asked,
  injected,
  outside,
  no_room,
  in_runtime,
  yielded,     // came to a scheduling point before the signal
  unanswered,  // the signal had not been handled when the next was sent
};
inline constexpr std::size_t preempt_states = 8;

/// What the scheduler needs below the injected frame to leave and to land: parts of libc included,
/// when it makes a thread there.
inline constexpr std::size_t preempt_need = 8 * 1024;

/// Called by start(): installs the handler for SIGURG, if the program has marked functions at all
/// and this machine and build can preempt them.
void prepare_preemption() noexcept;
/// Whether it can.
bool preempts_anywhere() noexcept;
/// Whether the section has this address.
SIGRUN_SIGNAL_SAFE bool in_preemptible_code(std::uintptr_t pc) noexcept;
bool has_preemptible_code() noexcept;

/// sysmon asks, once.
void ask(machine& m) noexcept;
/// Whether the thread is asleep in a system call. Some microseconds. False where /proc is missing.
bool sleeps_in_kernel(const machine& m) noexcept;
/// (8): sysmon has taken the P of a G in user code; and, at each look, what has become of such.
void ask_later(machine& m, std::int64_t now) noexcept;
void ask_again(std::int64_t now) noexcept;
/// On g0: whatever was asked is served now.
void preempt_served(machine& m) noexcept;

/// Set as intake::preempt; see there.
SIGRUN_HANDLER_ONLY void consider_preemption(siginfo_t& info, ucontext_t& context) noexcept;

}  // namespace sigrun::sched
