// SPDX-License-Identifier: Apache-2.0
//
// A goroutine that runs off its stack touches the guard page and faults. What is said of it:
//
//   sigrun: goroutine 7 [parser]: stack overflow (stack 0x7f…1000..0x7f…0000, 65536 bytes)
//
// and the process dies of that SIGSEGV, at that instruction. The fault is taken on the M's own
// signal stack (gsignal), for the goroutine's is used up.
//
//   (1) SIGSEGV is the only signal that the scheduler traps, from its start on. Whatever is not a
//       fault in the guard of the goroutine that runs on this very thread goes to the disposition
//       before, as if there were no scheduler: a null dereference, a fault inside a foreign call or
//       on a plain thread, a SIGSEGV that was sent.
//   (2) In the handler nothing is locked, allocated or instrumented: overflow.cpp and
//   stack/find.cpp
//       are compiled like the signal-safe zone.
#pragma once

namespace sigrun::sched {

struct machine;

/// Installs the report, once; keeps the disposition that was there. Called by start().
void report_overflows() noexcept;

/// Gives the calling thread, which becomes an M, its signal stack. Without memory for it an
/// overflow still kills by SIGSEGV, unsaid.
void make_gsignal(machine& m) noexcept;

}  // namespace sigrun::sched
