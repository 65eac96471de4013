// SPDX-License-Identifier: Apache-2.0
//
// In the handler: may the G that this signal interrupted be stopped here? See preempt.hpp.
#include "arch/machine_context.hpp"
#include "arch/preempt.hpp"
#include "sched/preempt.hpp"
#include "sched/scheduler.hpp"
#include "sys/signal.hpp"

// The linker names the ends of every section whose name is an identifier. Weak: a program without
// a marked function has no such section.
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] extern const char __start_sigrun_preemptible[];
[[gnu::weak, gnu::visibility("hidden")]] extern const char __stop_sigrun_preemptible[];
}

namespace sigrun::sched {
namespace {

SIGRUN_HANDLER_ONLY preempt_state judge(const machine& m, const arch::interrupted& at,
                                        siginfo_t& info, ucontext_t& context) noexcept {
  if (!in_preemptible_code(at.pc)) return preempt_state::outside;
  const g* const gp = m.current;
  if (m.busy.load(std::memory_order_relaxed) != 0 || gp == nullptr ||
      m.foreign.load(std::memory_order_relaxed) != 0 ||
      gp->deferrals.load(std::memory_order_relaxed) != 0) {
    return preempt_state::in_runtime;
  }
  const auto low = reinterpret_cast<std::uintptr_t>(gp->stack.low);
  const std::uintptr_t size = gp->stack.size();
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (at.sp - low > size || here - low <= size) return preempt_state::no_room;
  const std::size_t room = at.sp - low;
  if (room < arch::preemption_frame() + preempt_need) return preempt_state::no_room;
  return arch::inject_preemption(info, context, room - preempt_need) ? preempt_state::injected
                                                                     : preempt_state::no_room;
}

}  // namespace

bool in_preemptible_code(std::uintptr_t pc) noexcept {
  return pc >= reinterpret_cast<std::uintptr_t>(__start_sigrun_preemptible) &&
         pc < reinterpret_cast<std::uintptr_t>(__stop_sigrun_preemptible);
}

bool has_preemptible_code() noexcept {
  return &__start_sigrun_preemptible[0] != &__stop_sigrun_preemptible[0];
}

void consider_preemption(siginfo_t& info, ucontext_t& context) noexcept {
  machine* const m = current_machine();
  if (m == nullptr || m->preempt.load(std::memory_order_relaxed) != preempt_state::asked) return;
  if (m->tid != sys::gettid()) return;  // (7)
  const preempt_state answer = judge(*m, arch::read_context(context), info, context);
  scheduler& s = the_scheduler();
  s.preempt_counts[static_cast<std::size_t>(answer)].fetch_add(1, std::memory_order_relaxed);
  m->preempt.store(answer, std::memory_order_relaxed);
}

}  // namespace sigrun::sched
