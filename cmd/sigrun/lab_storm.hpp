// SPDX-License-Identifier: Apache-2.0
//
// `sigrun lab storm`: everything at once, with books. One run is one process, made for one set of
// options, in which actors on threads, on goroutines and in other processes do what programs do
// with signals, at random times that their seed decides. Each kind of traffic has signal numbers
// of its own, so that its book can be checked by itself.
//
// Stages of a run, moved by its main thread alone:
//   storming   actors make traffic
//   calming    nobody sends any more; those who are sent to still take
//   over       all actors have ended, or soon will; waits until nothing is under way
//   booking    the observers have ended; the books are closed and checked
//
// Invariants of the books:
//  (1) A signal is written into the ledger as sent after the kernel took it, so the ledger never
//      has one that was not sent. The run looks at the ledger only when it is over.
//  (2) Whoever sends stays within `window` of what the observer has seen, so queues in the kernel
//      and the observer's channel stay short, and whoever waits gives up when calming begins.
#pragma once

#include <sigrun/signal.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>

namespace sigrun::cmd::lab {

struct storm_options {
  std::uint64_t seed = 1;
  std::chrono::milliseconds time{2000};
  isolation isolate = isolation::strict;
  way_in way = way_in::wait;
  int procs = 8;
};

/// "strict, wait, 8 Ps".
std::string name_of(const storm_options& options);

// ------------------------------------------------------------------------------ who uses which

/// Signal numbers by what is done with them.
namespace traffic {
constexpr int rt(int n) noexcept { return signal_rt_min + n; }
inline constexpr auto queued = signal_set::of(rt(0), rt(1), rt(2));  // sent to the process
inline constexpr int aimed = rt(3);                                  // sent to one thread
inline constexpr int injected = rt(4);
inline constexpr int judged = rt(5);          // every policy has a channel for it
inline constexpr int flipped_thread = rt(6);  // subscribed and not, in turn
inline constexpr int flipped_go = rt(7);
inline constexpr int quiet = rt(8);  // subscribed, and sent by nobody
inline constexpr int paced_go = SIGUSR1;
inline constexpr int paced_thread = SIGWINCH;
inline constexpr int paced_urgent = SIGURG;  // the runtime's own control signal is one as well
inline constexpr int bursts = SIGUSR2;
/// What the observers subscribe to.
inline constexpr auto observed =
    queued | signal_set::of(aimed, injected, judged, paced_go, paced_thread, paced_urgent, bursts);
}  // namespace traffic

// ----------------------------------------------------------------------------------- the books

enum class book_id : unsigned {
  queued,
  aimed,
  injected,
  paced,
  bursts,
  flipped,
  drop_newest,
  drop_oldest,
  coalesce,
  deny,
  rate,
  second,
  visits,
  intake,
  children,
  preempted,
};
inline constexpr std::size_t books_max = 16;

/// One line of the result. What a column means for a line is in docs/lab.md.
struct book {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t by_kernel = 0;  // merged
  std::uint64_t merged = 0;
  std::uint64_t deferred = 0;
  std::uint64_t dropped = 0;
  std::uint64_t denied = 0;
  std::uint64_t limited = 0;
  std::uint64_t handed_back = 0;
};

const char* name_of(book_id id) noexcept;

enum class storm_stage : std::uint32_t { starting, storming, calming, over, booking };

inline constexpr unsigned actors_max = 64;

/// What was sent of one signal: how many, and a sum that a doubled one cannot make good for a lost
/// one in.
struct ledger_line {
  std::atomic<std::uint64_t> count;
  std::atomic<std::uint64_t> sum;
};

/// Who is where: for the report of a run that hangs.
struct actor_note {
  std::array<char, 24> name;
  std::atomic<std::uint64_t> rounds;
  std::atomic<bool> ended;
};

/// Memory that all processes of a run share with the driver.
struct storm_page {
  std::atomic<storm_stage> stage;
  ledger_line sent[signal_max + 1];
  std::atomic<std::int64_t> last_burst_ns;  // CLOCK_MONOTONIC just before the last of `bursts`
  std::atomic<std::int64_t> under_way;      // sent within the window, and not seen yet
  std::atomic<std::uint64_t> refused;       // EAGAIN: the kernel's queue was full
  std::atomic<unsigned> actors;
  actor_note notes[actors_max];
  std::atomic<std::uint64_t> wrong_mask;  // of the last child that found one
  book books[books_max];
  std::array<char, 4000> failures;  // lines; what does not fit is left out
};

/// The body of a run's process. Its exit code: 0, the books are in the page and balance; 1, they
/// are there, and `failures` says what is wrong.
int run_storm(const storm_options& options, storm_page& page);

// ------------------------------------------------------------------------------- small things

/// splitmix64.
class dice {
 public:
  explicit dice(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t roll() noexcept;
  /// From 0 to n-1.
  std::uint64_t below(std::uint64_t n) noexcept { return roll() % n; }

 private:
  std::uint64_t state_;
};

/// What is added to the sum of a ledger for a value.
std::uint64_t mix(std::uint64_t value) noexcept;

/// The actor number of the sender outside.
inline constexpr unsigned stranger_id = 1000;

/// The value of an actor's n-th signal, and its parts.
constexpr std::uint64_t value_of(unsigned actor, std::uint64_t n) noexcept {
  return (std::uint64_t{actor} << 40) | n;
}
constexpr unsigned actor_of(std::uint64_t value) noexcept {
  return static_cast<unsigned>(value >> 40);
}

}  // namespace sigrun::cmd::lab
