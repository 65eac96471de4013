// SPDX-License-Identifier: Apache-2.0
#include "sched/overflow.hpp"

#include "base/text.hpp"
#include "sched/machine.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/signal_stack.hpp"
#include "stack/stack.hpp"
#include "sys/file.hpp"

#include <string_view>

namespace sigrun::sched {
namespace {

SIGRUN_HANDLER_ONLY bool report(const siginfo_t& info, const ucontext_t&) noexcept {
  const machine* const m = current_machine();
  const g* const gp = m != nullptr ? m->current : nullptr;
  if (gp == nullptr) return false;
  const stack::location at = stack::find(info.si_addr);
  // (1): another stack's guard is a wild pointer's doing.
  if (at.where != stack::place::guard || at.span.id != gp->stack.id) return false;
  base::text_buffer<256> text;
  text.add("sigrun: goroutine ").add_unsigned(gp->id, 10);
  char name[name_room];
  if (!gp->name.empty()) text.add(" [").add(gp->name.get(name)).add("]");
  text.add(": stack overflow (stack ")
      .add_hex(reinterpret_cast<std::uint64_t>(at.span.low))
      .add("..")
      .add_hex(reinterpret_cast<std::uint64_t>(at.span.top))
      .add(", ")
      .add_unsigned(at.span.size(), 10)
      .add(" bytes)\n");
  sys::write(2, text.view());
  return true;
}

}  // namespace

void report_overflows() noexcept {
  sigsafe::intake& in = sigsafe::the_intake();
  if (in.stack_overflow.load() != nullptr) return;
  sys::kernel_sigaction now;
  sys::rt_sigaction(SIGSEGV, nullptr, &now);
  in.stack_overflow.store(&report);
  if (sigsafe::is_ours(now)) return;  // somebody subscribes to it
  in.original[SIGSEGV] = now;
  in.installed.fetch_or(signal_set::of(SIGSEGV).bits());
  const sys::kernel_sigaction ours = sigsafe::our_action();
  sys::rt_sigaction(SIGSEGV, &ours, nullptr);
}

void make_gsignal(machine& m) noexcept { sigsafe::make_signal_stack(m.gsignal); }

}  // namespace sigrun::sched
