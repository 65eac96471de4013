// SPDX-License-Identifier: Apache-2.0
//
// The page that the sender of signals and the program under test share. It is a memfd which the
// program under test inherits as fd 3. The sender starts that program, so that every library is
// measured by the same sender, and does all arithmetic on the samples itself.
//
// Protocol: receiver sets `ready`; sender sends `count` signals, and in latency mode waits for
// `received` to move before it sends the next one; then it sends end_signal until the receiver has
// exited. Words on one cache line are written by one side only. peers/go_notify/main.go repeats
// the offsets.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace bench {

inline constexpr int page_fd = 3;

/// Ends the receiver. The highest number, because the kernel hands out low ones first: whoever
/// reads signals in the kernel's order gets it after everything that was sent before.
inline constexpr int end_signal = 64;

inline constexpr std::size_t max_samples = 16384;

struct shared_page {
  alignas(64) std::atomic<std::int64_t> sent_at;   // stamp just before kill(), latency mode
  alignas(64) std::atomic<std::int64_t> received;  // signals that reached the program's own code
  alignas(64) std::atomic<std::int64_t> ready;
  // Flood mode, written by the receiver before it exits.
  alignas(64) std::int64_t last_at;  // stamp of the last signal received
  std::int64_t out_of_order;         // payloads that were not the next number
  std::int64_t payloads;             // signals whose payload the library handed over
  // What a receiver that keeps counters says about itself; -1 where it has none.
  std::int64_t taken;                             // signals taken from the kernel
  std::int64_t merged;                            // of them, merged into another event
  std::int64_t dropped;                           // of them, dropped
  alignas(64) std::int64_t samples[max_samples];  // nanoseconds from sent_at to the program's code
};

static_assert(offsetof(shared_page, received) == 64 && offsetof(shared_page, ready) == 128 &&
              offsetof(shared_page, last_at) == 192 && offsetof(shared_page, samples) == 256);

/// CLOCK_MONOTONIC in nanoseconds, the same clock in every process of the machine.
inline std::int64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_nsec;
}

}  // namespace bench
