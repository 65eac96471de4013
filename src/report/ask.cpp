// SPDX-License-Identifier: Apache-2.0
#include "report/ask.hpp"

#include "base/pause.hpp"
#include "sched/snapshot.hpp"
#include "sigsafe/control.hpp"
#include "sigsafe/intake.hpp"
#include "sys/clock.hpp"
#include "sys/futex.hpp"

#include <atomic>

namespace sigrun::report {
namespace {

enum phases : std::uint32_t { idle, asked, walking, done, lost };

struct question {
  std::atomic<std::uint32_t> phase{idle};
  std::atomic<int> tid{0};
  stack_trace answer;
};
constinit question the_question{};

// In the handler of the thread that was asked.
SIGRUN_HANDLER_ONLY void answer(const ucontext_t& context) noexcept {
  question& q = the_question;
  if (q.phase.load(std::memory_order_acquire) != asked || q.tid.load() != sys::gettid()) return;
  std::uint32_t seen = asked;
  if (!q.phase.compare_exchange_strong(seen, walking)) return;
  trace_from(symbol::interrupted_registers(context), q.answer);
  q.answer.on_g = sched::g_of_this_thread();
  seen = walking;
  if (q.phase.compare_exchange_strong(seen, done)) {
    sys::futex_wake(q.phase, 1);
  } else {
    q.phase.store(idle);  // nobody waits any more
  }
}

// Waits while the phase is `in`; false: the time is up.
bool wait_while(phases in, std::int64_t deadline_ns) noexcept {
  const sys::timespec64 deadline = sys::to_timespec(deadline_ns);
  while (the_question.phase.load() == in) {
    if (sys::now_ns() >= deadline_ns) return false;
    sys::futex_wait(the_question.phase, in, &deadline);
  }
  return true;
}

}  // namespace

void prepare_asking() noexcept {
  sigsafe::intake& in = sigsafe::the_intake();
  in.stack_wanted.store(&answer);
  sys::kernel_sigaction now;
  sys::rt_sigaction(sigsafe::control_signal, nullptr, &now);
  if (sigsafe::is_ours(now)) return;
  const auto bit = signal_set::of(sigsafe::control_signal).bits();
  if ((in.installed.fetch_or(bit) & bit) == 0) in.original[sigsafe::control_signal] = now;
  const sys::kernel_sigaction ours = sigsafe::our_action();
  sys::rt_sigaction(sigsafe::control_signal, &ours, nullptr);
}

bool ask_thread(int tid, std::int64_t deadline_ns, stack_trace& out) noexcept {
  question& q = the_question;
  if (q.phase.load(std::memory_order_acquire) != idle) return false;  // (2)
  q.tid.store(tid);
  q.phase.store(asked);
  siginfo_t info{};
  info.si_signo = sigsafe::control_signal;
  info.si_code = SI_QUEUE;
  info.si_value.sival_ptr = &sigsafe::the_intake();
  const long sent = sys::rt_tgsigqueueinfo(sys::getpid(), tid, sigsafe::control_signal, &info);
  if (sys::failed(sent) || !wait_while(asked, deadline_ns)) {
    std::uint32_t seen = asked;
    if (q.phase.compare_exchange_strong(seen, idle)) return false;
  }
  if (!wait_while(walking, deadline_ns + 20'000'000)) {
    std::uint32_t seen = walking;
    if (q.phase.compare_exchange_strong(seen, lost)) return false;
  }
  out.count = q.answer.count;
  out.more = q.answer.more;
  out.on_g = q.answer.on_g;
  for (std::size_t i = 0; i < out.count; ++i) out.frames[i] = q.answer.frames[i];
  q.phase.store(idle);
  return true;
}

void trace_from(const symbol::registers& start, stack_trace& out) noexcept {
  out.count = symbol::walk(start, symbol::memory{}, out.frames, frames_max, out.more);
}

}  // namespace sigrun::report
