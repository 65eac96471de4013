// SPDX-License-Identifier: Apache-2.0
//
// In the handler: who catches this fault, and how. See guard.hpp.
#include "arch/guard.hpp"
#include "arch/machine_context.hpp"
#include "fault/guard.hpp"
#include "fault/may_throw.hpp"
#include "sched/machine.hpp"
#include "symbol/unwind.hpp"
#include "sys/signal.hpp"

namespace sigrun::fault_detail {
namespace {

// Of a walk that looks for the guard. The stack that is kept is shorter.
constexpr int frames_max = 512;
// An access that faults this close below the stack pointer is one to a stack that has ended.
constexpr std::uint64_t overflow_reach = 64 * 1024;

struct walked {
  bool at_guard = false;    // came to the guard's frame
  bool in_handler = false;  // a handler's frame lies in between
  bool can_throw = true;    // (4), as far as the walk came
  std::uint64_t pc = 0;     // where an exception has to seem to come from
  std::uint64_t sp = 0;
};

bool within(std::uint64_t address, std::uint64_t low, std::uint64_t size) noexcept {
  return address - low < size;
}

bool on_signal_stack(std::uint64_t address, const ucontext_t& context) noexcept {
  const stack_t& its = context.uc_stack;
  return (its.ss_flags & SS_DISABLE) == 0 &&
         within(address, reinterpret_cast<std::uint64_t>(its.ss_sp), its.ss_size);
}

// What a walk need not ask the kernel about: a goroutine's stack; else the page of the guard's
// frame, where its caller waits for it.
symbol::memory known_memory(const guard_frame* guard) noexcept {
  if (const sched::g* const gp = sched::g_on(sched::current_machine())) {
    const auto low = reinterpret_cast<std::uint64_t>(gp->stack.low);
    return {low, low + gp->stack.size()};
  }
  if (guard == nullptr) return {};
  const std::uint64_t page = guard->stack_pointer & ~(symbol::page_size - 1);
  return {page, page + symbol::page_size};
}

// Fills in the stack, and looks at each frame up to the guard; without one, up to the first that
// may catch.
walked walk(const symbol::registers& from, const guard_frame* guard, fault& what) noexcept {
  walked out;
  symbol::registers at = from;
  symbol::memory memory = known_memory(guard);
  out.pc = at.pc;
  out.sp = at.sp();
  bool decided = false;
  for (int i = 0; i < frames_max; ++i) {
    if (what.stack_size < fault::stack_max) {
      what.stack_frames[what.stack_size++] = at.pc;
    } else {
      what.stack_cut = true;
      if (decided) return out;
    }
    if (guard != nullptr && at.sp() == guard->stack_pointer &&
        at.pc == reinterpret_cast<std::uint64_t>(&arch::sigrun_guarded_return[0])) {
      out.at_guard = true;
      decided = true;
    }
    const symbol::registers inner = at;
    symbol::seen_frame frame;
    const bool stepped = symbol::step(at, memory, frame);
    if (!decided) {
      if (frame.of_signal) out.in_handler = true;
      if (frame.has_tables) {
        const landing here = landing_at(frame, inner.exact ? inner.pc : inner.pc - 1);
        if (here == landing::never) out.can_throw = false;
        decided = guard == nullptr && here == landing::handler;
      } else if (i == 0 && stepped) {
        // A call through a wild pointer: to unwinders its caller raised the fault.
        out.pc = at.pc - 1;
        out.sp = at.sp();
      } else {
        out.can_throw = false;
      }
    }
    if (!stepped) break;
  }
  if (!decided) out.can_throw = false;
  return out;
}

void note_registers(const symbol::registers& at, const ucontext_t& context, fault& what) noexcept {
  for (unsigned i = 0; i < symbol::register_count && i < fault_register_count; ++i) {
    what.registers[i] = at.r[i];
  }
#if defined(__x86_64__)
  what.registers[16] = at.pc;
  what.registers[17] = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_EFL]);
#else
  what.registers[32] = at.pc;
  what.registers[33] = context.uc_mcontext.pstate;
#endif
}

