// SPDX-License-Identifier: Apache-2.0
#include "symbol/unwind.hpp"

namespace sigrun::symbol {
namespace {

#if defined(__x86_64__)
// By DWARF number; the order of gregs is another (sys/ucontext.h).
constexpr int greg_of[16] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                             REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                             REG_R12, REG_R13, REG_R14, REG_R15};
#endif

// arm64 may sign return addresses in their unused top bits.
std::uint64_t strip_signature(std::uint64_t address) noexcept {
#if defined(__aarch64__)
  return address & ((std::uint64_t{1} << 48) - 1);
#else
  return address;
#endif
}

bool starts_with(std::uint64_t pc, const unsigned char* bytes, std::size_t size,
                 memory& from) noexcept {
  if (!from.covers(pc, size)) return false;
  for (std::size_t i = 0; i < size; ++i) {
    if (reinterpret_cast<const unsigned char*>(pc)[i] != bytes[i]) return false;
  }
  return true;
}

// The return address of a handler is a few instructions that call rt_sigreturn; above them lies
// what the kernel saved (linux arch/x86/include/asm/sigframe.h, arch/arm64/kernel/signal.c).
bool leave_signal_frame(registers& at, memory& from) noexcept {
#if defined(__x86_64__)
  static constexpr unsigned char code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
  const std::uint64_t context = at.sp();
#else
  static constexpr unsigned char code[] = {0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4};
  const std::uint64_t context = at.sp() + sizeof(siginfo_t);
#endif
  if (at.exact || !starts_with(at.pc, code, sizeof code, from)) return false;
  if (!from.covers(context, offsetof(ucontext_t, uc_sigmask))) return false;
  if (!from.covers(context + sizeof(ucontext_t) - 1, 1)) return false;
  at = interrupted_registers(*reinterpret_cast<const ucontext_t*>(context));
  return true;
}

bool cfa_of(const frame_rules& rules, const registers& at, memory& from,
            std::uint64_t& cfa) noexcept {
  if (rules.cfa_expression != 0) {
    return evaluate(rules.cfa_expression, rules.tables_end, at.r, from, false, 0, cfa);
  }
  if (rules.cfa_register >= register_count) return false;
  cfa = at.r[rules.cfa_register] + static_cast<std::uint64_t>(rules.cfa_offset);
  return true;
}

bool value_of(const register_rule& how, const frame_rules& rules, const registers& at,
              std::uint64_t cfa, memory& from, std::uint64_t& out) noexcept {
  const auto value = static_cast<std::uint64_t>(how.value);
  switch (how.how) {
    case rule::same:
    case rule::undefined:
      return true;
    case rule::offset:
      return from.load(cfa + value, out);
    case rule::value_offset:
      out = cfa + value;
      return true;
    case rule::in_register:
      if (value >= register_count) return false;
      out = at.r[value];
      return true;
    case rule::expression: {
      std::uint64_t address = 0;
      return evaluate(value, rules.tables_end, at.r, from, true, cfa, address) &&
             from.load(address, out);
    }
    case rule::value_expression:
      return evaluate(value, rules.tables_end, at.r, from, true, cfa, out);
  }
  return false;
}

bool apply(const frame_rules& rules, registers& at, memory& from) noexcept {
  std::uint64_t cfa = 0;
  if (!cfa_of(rules, at, from, cfa)) return false;
  registers caller = at;
  caller.r[sp_register] = cfa;
  for (unsigned i = 0; i < register_count; ++i) {
    if (i == sp_register && rules.registers[i].how == rule::same) continue;
    if (!value_of(rules.registers[i], rules, at, cfa, from, caller.r[i])) return false;
  }
  const unsigned column = rules.return_register;
  // A pseudo column (arm64's injected frames have 96) is not among the general registers.
  if (column >= register_count || rules.registers[column].how == rule::undefined) return false;
  caller.pc = strip_signature(caller.r[column]);
  caller.exact = rules.signal_frame;
  if (caller.pc == 0) return false;
  if (caller.pc == at.pc && caller.sp() == at.sp()) return false;
  at = caller;
  return true;
}

// Nothing is known about the code at pc: a call through a wild pointer has just left its return
// address where the ABI says, and nothing else has happened since.
bool leave_wild_call(registers& at, memory& from) noexcept {
  if (!at.exact) return false;
  registers caller = at;
#if defined(__x86_64__)
  if (!from.load(at.sp(), caller.pc)) return false;
  caller.r[sp_register] += 8;
#else
  (void)from;
  caller.pc = strip_signature(at.r[30]);
#endif
  module_view image;
  caller.exact = false;
  if (caller.pc == 0 || caller.pc == at.pc || !find_module(caller.pc - 1, image)) return false;
  at = caller;
  return true;
}

// Code without tables that keeps a frame pointer: the saved one and the return address lie there.
bool leave_by_frame_pointer(registers& at, memory& from) noexcept {
  const std::uint64_t fp = at.r[fp_register];
  if (at.exact || (fp & 7) != 0 || fp < at.sp() || fp - at.sp() > 1U << 20) return false;
  registers caller = at;
  if (!from.load(fp, caller.r[fp_register]) || !from.load(fp + 8, caller.pc)) return false;
  module_view image;
  caller.pc = strip_signature(caller.pc);
  caller.r[sp_register] = fp + 16;
  if (caller.pc == 0 || !find_module(caller.pc - 1, image)) return false;
  at = caller;
  return true;
}

}  // namespace

