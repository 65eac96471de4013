// SPDX-License-Identifier: Apache-2.0
//
// `sigrun lab loss`: five situations in which signals get lost, each with a naive program that
// loses them and three repairs of it. A program runs in a child; the sender is the parent. They
// take turns, so that what is lost is lost by construction and not by chance:
//
//   program                                   sender
//   ready(): "now"                            waits for it
//   is where the situation wants it           sends a burst; waits after each signal until the
//                                             kernel has handed it out, unless the program said
//                                             that nobody can take it
//   foreign_read() returns, or is read        opens the gate
//   counts what it knows of                   waits for the program's end
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace sigrun::cmd::lab {

/// What is sent, and where the program is meanwhile.
struct situation {
  const char* name;
  const char* what;
  int rounds;      // the program gets there so many times
  int burst;       // signals each time
  bool real_time;  // SIGRTMIN with the values 1, 2, …, else SIGUSR1
};

/// The page that program and sender share.
struct loss_page {
  std::atomic<int> rounds_ready;
  std::atomic<int> tid;  // send to this thread; 0: to the process
  std::atomic<bool> nobody_takes;
  std::atomic<std::uint64_t> received;
  std::atomic<std::uint64_t> merged;
};

/// The program's side of the stage.
class loss_program {
 public:
  loss_program(const situation& at, loss_page& page, int gate) noexcept
      : at_(at), page_(page), gate_(gate) {}

  const situation& at() const noexcept { return at_; }
  int signo() const noexcept;
  /// One signal of this kind is the whole truth: how many were sent in all.
  int sent_in_all() const noexcept { return at_.rounds * at_.burst; }

  /// Lets the sender begin a round.
  void ready() noexcept { page_.rounds_ready.fetch_add(1); }
  /// From now on the signals go to the calling thread alone.
  void aim_here() noexcept;
  /// The next round's signals can be taken by nobody until the gate opens.
  void nobody_takes() noexcept { page_.nobody_takes.store(true); }
  /// A foreign library's blocking call: it waits for its own descriptor and, as such libraries do,
  /// goes on waiting when a signal interrupts it. The gate opens when the burst has been sent.
  void foreign_read() noexcept;

  /// The program knows of so many signals; `merged` of them in an event that stands for several.
  void knows_of(std::uint64_t received, std::uint64_t merged = 0) noexcept;

 private:
  const situation& at_;
  loss_page& page_;
  int gate_;
};

struct loss_design {
  const char* name;
  void (*program)(loss_program& in);
  const char* why;  // of the result, in a few words
};

/// One situation with its four programs, the naive one first.
struct loss_row {
  situation at;
  loss_design designs[4];
};
std::span<const loss_row> loss_rows() noexcept;

void naive_foreign_call(loss_program& in);
void naive_system_call(loss_program& in);
void naive_mask_window(loss_program& in);
void naive_full_pipe(loss_program& in);
void naive_mask_bit(loss_program& in);

// Repair 1: a goroutine locked to a thread of its own takes the signals by sigwait(3).
void locked_foreign_call(loss_program& in);
void locked_system_call(loss_program& in);
void locked_mask_window(loss_program& in);
void locked_slow_reader(loss_program& in);

// Repair 2: the runtime takes the signals, and the program sleeps in the runtime, on a channel.
void channel_foreign_call(loss_program& in);
void channel_system_call(loss_program& in);
void channel_mask_window(loss_program& in);
void channel_slow_reader(loss_program& in);

// Repair 3: for signals that are meant for the one thread: they are open there during the call.
void open_foreign_call(loss_program& in);
void open_system_call(loss_program& in);
void open_mask_window(loss_program& in);

}  // namespace sigrun::cmd::lab
