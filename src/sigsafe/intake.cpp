// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/intake.hpp"

#include "arch/sigtramp.hpp"
#include "sigsafe/thread_block.hpp"
#include "sys/futex.hpp"

namespace sigrun::sigsafe {

constinit intake the_only_intake;

bool keeps_fault(int signo) noexcept {
  const intake& in = the_intake();
  return (signo == SIGSEGV && in.stack_overflow.load() != nullptr) ||
         (recoverable_faults.has(signo) && in.recover.load() != nullptr);
}

long send_control(int tid) noexcept {
  siginfo_t info{};
  info.si_signo = control_signal;
  info.si_code = control_code;
  return sys::rt_tgsigqueueinfo(the_only_intake.pid, tid, control_signal, &info);
}

bool is_control(const siginfo_t& info) noexcept {
  if (info.si_signo != control_signal) return false;
  // Another sender can use this code only by taking pains, and gains a look at an empty queue. The
  // stand-by timer has SI_TIMER, the scheduler SI_QUEUE, which qemu-user lets through. What the
  // kernel had no room for arrives as if sent by nobody.
  return info.si_code == control_code ||
         ((info.si_code == SI_TIMER || info.si_code == SI_QUEUE) &&
          info.si_value.sival_ptr == &the_only_intake) ||
         (info.si_code == SI_USER && info.si_pid == 0 && info.si_uid == 0);
}

void nudge() noexcept {
  const std::uint64_t before = the_only_intake.consumer.exchange(consumer_word(news, 0));
  switch (static_cast<consumer_state>(before & 0xffffffffU)) {
    case awake:
    case news:
      return;
    case asleep_futex: {
      // When this is a handler on the sleeper itself, its futex_wait sees the changed word.
      const thread_block* self = current_thread();
      if (self != nullptr && self->tid == static_cast<int>(before >> 32)) return;
      sys::futex_wake(the_only_intake.consumer, 1);
      return;
    }
    case asleep_wait:
      send_control(static_cast<int>(before >> 32));
      return;
    case at_large:
      if (const auto find_idle = the_only_intake.find_idle.load()) find_idle();
      return;
  }
}

bool enqueue(const signal_event& event, std::uint32_t& used) noexcept {
  if (!the_only_intake.queue.push(event, used)) return false;
  std::uint64_t high = the_only_intake.count.queue_high_water.load(std::memory_order_relaxed);
  while (used > high && !the_only_intake.count.queue_high_water.compare_exchange_weak(high, used)) {
  }
  return true;
}

bool sigsend(const signal_event& event, bool merge) noexcept {
  std::uint32_t used = 0;
  if (!enqueue(event, used)) {
    if (!merge) return false;
    if (the_only_intake.queue.merge(event)) {
      the_only_intake.count.merged.fetch_add(1, std::memory_order_relaxed);
    }
  }
  nudge();
  return true;
}

namespace {

bool claim(mask_request& request, std::uint32_t from) noexcept {
  return request.phase.load(std::memory_order_relaxed) == from &&
         request.phase.compare_exchange_strong(from, mask_request::filling);
}

// Not ours after all.
void put_back(mask_request& request) noexcept {
  const int tid = request.tid.load();
  request.phase.store(mask_request::requested);
  send_control(tid);  // the one that was sent may have come meanwhile
}

mask_request* claim_slot() noexcept {
  for (mask_request& request : the_only_intake.requests) {
    if (claim(request, mask_request::vacant)) return &request;
  }
  // A thread that ended before its control signal came left its slot behind.
  for (mask_request& request : the_only_intake.requests) {
    if (!claim(request, mask_request::requested)) continue;
    if (sys::failed(sys::tgkill(the_only_intake.pid, request.tid.load(), 0))) return &request;
    put_back(request);
  }
  return nullptr;
}

}  // namespace

// Who is given the slot next has not yet written what it lifts when it has its thread's id.
void vacate(mask_request& request) noexcept {
  request.lift.store(0);
  request.phase.store(mask_request::vacant);
}

bool claim_request(mask_request& request, int tid) noexcept {
  if (request.tid.load() != tid || !claim(request, mask_request::requested)) return false;
  if (request.tid.load() == tid) return true;
  put_back(request);
  return false;
}

bool request_mask(int tid, signal_set open, signal_set close) noexcept {
  mask_request* request = claim_slot();
  if (request == nullptr) return false;
  request->tid.store(tid);
  request->open.store(open.bits());
  request->close.store(close.bits());
  request->lift.store(0);
  request->phase.store(mask_request::requested);
  send_control(tid);
  return true;
}

bool hold_back_on(int tid, signal_set signals, const signal_event* spilled) noexcept {
  mask_request* request = claim_slot();
  if (request == nullptr) return false;
  const std::uint64_t bits = signals.bits();
  request->tid.store(tid);
  request->open.store(0);
  request->close.store(0);
  request->lift.store(bits);
  the_only_intake.ever_held.fetch_or(bits);
  the_only_intake.held_back_count.fetch_add(1);
  if (spilled != nullptr) {
    request->event = *spilled;
    request->spilled.store(true);
    the_only_intake.spilled_count.fetch_add(1);
  }
  request->phase.store(mask_request::held_back);
  return true;
}

namespace {
std::int64_t taken_ns(unsigned index) noexcept {
  return the_only_intake.requests[index].event.at.taken;
}
}  // namespace

unsigned list_spilled(request_list& list) noexcept {
  unsigned n = 0;
  if (the_only_intake.spilled_count.load() == 0) return n;
  for (unsigned i = 0; i < mask_requests_max; ++i) {
    const mask_request& request = the_only_intake.requests[i];
    if (request.phase.load() != mask_request::held_back || !request.spilled.load()) continue;
    unsigned at = n++;
    for (; at != 0 && taken_ns(list[at - 1]) > taken_ns(i); --at) list[at] = list[at - 1];
    list[at] = static_cast<std::uint8_t>(i);
  }
  return n;
}

signal_event take_spilled(std::uint8_t index) noexcept {
  mask_request& request = the_only_intake.requests[index];
  const signal_event event = request.event;
  request.spilled.store(false);
  the_only_intake.spilled_count.fetch_sub(1);
  return event;
}

signal_set kept_blocked(const thread_block& self) noexcept {
  const signal_set closed{self.as_before.load() == 0 ? self.closed.load() : 0};
  const signal_set lent{self.as_before.load() == 0 ? self.lent.load() : 0};
  return closed | (signal_set{self.born_blocked} - lent);
}

void release_held_back(const thread_block& self) noexcept {
  if (the_only_intake.held_back_count.load() == 0) return;
  for (mask_request& request : the_only_intake.requests) {
    if (request.phase.load() != mask_request::held_back || request.spilled.load()) continue;
    // Nobody else moves it from there.
    request.phase.store(mask_request::filling);
    the_only_intake.held_back_count.fetch_sub(1);
    const int tid = request.tid.load();
    if (tid == self.tid) {
      sys::unblock(signal_set{request.lift.load()} - kept_blocked(self));
      vacate(request);
      continue;
    }
    request.phase.store(mask_request::requested);
    // The thread has ended, perhaps after it has seen to its request itself.
    if (sys::failed(send_control(tid)) && claim_request(request, tid)) {
      vacate(request);
    }
  }
}

namespace {
bool is_empty(const mask_request& request) noexcept {
  return (request.open.load() | request.close.load() | request.lift.load()) == 0;
}
}  // namespace

bool has_empty_request(int tid) noexcept {
  for (const mask_request& request : the_only_intake.requests) {
    if (request.tid.load() == tid && request.phase.load() != mask_request::vacant &&
        is_empty(request)) {
      return true;
    }
  }
  return false;
}

void withdraw_empty_requests(int tid) noexcept {
  for (mask_request& request : the_only_intake.requests) {
    if (!claim_request(request, tid)) continue;
    if (is_empty(request)) {
      vacate(request);
    } else {
      put_back(request);
    }
  }
}

bool has_request(int tid) noexcept {
  for (const mask_request& request : the_only_intake.requests) {
    if (request.phase.load() != mask_request::vacant && request.tid.load() == tid) return true;
  }
  return false;
}

signal_set held_here(const thread_block* self) noexcept {
  const int tid = self != nullptr ? self->tid.load() : sys::gettid();
  signal_set held{self != nullptr ? self->lifted.load() : 0};
  for (const mask_request& request : the_only_intake.requests) {
    if (request.phase.load() == mask_request::vacant || request.tid.load() != tid) continue;
    held |= signal_set{request.lift.load()};
  }
  return held;
}

void apply_mask_requests(thread_block& self) noexcept {
  for (mask_request& request : the_only_intake.requests) {
    if (!claim_request(request, self.tid)) continue;
    const signal_set open{request.open.load()};
    const signal_set blocked = sys::current_mask() - held_here(&self);
    const signal_set close = signal_set{request.close.load()} - blocked;
    self.closed.store((self.closed.load() & ~open.bits()) | close.bits());
    sys::unblock(open | (signal_set{request.lift.load()} - kept_blocked(self)));
    if (self.as_before.load() == 0) sys::block(close);
    vacate(request);
  }
}

sys::kernel_sigaction our_action() noexcept {
  sys::kernel_sigaction action;
  action.handler = reinterpret_cast<std::uintptr_t>(&sigrun_sigtramp);
  action.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
#if defined(__x86_64__)
  action.flags |= sys::flag_restorer;
  action.restorer = reinterpret_cast<std::uintptr_t>(&sigrun_sigreturn__sigaction);
#endif
  // No handler nests in a handler, faults excepted: those must always be able to report.
  action.mask = signal_set::all() -
                signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP);
  return action;
}

bool is_ours(const sys::kernel_sigaction& action) noexcept {
  return action.handler == reinterpret_cast<std::uintptr_t>(&sigrun_sigtramp);
}

}  // namespace sigrun::sigsafe
