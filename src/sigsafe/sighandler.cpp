// SPDX-License-Identifier: Apache-2.0
//
// What runs between sigtramp and the queue. All signals but faults are blocked here, so nothing
// nests. The order of questions:
//   is the kernel's frame sane?  am I in a forked child?  is it a control signal?  a true fault?
//   does anybody subscribe (queue it)?  is there an older handler to chain to?
//   is it SIGPIPE or SIGQUIT under the runtime's rules?  else: the disposition before ours.
#include "arch/machine_context.hpp"
#include "arch/sigtramp.hpp"
#include "base/expect.hpp"
#include "sigsafe/decode.hpp"
#include "sigsafe/die.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/thread_block.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

#include <cerrno>

namespace sigrun::sigsafe {
namespace {

constexpr signal_set real_time_signals{~std::uint64_t{0} << (signal_rt_min - 1)};
constexpr auto faults = signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS);

// The frame is the kernel's if both structures lie just above the stack pointer it entered with,
// the siginfo is of this signal, and the stack is the one that this thread should be on.
bool frame_is_sane(int signo, const siginfo_t* info, const ucontext_t* context,
                   const void* stack_pointer) noexcept {
  constexpr std::uint64_t frame_max = 64 * 1024;  // AMX and SVE states included
  const auto sp = reinterpret_cast<std::uint64_t>(stack_pointer);
  const auto i = reinterpret_cast<std::uint64_t>(info);
  const auto c = reinterpret_cast<std::uint64_t>(context);
  if (i - sp > frame_max || c - sp > frame_max) return false;
  if (!signal_set::valid(signo) || info->si_signo != signo) return false;
  const thread_block* self = current_thread();
  // Code of the user's may have given an M another one.
  if (self == nullptr || self->stack_low == nullptr || self->runs_goroutines) return true;
  return sp - reinterpret_cast<std::uint64_t>(self->stack_low) <= self->stack_size;
}

void edit_mask(thread_block* self, ucontext_t& context) noexcept {
  intake& in = the_intake();
  std::uint64_t& mask = arch::context_mask(context);
  const int tid = self != nullptr ? self->tid.load() : sys::gettid();
  for (mask_request& request : in.requests) {
    if (!claim_request(request, tid)) continue;
    const std::uint64_t open = request.open.load();
    std::uint64_t close = request.close.load() & ~(mask & ~held_here(self).bits());
    // All threads are asked to close but the one by which signals come in, which may have become it
    // since it was asked. It closes before it waits.
    if (tid == in.at_large_tid.load()) close &= ~in.wanted.load();
    mask &= ~open;
    if (self != nullptr) {
      self->lifted.fetch_or((open | request.lift.load()) & ~self->born_blocked);
      self->closed.store((self->closed.load() & ~open) | close);
      self->lent.store(self->lent.load() | (open & self->born_blocked));
      mask &= ~(signal_set{request.lift.load()} - kept_blocked(*self)).bits();
      if (self->as_before.load() == 0) mask |= close;
    } else {
      mask = (mask & ~request.lift.load()) | close;
    }
    vacate(request);
  }
}

// A control signal asks its thread to edit its mask, or to wake from rt_sigtimedwait. When it came
// too early or too late for the wait, it is kept for the wait or passed on.
void control_arrived(ucontext_t& context) noexcept {
  intake& in = the_intake();
  in.count.control.fetch_add(1, std::memory_order_relaxed);
  thread_block* self = current_thread();
  edit_mask(self, context);
  if (self != nullptr && self->waits.load()) {
    arch::context_mask(context) |= signal_set::of(control_signal).bits();
    self->control_held.store(true);
    send_control(self->tid);
    return;
  }
  if ((in.consumer.load() & 0xffffffffU) == news) {
    const int standby = in.standby_tid.load();
    if (standby != 0 && (self == nullptr || self->tid != standby)) send_control(standby);
  }
}

// The foreign handler may chain in its turn, and to us: chained_back() tells that from a new
// signal.
void call_original(int signo, siginfo_t* info, void* context) noexcept {
  const sys::kernel_sigaction& original = the_intake().original[signo];
  if (original.handler <= sys::handler_ignore) return;
  chain_call& call = current_chain_call();
  const chain_call outer = call;
  call = {info, __builtin_frame_address(0)};
  // The foreign handler may do anything that is allowed in a handler, errno included.
  if ((original.flags & SA_SIGINFO) != 0) {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(original.handler)(signo, info, context);
  } else {
    reinterpret_cast<void (*)(int)>(original.handler)(signo);
  }
  call = outer;
}

// The same siginfo from below the frame of our call. After a handler that left by siglongjmp the
// note is stale, but the kernel enters above that frame when it builds one at the same place.
bool chained_back(const siginfo_t* info, const void* stack_pointer) noexcept {
  const chain_call& call = current_chain_call();
  return call.info == info && stack_pointer < call.frame;
}

// In a child made by fork, vfork or clone the queue is the parent's, or a copy of it: the signal
// must be treated as if the runtime had never been.
void in_a_child(int signo, const siginfo_t& info) noexcept {
  const sys::kernel_sigaction& original = the_intake().original[signo];
  sys::rt_sigaction(signo, &original, nullptr);
  siginfo_t copy = info;
  if (sys::failed(sys::rt_tgsigqueueinfo(sys::getpid(), sys::gettid(), signo, &copy))) {
    sys::kill(sys::getpid(), signo);
  }
}

// The ring is full, or nearly: real-time signals stay in the kernel, which keeps every one of them
// with its value. `spilled` is the one that was taken and found no room.
void hold_back(int signo, ucontext_t& context, const signal_event* spilled) noexcept {
  intake& in = the_intake();
  std::uint64_t& mask = arch::context_mask(context);
  const signal_set wanted = signal_set{in.wanted.load()} & real_time_signals;
  const signal_set open = (wanted | signal_set::of(signo)) - signal_set{mask};
  const bool registered = hold_back_on(sys::gettid(), open, spilled);
  if (registered) {
    mask |= open.bits();
    in.count.held_back.fetch_add(1, std::memory_order_relaxed);
  }
  if (spilled == nullptr) return;
  in.count.by_handler.fetch_add(1, std::memory_order_relaxed);
  if (!registered) in.count.dropped.fetch_add(1, std::memory_order_relaxed);
}

void queue_signal(int signo, const siginfo_t& info, ucontext_t& context) noexcept {
  intake& in = the_intake();
  signal_event event;
  decode(info, event);
  const thread_block* self = current_thread();
  event.tid = self != nullptr ? self->tid.load() : 0;
  event.at.taken = sys::now_ns();
  event.at.queued = event.at.taken;
  const bool real_time = signo >= signal_rt_min;
  std::uint32_t used = 0;
  if ((real_time || !in.queue.merging(signo)) && enqueue(event, used)) {
    in.count.by_handler.fetch_add(1, std::memory_order_relaxed);
    // From three quarters on, so that other threads in handlers still find room.
    if (real_time && used >= in.queue.capacity() / 4 * 3) hold_back(signo, context, nullptr);
  } else if (real_time) {
    hold_back(signo, context, &event);
  } else {
    const bool merged = in.queue.merge(event);
    in.count.by_handler.fetch_add(1, std::memory_order_relaxed);
    if (merged) in.count.merged.fetch_add(1, std::memory_order_relaxed);
  }
  nudge();
}

// SIGPIPE: the interrupted context is that of the write that failed, whose first argument is the
// fd on amd64. arm64's result register is the argument's, so there every SIGPIPE is only EPIPE.
bool pipe_kills(const siginfo_t& info, const ucontext_t& context) noexcept {
  if (info.si_code != SI_USER || info.si_pid != the_intake().pid) return true;  // was sent
  const arch::interrupted at = arch::read_context(context);
  return at.result == -EPIPE && (at.first_argument == 1 || at.first_argument == 2);
}

// The kernel entered us through our own disposition, and a stop() on another thread has put back
// what was there before us since. The signal belongs to what is there now; whoever put a handler
// over ours, and calls us from it, has had it already.
bool put_back_since(const sys::kernel_sigaction& original, const sys::kernel_sigaction& now,
                    const void* context, const void* stack_pointer) noexcept {
#if defined(__x86_64__)
  // The kernel's frame begins with the restorer of the action it used, then has the ucontext. A
  // handler that calls us, by a jump even, leaves its own restorer there.
  static_cast<void>(original), static_cast<void>(now);
  const auto* frame = static_cast<const std::uint64_t*>(stack_pointer);
  return context == frame + 1 &&
         *frame == reinterpret_cast<std::uint64_t>(&sigrun_sigreturn__sigaction);
#else
  // All handlers return through the vDSO here, but one that stands over ours is not the default.
  static_cast<void>(context), static_cast<void>(stack_pointer);
  return original.handler == now.handler && now.handler <= sys::handler_ignore;
#endif
}

// What is installed now, if it is not ours, has called us: it must not be called back. On arm64 one
// that was put back since looks the same. Twice, where a handler stands both below and above ours,
// is better there than not at all.
bool original_is_owed(const sys::kernel_sigaction& original,
                      const sys::kernel_sigaction& now) noexcept {
#if defined(__x86_64__)
  return original.handler > sys::handler_ignore && original.handler != now.handler;
#else
  static_cast<void>(now);
  return original.handler > sys::handler_ignore;
#endif
}

// Writes a crash report, if the program wants one of this signal.
bool crashes(int signo, const siginfo_t& info, const void* context) noexcept {
  const intake& in = the_intake();
  const auto report = in.crash.load();
  return report != nullptr && signal_set{in.crash_signals.load()}.has(signo) &&
         report(signo, info, *static_cast<const ucontext_t*>(context));
}

void unsubscribed(int signo, siginfo_t* info, void* context, const void* stack_pointer) noexcept {
  intake& in = the_intake();
  const sys::kernel_sigaction& original = in.original[signo];
  sys::kernel_sigaction now;
  sys::rt_sigaction(signo, nullptr, &now);
  if (!is_ours(now) && put_back_since(original, now, context, stack_pointer)) {
    in.count.by_handler.fetch_add(1, std::memory_order_relaxed);
    in.count.unclaimed.fetch_add(1, std::memory_order_relaxed);
    hand_back(signo, *info);
    return;
  }
  if (original_is_owed(original, now)) {
    call_original(signo, info, context);
    return;
  }
  if (signo == SIGQUIT && in.quit_dumps.load()) {
    if (in.dump != nullptr) in.dump(*static_cast<ucontext_t*>(context));
    die_by(signo, info);
  }
  if (signo == SIGPIPE && in.pipe_by_fd.load()) {
    if (pipe_kills(*info, *static_cast<ucontext_t*>(context))) die_by(signo, info);
    return;
  }
  if (original.handler == sys::handler_ignore || signo == control_signal) return;
  if (crashes(signo, *info, context)) die_by(signo, info);
  // Installed for true faults only, and somebody sent it.
  if (keeps_fault(signo)) die_by(signo, info);
  if (is_ours(now)) {
    // A stop() is under way on another thread. The dispatcher hands the signal back when it is.
    queue_signal(signo, *info, *static_cast<ucontext_t*>(context));
    return;
  }
  // Somebody put a handler over ours, calls us, and we have no subscriber left: do what the kernel
  // would have done for the disposition we were asked to keep.
  switch (signal_default_action(signo)) {
    case default_action::terminate:
    case default_action::core:
      die_by(signo, info);
    case default_action::stop:
      sys::kill(sys::getpid(), SIGSTOP);
      return;
    case default_action::ignore:
    case default_action::resume:
      return;
  }
}

// The mask that the kernel would have set for the original handler: one that leaves by siglongjmp
// may keep it.
void set_mask_of(const sys::kernel_sigaction& original, int signo, ucontext_t& context) noexcept {
  signal_set mask = signal_set{arch::context_mask(context)} | original.mask;
  if ((original.flags & SA_NODEFER) == 0) mask |= signal_set::of(signo);
  sys::set_mask(mask);
}

// A true fault never goes to a channel. Whoever is guarded against it goes on elsewhere. Else:
// returning with the older disposition in place executes the instruction again, so that the process
// dies of it, at that place, with that siginfo. A stack that has ended is not recovered, nor handed
// to the original handler: nothing can go on from there.
void real_fault(int signo, siginfo_t* info, void* context) noexcept {
  const intake& in = the_intake();
  const sys::kernel_sigaction& original = in.original[signo];
  auto* const machine = static_cast<ucontext_t*>(context);
  const auto overflow = signo == SIGSEGV ? in.stack_overflow.load() : nullptr;
  const bool overflown = overflow != nullptr && overflow(*info, *machine);
  const auto recover = recoverable_faults.has(signo) ? in.recover.load() : nullptr;
  if (!overflown && recover != nullptr && recover(*info, *machine)) return;
  if (!overflown && original.handler > sys::handler_ignore) {
    set_mask_of(original, signo, *machine);
    call_original(signo, info, context);
    return;
  }
  crashes(signo, *info, context);
  const sys::kernel_sigaction by_default{};
  sys::rt_sigaction(signo, &by_default, nullptr);
  // SIGTRAP and seccomp's SIGSYS do not come again by themselves.
  if (signo == SIGTRAP || signo == SIGSYS) die_by(signo, info);
}

}  // namespace
}  // namespace sigrun::sigsafe

