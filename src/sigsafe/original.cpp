// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/original.hpp"

#include "sigsafe/intake.hpp"
#include "sigsafe/thread_block.hpp"

namespace sigrun::sigsafe {

signal_set original_thread_mask(signal_set current) noexcept {
  thread_block* const self = current_thread();
  if (self != nullptr) self->lifted.fetch_and(current.bits());
  // Back-pressure is of this moment, and no child's.
  current -= held_here(self);
  if (self != nullptr && self->as_before.load() != 0) return current;
  if (self != nullptr) {
    return (current - signal_set{self->closed.load()}) | signal_set{self->lent.load()};
  }
  // A thread we never met may have been made by one that we had closed, or where something was held
  // back, and inherited its mask.
  const intake& in = the_intake();
  return current - (signal_set{in.ever_closed.load() | in.ever_held.load()} - in.start_mask);
}

sys::kernel_sigaction original_action(int signo) noexcept {
  sys::kernel_sigaction now;
  sys::rt_sigaction(signo, nullptr, &now);
  const intake& in = the_intake();
  return is_ours(now) && signal_set{in.installed.load()}.has(signo) ? in.original[signo] : now;
}

void restore_dispositions() noexcept {
  const intake& in = the_intake();
  signal_set{in.installed.load()}.for_each([&in](int signo) {
    sys::kernel_sigaction now;
    sys::rt_sigaction(signo, nullptr, &now);
    if (is_ours(now)) sys::rt_sigaction(signo, &in.original[signo], nullptr);
  });
}

void forget_runtime() noexcept {
  intake& in = the_intake();
  in.running.store(false);
  in.wanted.store(0);
  in.installed.store(0);
  in.chain_before.store(0);
  in.chain_after.store(0);
  in.consumer.store(consumer_word(awake, 0));
  in.at_large_tid.store(0);
  in.ever_closed.store(0);
  in.ever_held.store(0);
  in.held_back_count.store(0);
  in.spilled_count.store(0);
  for (mask_request& request : in.requests) vacate(request);
  set_current_thread(nullptr);
}

}  // namespace sigrun::sigsafe
