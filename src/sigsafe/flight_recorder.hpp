// SPDX-License-Identifier: Apache-2.0
//
// The last signals that were dispatched, with the stamps of their hops: what a crash report, a dump
// and a dashboard look at afterwards. A ring in static storage, always on.
//
//   slot    empty ──▶ being written (sequence 0) ──▶ record of sequence s ──▶ being written ──▶ …
//
//   (1) One writer at a time: record() is called with the signal duty, in the order of the
//       sequence numbers, and sequence s has the slot s mod flight_slots.
//   (2) A reader takes a copy and then looks whether the slot still has the sequence it had.
//   (3) Who receives an event writes one word of the slot, which says for which event: its low 24
//       bits of the sequence, and the nanoseconds since the dispatch in the other 40. A word that
//       comes late says that it is about another record, and is not shown.
#pragma once

#include "base/signal_safe.hpp"

#include <sigrun/signal_event.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sigrun::sigsafe {

inline constexpr std::size_t flight_slots = 256;

struct flight_record {
  std::uint64_t sequence = 0;
  std::int32_t signo = 0;
  std::int32_t code = 0;
  signal_cause cause = signal_cause::kernel;
  signal_origin origin = signal_origin::kernel;
  std::uint32_t count = 1;
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::int32_t tid = 0;
  std::uint32_t subscribers = 0;  // entries it was offered to; 0: nobody wanted it any more
  signal_stamps at;               // `received`: of the first who did, 0 if nobody has yet
};

class flight_recorder {
 public:
  /// With the duty, after at.dispatched is set.
  void record(const signal_event& event, std::uint32_t subscribers) noexcept;
  /// Somebody received the event. Any thread.
  void received(std::uint64_t sequence, std::int64_t dispatched_ns,
                std::int64_t received_ns) noexcept;

  /// The newest sequence that was recorded; 0: none.
  SIGRUN_SIGNAL_SAFE std::uint64_t newest() const noexcept { return newest_.load(); }
  /// The record of `sequence`; false when it is no longer, or not yet, there.
  SIGRUN_SIGNAL_SAFE bool read(std::uint64_t sequence, flight_record& out) const noexcept;

 private:
  static constexpr std::size_t words = 7;
  struct slot {
    std::atomic<std::uint64_t> sequence;
    std::atomic<std::uint64_t> word[words];
    std::atomic<std::uint64_t> received;
  };

  std::atomic<std::uint64_t> newest_{0};
  slot slots_[flight_slots]{};
};

SIGRUN_SIGNAL_SAFE flight_recorder& the_flight_recorder() noexcept;

}  // namespace sigrun::sigsafe
