// SPDX-License-Identifier: Apache-2.0
//
// Goal: the assembly of module arch does what its C++ declarations say, on each CPU. Stands alone
// (no test framework, no runtime), so that it cross-compiles and runs under qemu-user.

#include "abi/raw_handler.hpp"
#include "arch/machine_context.hpp"

#include <sys/mman.h>
#include <unistd.h>
#include <cerrno>

#include <cstdint>
#include <cstdio>
#include <cstring>

using namespace sigrun;

struct arrival {
  int count = 0;
  int signo = 0;
  siginfo_t info{};
  std::uintptr_t stack_pointer = 0;
  std::uintptr_t info_at = 0;
  std::uintptr_t context_at = 0;
  std::uint64_t interrupted_sp = 0;
  std::uint64_t block_on_return = 0;
};

namespace {

int failures = 0;

void check(const char* claim, bool holds) {
  std::printf("%s: %s\n", holds ? "ok" : "FAILED", claim);
  failures += holds ? 0 : 1;
}

}  // namespace

// Not in the namespace above: of what only this file can name, a compiler may hold that an asm
// statement does not change it.
extern arrival last;
arrival last;

extern "C" void sigrun_sighandler(int signo, void* info, void* context,
                                  const void* stack_pointer) noexcept {
  auto& machine = *static_cast<ucontext_t*>(context);
  last.count++;
  last.signo = signo;
  last.info = *static_cast<siginfo_t*>(info);
  last.stack_pointer = reinterpret_cast<std::uintptr_t>(stack_pointer);
  last.info_at = reinterpret_cast<std::uintptr_t>(info);
  last.context_at = reinterpret_cast<std::uintptr_t>(context);
  last.interrupted_sp = arch::read_context(machine).sp;
  arch::context_mask(machine) |= last.block_on_return;
  // A call that fails, and registers left in disorder: neither may be seen outside.
  sys::call(SYS_close, -1);
#if defined(__x86_64__)
  asm volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
  asm volatile(
      "pcmpeqb %%xmm6, %%xmm6\n\t"
      "pcmpeqb %%xmm15, %%xmm15" ::
          : "xmm6", "xmm15");
#else
  asm volatile("" ::
                   : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
                     "memory");
  asm volatile("movi v8.16b, #255\n\tmovi v31.16b, #255" ::: "v8", "v31");
#endif
}

