// SPDX-License-Identifier: Apache-2.0
//
// P, the right to run goroutines: a run queue, timers and caches. As many as max_procs.
//
//            acquire                      release, retake
//   idle ───────────────▶ held by an M ───────────────────▶ idle
//     └──────── max_procs(fewer) ──────▶ retired ──── max_procs(more) ───▶ idle
//
// All edges are moved under the scheduler's lock. What a P holds is touched only by the M that has
// it, inside a section (machine.hpp), save the atomics and the timers, which have their own lock.
#pragma once

#include "sched/free_gs.hpp"
#include "sched/g.hpp"
#include "sched/run_queue.hpp"
#include "sys/clock.hpp"
#include "sys/lock.hpp"
#include "timer/queue.hpp"

#include <atomic>
#include <cstdint>

namespace sigrun::sched {

struct processor {
  int id = 0;
  machine* m = nullptr;                // under the scheduler's lock; who holds it
  processor* next_idle = nullptr;      // under the scheduler's lock
  bool retired = true;                 // under the scheduler's lock; also before its first use
  std::atomic<std::uint32_t> tick{0};  // Gs started here; sysmon reads it
  // Somebody wants a look around: the next scheduling point goes by g0. (sysmon, max_procs)
  std::atomic<bool> attention{false};

  run_queue queue;

  free_gs free;
  std::uint64_t next_id = 0;
  std::uint64_t last_id = 0;
  std::uint32_t random = 0;
  std::uint32_t quiet_wakes = 0;  // wakes for a lone G that were spared; see wake_for

  alignas(64) sys::quick_lock timers_lock;
  timer::queue timers;                               // under timers_lock
  std::atomic<std::int64_t> next_timer{sys::never};  // under timers_lock; read by anybody

  // Counters; written by the holder, read by anybody.
  std::atomic<std::uint64_t> steals{0};
  std::atomic<std::uint64_t> spawned{0};
  std::atomic<std::uint64_t> ended{0};
  std::atomic<std::uint64_t> timers_fired{0};

  // sysmon's notes.
  std::uint32_t seen_tick = 0;
  std::int64_t seen_ns = 0;
  std::uint32_t asked_tick = 0;  // the G that was asked to stop, and since when
  std::int64_t asked_ns = 0;
};

/// Only the holder writes these, so no locked instruction is needed.
inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace sigrun::sched
