// SPDX-License-Identifier: Apache-2.0
//
// M, a thread that runs goroutines, and the protocol by which it holds its P.
//
// A goroutine's own code never owns the P for good: the M may be in a loop, in a library or asleep
// in the kernel, and the others must go on. Inside the runtime it does, for some instructions:
//
//        enter(): busy = 1, then look at lost                 sysmon: lost = 1, membarrier(2),
//   user code ───────────────────────────────▶ section               then look at busy
//        ◀─────────────────────────────────
//        leave(): busy = 0 (release)
//
//   (1) membarrier(PRIVATE_EXPEDITED) has every thread of the process pass a full barrier. So
//   either
//       the M sees lost == 1 when it enters, or sysmon sees busy == 1 and takes nothing: the M pays
//       two plain stores and a load. Where the kernel has no membarrier, enter() has a fence.
//   (2) sysmon does the whole of it under the scheduler's lock, and an M that sees `lost` takes
//   that
//       lock before it looks at its P: it finds it there, or gone.
//   (3) On g0, the M's own stack, it is always busy.
//   (4) What the M did with the P happens before what the next holder does: busy's release pairs
//       with sysmon's acquire, and sysmon gives the P on under the lock.
#pragma once

#include "fiber/fiber.hpp"
#include "sched/g.hpp"
#include "sched/preempt.hpp"
#include "sched/processor.hpp"
#include "sigsafe/thread_block.hpp"

#include <atomic>
#include <cstdint>

namespace sigrun::sched {

/// What is to be done with the G that has just left; by whoever runs next on the M.
enum class after : std::uint8_t {
  nothing,
  park,          // commit its parker, or make it ready when the wake has come already
  park_holding,  // give up the lock under which its waker finds it
  yield,         // to the end of the run queue
  requeue,       // to the global queue: it lost its P
  exit,          // publish its end and free it
};

struct machine {
  // The section; see above. One cache line with what a switch needs.
  alignas(64) std::atomic<std::uint32_t> busy{1};
  std::atomic<std::uint32_t> lost{0};
  processor* p = nullptr;
  g* current = nullptr;                   // nullptr on g0 without a G to run
  std::atomic<std::uint32_t> foreign{0};  // a foreign call is under way
  after todo = after::nothing;
  g* left = nullptr;  // the G that `todo` is about
  parker* parking = nullptr;
  g* joiner = nullptr;    // of `left`, to be queued when that has ended
  bool detour = false;    // every switch goes by g0: it is locked to a G, or a test drives it
  bool stepping = false;  // a test drives this M
  bool spinning = false;  // looks for work to steal; counted in scheduler::spinning
  fiber::thread_words words;
  fiber::fiber_state g0;

  std::atomic<bool> wanted{false};  // sysmon asks the running G to yield
  std::atomic<preempt_state> preempt{preempt_state::none};
  // sysmon's list of Ms without a P; see without_p.cpp.
  bool asked_later = false;
  machine* next_without_p = nullptr;
  std::int64_t ask_ns = 0;
  std::int64_t ask_delay = 0;

  // How many foreign calls there have been, so that sysmon can tell two apart.
  std::atomic<std::uint32_t> foreign_calls{0};
  std::uint32_t seen_foreign = 0;  // sysmon's

  // Idle.
  enum wake_word : std::uint32_t { asleep, given, look };
  std::atomic<std::uint32_t> wake{asleep};  // futex: `given` a P, or to `look` at the signals
  bool resting = false;          // under the scheduler's lock: asleep without a P, or about to be
  machine* next_idle = nullptr;  // under the scheduler's lock
  processor* next_p = nullptr;   // under the scheduler's lock: for next_g, by start_locked
  g* locked = nullptr;           // this M runs that G alone
  g* next_g = nullptr;           // to run next, whatever the queues say

  relaxed<int> tid{0};
  sigsafe::thread_block gsignal;  // what handlers know of this thread
  g_list* gathers = nullptr;      // what it makes ready on g0 goes in there
  machine* next = nullptr;        // all Ms, never freed; under the scheduler's lock
};

inline machine* current_machine() noexcept {
  return static_cast<machine*>(sigsafe::current_machine());
}
/// The G that runs on m, outside of foreign calls; nullptr for none.
inline g* g_on(const machine* m) noexcept {
  return m == nullptr || m->foreign.load(std::memory_order_relaxed) != 0 ? nullptr : m->current;
}

/// What module fault keeps for the code that runs here: the goroutine's, in a foreign call too, or
/// the thread's.
inline sigsafe::fault_slot& current_fault_slot() noexcept {
  machine* const m = current_machine();
  return m != nullptr && m->current != nullptr ? m->current->faults
                                               : sigsafe::current_thread_faults();
}

}  // namespace sigrun::sched