using namespace sigrun;           // NOLINT: one function, and C linkage keeps it outside
using namespace sigrun::sigsafe;  // NOLINT

extern "C" void sigrun_sighandler(int signo, void* raw_info, void* raw_context,
                                  const void* stack_pointer) noexcept {
  auto* info = static_cast<siginfo_t*>(raw_info);
  auto* context = static_cast<ucontext_t*>(raw_context);
  base::expect(frame_is_sane(signo, info, context, stack_pointer),
               "signal frame is corrupt or on the wrong stack; not resuming it");
  const int saved_errno = errno;
  intake& in = the_intake();
  if (const auto ending = in.ending.load(); ending != nullptr && ending(signo, *info))
      [[unlikely]] {
    errno = saved_errno;
    return;
  }
  if (chained_back(info, stack_pointer)) return;  // our own call is under way, and does the rest
  // A thread that runs our code alone never forks, so it need not ask: a system call saved.
  const thread_block* self = current_thread();
  // No pid: only the scheduler has a handler, and it holds in a child as well.
  const bool may_have_forked =
      in.pid != 0 && (self == nullptr || self->stack_low == nullptr || self->runs_goroutines);
  if (may_have_forked && sys::getpid() != in.pid) [[unlikely]] {
    // The counter is the child's copy, or after vfork the parent's, who wants to know.
    in.count.foreign_child.fetch_add(1, std::memory_order_relaxed);
    in_a_child(signo, *info);
    errno = saved_errno;
    return;
  }
  // A control signal may have been merged into a user's SIGURG, or have lost its siginfo because
  // RLIMIT_SIGPENDING is used up: whatever SIGURG comes does its work too.
  if (signo == control_signal) {
    control_arrived(*context);
    if (const auto wanted = in.stack_wanted.load()) wanted(*context);
    if (const auto preempt = in.preempt.load()) preempt(*info, *context);
  }
  if (is_control(*info)) {
    // That was all.
  } else if (info->si_code > SI_USER && faults.has(signo)) {
    real_fault(signo, info, context);
  } else if (signal_set{in.wanted.load()}.has(signo)) {
    if (signal_set{in.chain_before.load()}.has(signo)) call_original(signo, info, context);
    queue_signal(signo, *info, *context);
    if (signal_set{in.chain_after.load()}.has(signo)) call_original(signo, info, context);
  } else {
    unsubscribed(signo, info, context, stack_pointer);
  }
  errno = saved_errno;
}
