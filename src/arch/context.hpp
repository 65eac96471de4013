// SPDX-License-Identifier: Apache-2.0
//
// The switch between stacks. What a parked stack looks like is in switch_frame below; the assembly
// in amd64/ and arm64/ pushes and pops exactly that.
//
//   (1) The switch is a function call, so only what the C calling convention calls callee-saved is
//       kept. It moves no signal mask, no errno and no exception state: module fiber does.
//   (2) It may return on another OS thread than it was called on. No thread_local address and no
//       errno address may be carried across the call.
//   (3) Floating-point control words are callee-saved too, but hardly ever changed, and dear to
//       read (stmxcsr: 6 ns) and to load. control_words carries them beside the frame, and
//       control_sign is what who switches compares: on amd64 the x87 control word (0.6 ns), which
//       everything in <cfenv> changes together with mxcsr; on arm64 fpcr itself. What a program
//       writes to mxcsr alone (_mm_setcsr) stays with the thread.
#pragma once

#include "base/signal_safe.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::arch {

/// Where a parked stack left off: its stack pointer, at which a switch_frame lies.
struct context {
  void* stack_pointer = nullptr;
};

#if defined(__x86_64__)

struct switch_frame {
  std::uint64_t r15, r14, r13, r12, rbx, rbp;
  std::uint64_t pc;  // where the parked caller goes on
};
static_assert(sizeof(switch_frame) == 0x38 && offsetof(switch_frame, rbp) == 0x28 &&
              offsetof(switch_frame, pc) == 0x30);

/// How rounding and floating-point traps are set: of mxcsr the control bits alone (the status bits
/// belong to nobody across a call), and the x87 control word. The initial values are the psABI's.
struct control_words {
  static constexpr std::uint32_t mxcsr_control = 0xffc0;
  std::uint32_t mxcsr = 0x1f80;
  std::uint16_t x87 = 0x037f;
  [[gnu::always_inline]] std::uint16_t sign() const noexcept { return x87; }
  friend bool operator==(const control_words&, const control_words&) = default;
};

/// What control_words::sign() would say now.
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline std::uint16_t read_control_sign() noexcept {
  std::uint16_t x87;
  asm volatile("fnstcw %0" : "=m"(x87));
  return x87;
}
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline control_words read_control_words() noexcept {
  control_words now;
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(now.mxcsr), "=m"(now.x87));
  now.mxcsr &= control_words::mxcsr_control;
  return now;
}
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline void load_control_words(
    const control_words& to) noexcept {
  std::uint32_t mxcsr;
  asm volatile("stmxcsr %0" : "=m"(mxcsr));
  mxcsr = (mxcsr & ~control_words::mxcsr_control) | to.mxcsr;
  asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(to.x87));
}

#elif defined(__aarch64__)

struct switch_frame {
  std::uint64_t x19, x20, x21, x22, x23, x24, x25, x26, x27, x28;
  std::uint64_t x29;  // frame pointer
  std::uint64_t pc;   // x30: where the parked caller goes on
  std::uint64_t d8, d9, d10, d11, d12, d13, d14, d15;
};
static_assert(sizeof(switch_frame) == 0xa0 && offsetof(switch_frame, x29) == 0x50 &&
              offsetof(switch_frame, pc) == 0x58 && offsetof(switch_frame, d8) == 0x60);

struct control_words {
  std::uint64_t fpcr = 0;
  [[gnu::always_inline]] std::uint64_t sign() const noexcept { return fpcr; }
  friend bool operator==(const control_words&, const control_words&) = default;
};

