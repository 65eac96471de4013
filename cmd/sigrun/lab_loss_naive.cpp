// SPDX-License-Identifier: Apache-2.0
//
// The five naive programs. Each is what textbooks and services are full of, and each loses signals
// whenever they come at the wrong moment; here they do. docs/lab.md walks through them.
#include "lab_loss.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

namespace sigrun::cmd::lab {
namespace {

constinit std::atomic<bool> flag{false};
constinit std::atomic<std::uint64_t> bits{0};
constinit std::atomic<int> pipe_end{-1};

void set_flag(int /*signo*/) { flag.store(true); }

void set_bit(int signo) { bits.fetch_or(std::uint64_t{1} << (signo - 1)); }

void write_record(int /*signo*/, siginfo_t* info, void* /*context*/) {
  // A handler must not block, so the pipe does not either; there is nobody to tell of a failure.
  [[maybe_unused]] const ssize_t written = ::write(pipe_end.load(), info, sizeof *info);
}

void handle(int signo, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(signo, &action, nullptr);
}

sigset_t set_of(int signo) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  return set;
}

}  // namespace

// The flag is looked at between two calls. It has room for one.
void naive_foreign_call(loss_program& in) {
  handle(in.signo(), set_flag);
  in.ready();
  in.foreign_read();  // the handler runs five times in here
  if (flag.exchange(false)) in.knows_of(1);
}

// Look, then sleep: a signal between the two is not seen by the one and does not end the other.
void naive_system_call(loss_program& in) {
  handle(in.signo(), set_flag);
  for (int round = 0; round < in.at().rounds; ++round) {
    if (flag.exchange(false)) continue;  // what the last sleep slept through
    in.ready();
    in.foreign_read();  // the window: here the signal comes
    const timespec sleep{0, 20'000'000};
    if (::ppoll(nullptr, 0, &sleep, nullptr) != 0) in.knows_of(1);  // woken by it
    flag.store(false);
  }
}

// Blocked during a critical section: what comes meanwhile pends, and a pending signal is one bit.
void naive_mask_window(loss_program& in) {
  static constinit std::atomic<std::uint64_t> count{0};
  handle(in.signo(), [](int) { count.fetch_add(1); });
  const sigset_t set = set_of(in.signo());
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  in.nobody_takes();
  in.ready();
  in.foreign_read();  // the critical section
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  in.knows_of(count.load());
}

// The self-pipe: the handler writes a record, the loop reads it. A pipe holds what it holds.
void naive_full_pipe(loss_program& in) {
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return;
  ::fcntl(ends[1], F_SETPIPE_SZ, 4096);
  pipe_end.store(ends[1]);
  struct sigaction action {};
  action.sa_sigaction = write_record;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(in.signo(), &action, nullptr);
  in.ready();
  in.foreign_read();  // the loop is busy with something else
  siginfo_t record;
  while (::read(ends[0], &record, sizeof record) == ssize_t{sizeof record}) in.knows_of(1);
}

// One bit for each signal number, as in many runtimes: neither how often nor with which value.
void naive_mask_bit(loss_program& in) {
  handle(in.signo(), set_bit);
  in.ready();
  in.foreign_read();  // the loop is busy with something else
  if ((bits.exchange(0) & (std::uint64_t{1} << (in.signo() - 1))) != 0) in.knows_of(1);
}

}  // namespace sigrun::cmd::lab
