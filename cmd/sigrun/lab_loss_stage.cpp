// SPDX-License-Identifier: Apache-2.0
#include "lab_loss.hpp"

#include "sys/signal.hpp"

#include <unistd.h>

#include <cerrno>

namespace sigrun::cmd::lab {
namespace {

constexpr loss_row rows[] = {
    {{"foreign-call", "while the thread is in a foreign call", 1, 5, false},
     {{"naive: a flag", naive_foreign_call, "the flag has room for one"},
      {"locked thread, sigwait", locked_foreign_call, "another thread takes them meanwhile"},
      {"runtime sleep, channel", channel_foreign_call, "the runtime takes them meanwhile"},
      {"open in the call", open_foreign_call, "aimed at the thread: its handler takes notes"}}},
    {{"system-call", "between a look and a raw system call", 5, 1, false},
     {{"naive: look, then sleep", naive_system_call, "the sleep does not end"},
      {"locked thread, sigwait", locked_system_call, "it pends until it is waited for"},
      {"runtime sleep, channel", channel_system_call, "it is in the channel before the sleep"},
      {"open in the call", open_system_call,
       "aimed at the thread: ppoll opens and sleeps at once"}}},
    {{"mask-window", "while the thread blocks it", 1, 5, false},
     {{"naive: one thread", naive_mask_window, "the kernel keeps one of each"},
      {"locked thread, sigwait", locked_mask_window, "the other thread waits for it all the time"},
      {"runtime sleep, channel", channel_mask_window, "the runtime waits for it all the time"},
      {"open in the call", open_mask_window, "aimed at the thread: open in what lasts"}}},
    {{"full-pipe", "while nobody reads the pipe", 1, 40, true},
     {{"naive: a self-pipe", naive_full_pipe, "4096 bytes hold 32 records"},
      {"locked thread, sigwait", locked_slow_reader, "a channel of 64"},
      {"runtime sleep, channel", channel_slow_reader, "a channel of 32 that merges and counts"},
      {"open in the call", open_foreign_call, "aimed at the thread: the same channel"}}},
    {{"mask-bit", "while nobody looks at the mask", 1, 5, true},
     {{"naive: a bit for each", naive_mask_bit, "neither number nor values"},
      {"locked thread, sigwait", locked_slow_reader, "each with its value"},
      {"runtime sleep, channel", channel_slow_reader, "each with its value"},
      {"open in the call", open_foreign_call, "aimed at the thread: each with its value"}}},
};

}  // namespace

std::span<const loss_row> loss_rows() noexcept { return rows; }

int loss_program::signo() const noexcept { return at_.real_time ? SIGRTMIN : SIGUSR1; }

void loss_program::aim_here() noexcept { page_.tid.store(sys::gettid()); }

void loss_program::foreign_read() noexcept {
  char byte = 0;
  while (::read(gate_, &byte, 1) < 0 && errno == EINTR) {
  }
}

void loss_program::knows_of(std::uint64_t received, std::uint64_t merged) noexcept {
  page_.received.fetch_add(received);
  page_.merged.fetch_add(merged);
}

}  // namespace sigrun::cmd::lab
