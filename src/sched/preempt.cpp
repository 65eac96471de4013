// SPDX-License-Identifier: Apache-2.0
#include "sched/preempt.hpp"

#include "arch/context.hpp"
#include "arch/preempt.hpp"
#include "fiber/sanitizer.hpp"
#include "fiber/valgrind.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sigsafe/control.hpp"
#include "sigsafe/intake.hpp"
#include "sys/signal.hpp"

namespace sigrun::sched {
namespace {

// TSan's run time is told of switches by calls, which may not come between any two instructions of
// the code that it instruments.
constexpr bool build_allows = SIGRUN_TSAN == 0;

// Valgrind gives signals at the ends of its own blocks only, and its XSAVE knows a part.
bool possible() noexcept {
  return build_allows && arch::preemption_frame() != 0 && !fiber::on_valgrind();
}

void count_answer(preempt_state what) noexcept {
  the_scheduler().preempt_counts[static_cast<std::size_t>(what)].fetch_add(
      1, std::memory_order_relaxed);
}

}  // namespace

void prepare_preemption() noexcept {
  scheduler& s = the_scheduler();
  if (!has_preemptible_code() || s.preempts.load() || !possible()) return;
  sigsafe::intake& in = sigsafe::the_intake();
  in.preempt.store(&consider_preemption);
  sys::kernel_sigaction now;
  sys::rt_sigaction(sigsafe::control_signal, nullptr, &now);
  if (!sigsafe::is_ours(now)) {
    in.original[sigsafe::control_signal] = now;
    in.installed.fetch_or(signal_set::of(sigsafe::control_signal).bits());
    const sys::kernel_sigaction ours = sigsafe::our_action();
    sys::rt_sigaction(sigsafe::control_signal, &ours, nullptr);
  }
  s.preempts.store(true);
}

bool preempts_anywhere() noexcept {
  return the_scheduler().preempts.load(std::memory_order_relaxed);
}

void ask(machine& m) noexcept {
  count_answer(preempt_state::asked);
  if (m.preempt.exchange(preempt_state::asked) == preempt_state::asked) {
    count_answer(preempt_state::unanswered);
  }
  siginfo_t info{};
  info.si_signo = sigsafe::control_signal;
  info.si_code = SI_QUEUE;
  info.si_value.sival_ptr = &sigsafe::the_intake();
  // It cannot fail but for want of room in the kernel, and then the signal comes without siginfo.
  sys::rt_tgsigqueueinfo(sys::getpid(), m.tid, sigsafe::control_signal, &info);
}

void preempt_served(machine& m) noexcept {
  if (m.preempt.load(std::memory_order_relaxed) == preempt_state::none) return;
  if (m.preempt.exchange(preempt_state::none) == preempt_state::asked) {
    count_answer(preempt_state::yielded);
  }
}

bool preemptible_at(const void* code) noexcept {
  return possible() && in_preemptible_code(reinterpret_cast<std::uintptr_t>(code));
}

}  // namespace sigrun::sched

using namespace sigrun::sched;  // NOLINT: one function, and C linkage keeps it outside

// On the G's stack, between two of its instructions. Not a preemption point as others are: nothing
// of the user's may run here. The global queue is for who had his turn, as in Go: what a timer
// makes ready next goes before him.
extern "C" void sigrun_preempted() noexcept {
  machine* m = current_machine();
  const int error = *m->words.error_number;  // landing may make a thread, for which libc sets it
  // What the interrupted code has made of rounding, traps and flush-to-zero is in the injected
  // frame. Others are to find the thread's own: nobody would put those back.
  const sigrun::arch::control_words& own = m->g0.control;
  if (sigrun::arch::read_control_words() != own) sigrun::arch::load_control_words(own);
  const bool has_p = m->lost.load(std::memory_order_relaxed) == 0;
  m = enter(m);  // without a P that is the stop already
  if (has_p) m = leave(m, after::requeue, nullptr);
  *m->words.error_number = error;
  leave_section(m);
}