[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline std::uint64_t read_control_sign() noexcept {
  std::uint64_t fpcr;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  return fpcr;
}

[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline control_words read_control_words() noexcept {
  return {read_control_sign()};
}
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline void load_control_words(
    const control_words& to) noexcept {
  asm volatile("msr fpcr, %0" : : "r"(to.fpcr));
}

#endif

/// Parks the caller in `*from` and resumes `to`, handing it `pass`. Returns when somebody resumes
/// `*from`, perhaps on another OS thread, with what that somebody passed.
extern "C" void* sigrun_context_switch(context* from, const context* to, void* pass) noexcept;

/// The same, inline. On amd64 that is more than a call saved: the processor predicts returns by the
/// calls it has seen, and one that is left by a jump would put every return after it off by one.
/// Callers are compiled without a red zone (a flag of module fiber): the frame is laid below rsp.
[[gnu::always_inline]] inline void* switch_context(context& from, const context& to,
                                                   void* pass) noexcept {
#if defined(__x86_64__)
  context* out = &from;
  const context* in = &to;
  // rsp moves once, so the tables of the function around hold before and after. The registers that
  // are not named are saved by the caller, as for a call.
  asm volatile(
      "leaq 1f(%%rip), %%rdx\n\t"
      "movq %%rdx, -0x08(%%rsp)\n\t"
      "movq %%rbp, -0x10(%%rsp)\n\t"
      "movq %%rbx, -0x18(%%rsp)\n\t"
      "movq %%r12, -0x20(%%rsp)\n\t"
      "movq %%r13, -0x28(%%rsp)\n\t"
      "movq %%r14, -0x30(%%rsp)\n\t"
      "movq %%r15, -0x38(%%rsp)\n\t"
      "leaq -0x38(%%rsp), %%rdx\n\t"
      "movq (%%rsi), %%rcx\n\t"
      "movq %%rdx, (%%rdi)\n\t"
      "movq 0x30(%%rcx), %%rdx\n\t"
      "movq 0x00(%%rcx), %%r15\n\t"
      "movq 0x08(%%rcx), %%r14\n\t"
      "movq 0x10(%%rcx), %%r13\n\t"
      "movq 0x18(%%rcx), %%r12\n\t"
      "movq 0x20(%%rcx), %%rbx\n\t"
      "movq 0x28(%%rcx), %%rbp\n\t"
      "leaq 0x38(%%rcx), %%rsp\n\t"
      "notrack jmp *%%rdx\n"
      "1:"
      : "+a"(pass), "+D"(out), "+S"(in)
      :
      : "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
        "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#if defined(__AVX512F__)
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6",
        "k7",
#endif
        "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory");
  return pass;
#else
  return sigrun_context_switch(&from, &to, pass);
#endif
}

/// What a context of make_context() begins in, behind a nop; backtraces end there.
extern "C" void sigrun_context_start() noexcept;
#if defined(__x86_64__)
inline constexpr std::uint64_t context_start_nop = 1;
#else
inline constexpr std::uint64_t context_start_nop = 4;
#endif

/// Calls f(arg) on another stack, whose highest address is `stack_top`, and comes back. The
/// caller's stack is not parked: an exception thrown by f passes through into the caller, and
/// unwinders and debuggers walk from f into it.
extern "C" void sigrun_call_on_stack(void (*f)(void*), void* arg, void* stack_top);

/// Makes a context that calls entry(arg, passed) on the given stack when it is first resumed, where
/// `passed` is what the resumer passed. `entry` must not return. `stack_top` is the end with the
/// highest address.
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline context make_context(
    void* stack_top, void (*entry)(void* arg, void* passed), void* arg) noexcept {
  // Two zero words stay on top: the return address, and its caller's, for who walks by guessing.
  const auto top = reinterpret_cast<std::uintptr_t>(stack_top) & ~std::uintptr_t{15};
  auto* words = reinterpret_cast<std::uint64_t*>(top - 16);
  words[0] = 0;
  words[1] = 0;
  auto* frame = reinterpret_cast<switch_frame*>(top - 16 - sizeof(switch_frame));
  *frame = switch_frame{};
#if defined(__x86_64__)
  frame->r12 = reinterpret_cast<std::uint64_t>(entry);
  frame->rbx = reinterpret_cast<std::uint64_t>(arg);
#else
  frame->x19 = reinterpret_cast<std::uint64_t>(entry);
  frame->x20 = reinterpret_cast<std::uint64_t>(arg);
#endif
  frame->pc = reinterpret_cast<std::uint64_t>(&sigrun_context_start) + context_start_nop;
  return {frame};
}

/// What a walk over a parked stack starts from.
struct parked_registers {
  std::uint64_t pc;
  std::uint64_t sp;  // as it will be at pc
  std::uint64_t fp;
};

[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline parked_registers read_parked(
    const context& parked) noexcept {
  const auto* frame = static_cast<const switch_frame*>(parked.stack_pointer);
  const auto sp = reinterpret_cast<std::uint64_t>(frame + 1);
#if defined(__x86_64__)
  return {frame->pc, sp, frame->rbp};
#else
  return {frame->pc, sp, frame->x29};
#endif
}

}  // namespace sigrun::arch