registers interrupted_registers(const ucontext_t& context) noexcept {
  registers out;
#if defined(__x86_64__)
  for (unsigned i = 0; i < 16; ++i) {
    out.r[i] = static_cast<std::uint64_t>(context.uc_mcontext.gregs[greg_of[i]]);
  }
  out.pc = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_RIP]);
#else
  for (unsigned i = 0; i < 31; ++i) out.r[i] = context.uc_mcontext.regs[i];
  out.r[sp_register] = context.uc_mcontext.sp;
  out.pc = context.uc_mcontext.pc;
#endif
  return out;
}

registers parked_stack_registers(const arch::context& parked) noexcept {
  registers out;
  const auto& f = *static_cast<const arch::switch_frame*>(parked.stack_pointer);
#if defined(__x86_64__)
  out.r[3] = f.rbx;
  out.r[6] = f.rbp;
  out.r[12] = f.r12;
  out.r[13] = f.r13;
  out.r[14] = f.r14;
  out.r[15] = f.r15;
#else
  const std::uint64_t saved[11] = {f.x19, f.x20, f.x21, f.x22, f.x23, f.x24,
                                   f.x25, f.x26, f.x27, f.x28, f.x29};
  for (unsigned i = 0; i < 11; ++i) out.r[19 + i] = saved[i];
  out.r[30] = f.pc;
#endif
  out.pc = f.pc;
  out.r[sp_register] = reinterpret_cast<std::uint64_t>(&f + 1);
  return out;
}

registers registers_here() noexcept {
  registers out;
  out.exact = false;
#if defined(__x86_64__)
  // Callee-saved registers may have been saved by this very function: its own frame is walked.
  asm volatile(
      "movq %%rbx, 0x18(%1)\n\tmovq %%rbp, 0x30(%1)\n\tmovq %%rsp, 0x38(%1)\n\t"
      "movq %%r12, 0x60(%1)\n\tmovq %%r13, 0x68(%1)\n\tmovq %%r14, 0x70(%1)\n\t"
      "movq %%r15, 0x78(%1)\n\tleaq 0(%%rip), %0"
      : "=&r"(out.pc)
      : "r"(out.r)
      : "memory");
#else
  std::uint64_t sp;
  asm volatile(
      "stp x19, x20, [%2, #152]\n\tstp x21, x22, [%2, #168]\n\tstp x23, x24, [%2, #184]\n\t"
      "stp x25, x26, [%2, #200]\n\tstp x27, x28, [%2, #216]\n\tstp x29, x30, [%2, #232]\n\t"
      "mov %1, sp\n\tadr %0, ."
      : "=&r"(out.pc), "=&r"(sp)
      : "r"(out.r)
      : "memory");
  out.r[sp_register] = sp;
#endif
  out.exact = true;
  memory from;
  registers caller = out;
  if (step(caller, from)) return caller;
  return out;
}

bool step(registers& at, memory& from, seen_frame& seen) noexcept {
  seen = {};
  const std::uint64_t pc = at.exact ? at.pc : at.pc - 1;
  module_view image;
  frame_rules rules;
  const bool known = find_module(pc, image);
  const bool ruled = known && find_rules(image, pc, rules);
  // A way back from a handler has no rules (the vDSO's, a program's own), or such as are marked
  // (the C library's, ours). Of other code its bytes are not asked for.
  if ((!ruled || rules.signal_frame) && leave_signal_frame(at, from)) {
    seen.of_signal = true;
    return true;
  }
  if (!known) return leave_wild_call(at, from);
  if (!ruled) return leave_by_frame_pointer(at, from);
  seen = {rules.signal_frame, true, rules.function, rules.lsda, image.tables_begin,
          image.tables_end};
  return apply(rules, at, from);
}

bool step(registers& at, memory& from) noexcept {
  seen_frame unused;
  return step(at, from, unused);
}

std::size_t walk(registers at, memory from, frame* out, std::size_t out_max, bool& more) noexcept {
  std::size_t count = 0;
  more = false;
  while (count < out_max) {
    out[count++] = {at.pc, at.exact};
    if (!step(at, from)) return count;
  }
  more = true;
  return count;
}

}  // namespace sigrun::symbol