// Field by field: what is assigned as a whole would be cleared by a call of memset, which is slow
// for so little on some machines, and instrumented on others.
void note(const siginfo_t& info, const symbol::registers& at, const ucontext_t& context,
          fault& what) noexcept {
  what.signal = info.si_signo;
  what.code = info.si_code;
  // A general protection fault tells no address (si_code is SI_KERNEL then).
  what.has_address = info.si_signo != SIGFPE && info.si_code != SI_KERNEL;
  what.thrown_there = false;
  what.stack_cut = false;
  what.stack_size = 0;
  what.locks_size = 0;
  what.address = what.has_address ? reinterpret_cast<std::uintptr_t>(info.si_addr) : 0;
  what.pc = at.pc;
  const sched::machine* const m = sched::current_machine();
  const int tid = m != nullptr ? int{m->tid} : sigsafe::current_thread_faults().tid;
  what.tid = tid != 0 ? tid : sys::gettid();
  what.goroutine = m != nullptr && m->current != nullptr ? std::uint64_t{m->current->id} : 0;
  note_registers(at, context, what);
}

void count(std::atomic<std::uint64_t>& of) noexcept { of.fetch_add(1, std::memory_order_relaxed); }

// (3): an address on the stack itself. Probes and pushes go below the stack pointer, and what a
// large frame is first used for lies above it, on the way to the guard.
bool has_run_over(const siginfo_t& info, std::uint64_t sp, const guard_frame* guard) noexcept {
  if (info.si_signo == SIGFPE || info.si_code == SI_KERNEL) return false;
  const auto address = reinterpret_cast<std::uint64_t>(info.si_addr);
  if (within(address, sp - overflow_reach, overflow_reach)) return true;
  if (guard == nullptr) return false;
  // Not the guard's own address: with ASan locals may lie elsewhere.
  const std::uint64_t top = guard->stack_pointer;
  constexpr std::uint64_t stack_size_max = std::uint64_t{1} << 30;
  return sp < top && top - sp < stack_size_max && within(address, sp, top - sp);
}

bool has_room(std::uint64_t sp) noexcept {
  const sched::g* const gp = sched::g_on(sched::current_machine());
  if (gp == nullptr) return true;  // a thread's stack: nobody knows
  const auto low = reinterpret_cast<std::uint64_t>(gp->stack.low);
  return within(sp, low, gp->stack.size()) && sp - low >= arch::throw_frame + throw_need;
}

bool in_runtime(const sigsafe::fault_slot& slot) noexcept {
  const sched::machine* const m = sched::current_machine();
  if (m != nullptr && m->busy.load(std::memory_order_relaxed) != 0) return true;
  return slot.in_runtime != 0;
}

void throw_there(ucontext_t& context, const walked& way, const fault& what) noexcept {
  static_assert(sizeof(fault) <= arch::throw_record_room);
  arch::settle_after_fault(context);
  auto* const record = static_cast<fault*>(arch::inject_throw(context, way.pc, way.sp));
  *record = what;
  record->thrown_there = true;
}

constinit counters counted{};

}  // namespace

counters& the_counters() noexcept { return counted; }

bool recover(const siginfo_t& info, ucontext_t& context) noexcept {
  arch::allow_unaligned();
  sigsafe::fault_slot& slot = sched::current_fault_slot();
  auto* const guard = static_cast<guard_frame*>(slot.guard);
  if (guard == nullptr && !slot.panics) return false;
  counters& counts = the_counters();
  const symbol::registers at = symbol::interrupted_registers(context);
  if (on_signal_stack(at.sp(), context)) {
    count(counts.in_handler);
    return false;
  }
  if (in_runtime(slot)) {
    count(counts.in_runtime);
    return false;
  }
  if (has_run_over(info, at.sp(), guard)) {
    count(counts.overflows);
    return false;
  }
  fault on_our_stack;  // NOLINT: filled in by note()
  fault& what = guard != nullptr ? guard->what : on_our_stack;
  note(info, at, context, what);
  const walked way = walk(at, guard, what);
  if (way.in_handler) {
    count(counts.in_handler);
    return false;
  }
  const auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  const bool may_throw = way.can_throw && has_room(way.sp) && on_signal_stack(here, context);
  if (may_throw && (guard == nullptr || guard->way == fault_way::throws)) {
    throw_there(context, way, what);
    return true;
  }
  if (guard == nullptr) {
    count(counts.cannot_throw);
    return false;
  }
  arch::settle_after_fault(context);
  arch::resume_guard(context, guard->stack_pointer);
  return true;
}

}  // namespace sigrun::fault_detail