namespace {

void a_failed_call_returns_the_negated_error_and_leaves_errno() {
  errno = 42;
  check("close(-1) returns -EBADF", sys::call(SYS_close, -1) == -EBADF);
  check("an unknown call returns -ENOSYS", sys::call(100'000) == -ENOSYS);
  check("errno is not touched", errno == 42);
}

void all_six_arguments_arrive() {
  const long page = sysconf(_SC_PAGESIZE);
  const long fd = sys::call(SYS_memfd_create, "arch_test", 0);
  check("memfd_create works", fd >= 0);
  sys::call(SYS_ftruncate, fd, 2 * page);
  sys::call(SYS_pwrite64, fd, "second page", 12, page);
  const long mapping = sys::call(SYS_mmap, nullptr, page, PROT_READ, MAP_PRIVATE, fd, page);
  check("mmap takes its six arguments",
        !sys::failed(mapping) &&
            std::strcmp(reinterpret_cast<const char*>(mapping), "second page") == 0);
  sys::call(SYS_munmap, mapping, page);
  sys::call(SYS_close, fd);
}

void the_trampoline_is_entered_and_left_through_rt_sigreturn() {
  check("rt_sigaction takes the trampoline", tests::install_sigtramp(SIGUSR1) == 0);
  errno = 42;
  last = {};
  check("tgkill works", tests::raise_here(SIGUSR1) == 0);
  check("the handler ran once", last.count == 1);
  check("with the signal's number", last.signo == SIGUSR1 && last.info.si_signo == SIGUSR1);
  check("and what the kernel knows", last.info.si_code == SI_TKILL && last.info.si_pid == getpid());
  check("errno is kept", errno == 42);
  check("the mask is the old one", sys::current_mask().empty());
}

void a_value_arrives_with_rt_sigqueueinfo() {
  const int signo = SIGRTMIN + 5;
  check("rt_sigaction takes a real-time signal", tests::install_sigtramp(signo) == 0);
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(std::uintptr_t{0x1234'5678'9abc});
  last = {};
  check("rt_sigqueueinfo works", sys::rt_sigqueueinfo(getpid(), signo, &info) == 0);
  check("the value arrives whole", last.count == 1 && last.info.si_code == SI_QUEUE &&
                                       last.info.si_value.sival_ptr == info.si_value.sival_ptr);
}

void the_handler_stands_on_the_alternate_stack() {
  alignas(16) static unsigned char stack[256 * 1024];
  const auto low = reinterpret_cast<std::uintptr_t>(stack);
  const auto inside = [&](std::uintptr_t at) { return at >= low && at < low + sizeof(stack); };
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof(stack);
  check("sigaltstack works", sys::sigaltstack(&alternate, nullptr) == 0);
  check("rt_sigaction takes SA_ONSTACK", tests::install_sigtramp(SIGUSR1, SA_ONSTACK) == 0);
  last = {};
  tests::raise_here(SIGUSR1);
  check("the kernel's frame is on it", last.count == 1 && inside(last.info_at) &&
                                           inside(last.context_at) && inside(last.stack_pointer));
  check("the 4th argument is where that frame begins",
        last.stack_pointer <= last.context_at && last.stack_pointer <= last.info_at);
  check("the interrupted stack pointer is not on it", !inside(last.interrupted_sp));
  alternate.ss_flags = SS_DISABLE;
  check("it can be taken away", sys::sigaltstack(&alternate, nullptr) == 0);
  tests::install_sigtramp(SIGUSR1);
}

void a_mask_edited_by_the_handler_holds_after_it() {
  const signal_set edited = signal_set::of(SIGUSR2, 60);
  last = {};
  last.block_on_return = edited.bits();
  tests::raise_here(SIGUSR1);
  check("the edited mask is in force", sys::current_mask() == edited);
  sys::set_mask(signal_set{});
}

/// Fills registers, makes the system call tgkill(pid, tid, signo) and stores the registers.
[[gnu::noinline]] void registers_across_a_signal(std::uint64_t (&after)[8], long pid, long tid,
                                                 long signo) {
#if defined(__x86_64__)
  register long number asm("rax") = SYS_tgkill;
  asm volatile(
      "movq $101, %%rbx\n\tmovq $102, %%r12\n\tmovq $103, %%r13\n\tmovq $104, %%r14\n\t"
      "movq $105, %%r15\n\tmovq $106, %%r9\n\tmovq $107, %%r10\n\tmovq %%r10, %%xmm6\n\t"
      "movq $108, %%r10\n\tmovq %%r10, %%xmm15\n\tsyscall\n\t"
      "movq %%rbx, 0(%[to])\n\tmovq %%r12, 8(%[to])\n\tmovq %%r13, 16(%[to])\n\t"
      "movq %%r14, 24(%[to])\n\tmovq %%r15, 32(%[to])\n\tmovq %%r9, 40(%[to])\n\t"
      "movq %%xmm6, 48(%[to])\n\tmovq %%xmm15, 56(%[to])"
      : "+r"(number)
      : [to] "r"(&after[0]), "D"(pid), "S"(tid), "d"(signo)
      : "rbx", "r12", "r13", "r14", "r15", "r9", "r10", "rcx", "r11", "xmm6", "xmm15", "memory");
#else
  register long number asm("x8") = SYS_tgkill;
  register long a asm("x0") = pid;
  register long b asm("x1") = tid;
  register long c asm("x2") = signo;
  asm volatile(
      "mov x19, #101\n\tmov x20, #102\n\tmov x24, #103\n\tmov x27, #104\n\tmov x28, #105\n\t"
      "mov x9, #106\n\tmov x10, #107\n\tfmov d8, x10\n\tmov x10, #108\n\tfmov d31, x10\n\t"
      "svc #0\n\t"
      "stp x19, x20, [%[to]]\n\tstp x24, x27, [%[to], #16]\n\tstp x28, x9, [%[to], #32]\n\t"
      "stp d8, d31, [%[to], #48]"
      : "+r"(a)
      : [to] "r"(&after[0]), "r"(b), "r"(c), "r"(number)
      : "x19", "x20", "x24", "x27", "x28", "x9", "x10", "v8", "v31", "memory");
#endif
}

void every_register_comes_back_after_a_signal() {
  std::uint64_t after[8] = {};
  last = {};
  registers_across_a_signal(after, getpid(), sys::gettid(), SIGUSR1);
  bool all = last.count == 1;
  for (std::uint64_t i = 0; i < 8; ++i) all = all && after[i] == 101 + i;
  check("integer and vector registers come back", all);
}

/// The trampoline called as the function it is, with callee-saved registers filled before. Every
/// register a call may change is declared, because g++ tracks what local functions really change.
[[gnu::noinline]] void registers_across_a_call(std::uint64_t (&after)[5], siginfo_t& info,
                                               ucontext_t& context) {
  std::uint64_t* to = &after[0];
  siginfo_t* a = &info;
  ucontext_t* b = &context;
#if defined(__x86_64__)
  // The red zone of this frame may hold something, so the call steps over it.
  asm volatile(
      "movq $101, %%rbx\n\tmovq $102, %%r12\n\tmovq $103, %%r13\n\tmovq $104, %%r14\n\t"
      "movq $105, %%r15\n\tleaq -128(%%rsp), %%rsp\n\tpushq %[to]\n\t"
      "movl $10, %%edi\n\tcall sigrun_sigtramp\n\tpopq %%rax\n\tleaq 128(%%rsp), %%rsp\n\t"
      "movq %%rbx, 0(%%rax)\n\tmovq %%r12, 8(%%rax)\n\tmovq %%r13, 16(%%rax)\n\t"
      "movq %%r14, 24(%%rax)\n\tmovq %%r15, 32(%%rax)"
      : [to] "+a"(to), "+S"(a), "+d"(b)
      :
      : "rbx", "r12", "r13", "r14", "r15", "rdi", "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1",
        "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "memory", "cc");
#else
  register siginfo_t* second asm("x1") = a;
  register ucontext_t* third asm("x2") = b;
  asm volatile(
      "mov x19, #101\n\tmov x20, #102\n\tmov x24, #103\n\tmov x27, #104\n\tmov x28, #105\n\t"
      "str %[to], [sp, #-16]!\n\tmov w0, #10\n\tbl sigrun_sigtramp\n\tldr x9, [sp], #16\n\t"
      "stp x19, x20, [x9]\n\tstp x24, x27, [x9, #16]\n\tstr x28, [x9, #32]"
      : "+r"(second), "+r"(third)
      : [to] "r"(to)
      : "x0", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
        "x16", "x17", "x19", "x20", "x24", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5",
        "v6", "v7", "v8", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
        "v26", "v27", "v28", "v29", "v30", "v31", "memory", "cc");
#endif
}

void the_trampoline_keeps_callee_saved_registers() {
  std::uint64_t after[5] = {};
  siginfo_t info{};
  ucontext_t context{};
  last = {};
  registers_across_a_call(after, info, context);
  bool all = last.count == 1 && last.signo == SIGUSR1;
  for (std::uint64_t i = 0; i < 5; ++i) all = all && after[i] == 101 + i;
  check("callee-saved registers come back from a call", all);
}

void a_burst_is_handled_one_by_one() {
  last = {};
  for (int i = 0; i < 10'000; ++i) tests::raise_here(SIGUSR1);
  check("10,000 signals are handled", last.count == 10'000);
}

}  // namespace

int main() {
  alarm(60);  // a dead man's switch
  a_failed_call_returns_the_negated_error_and_leaves_errno();
  all_six_arguments_arrive();
  the_trampoline_is_entered_and_left_through_rt_sigreturn();
  a_value_arrives_with_rt_sigqueueinfo();
  the_handler_stands_on_the_alternate_stack();
  a_mask_edited_by_the_handler_holds_after_it();
  every_register_comes_back_after_a_signal();
  the_trampoline_keeps_callee_saved_registers();
  a_burst_is_handled_one_by_one();
  std::printf("arch: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
