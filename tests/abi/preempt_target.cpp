// SPDX-License-Identifier: Apache-2.0
//
// Goal: whoever looks out of a handler, or out of an injected call, sees the same frames: the
// runtime's own walk, libgcc's, libunwind's where it is installed, and gdb's (preempt_gdb.py).
//
// A stack of our own calls interrupted_code(), which holds known values in its registers and sends
// itself a signal. The handler injects a call; what that calls parks the stack, as the scheduler
// does, and the thread looks at the parked stack as well.

#include "abi/raw_handler.hpp"
#include "arch/context.hpp"
#include "arch/machine_context.hpp"
#include "arch/preempt.hpp"
#include "symbol/modules.hpp"
#include "symbol/unwind.hpp"

#include <dlfcn.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if __has_include(<libunwind.h>) && defined(__x86_64__)
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#define ABI_LIBUNWIND 1
#endif

using namespace sigrun;

constexpr int frames_max = 48;
struct walk {
  int count;
  std::uintptr_t pc[frames_max];
};
enum place { in_handler, in_injected_call, parked };
enum walker { own, libgcc, libunwind };

extern "C" {
// preempt_gdb.py reads these.
walk walks[3][3];
std::uintptr_t interrupted_sp;
std::uintptr_t interrupted_pc;

long interrupted_code(long pid, long tid, long signo);
// The frame below which the walks are compared: each walker is called at another place in it.
[[gnu::section("abi_base")]] void sigrun_sighandler(int, void*, void*, const void*) noexcept;
extern const char __start_abi_base[], __stop_abi_base[];
}

// Values that gdb looks for, in registers that a handler must not lose.
#if defined(__x86_64__)
asm(R"(
        .pushsection .text
        .globl  interrupted_code
        .type   interrupted_code, @function
interrupted_code:
        .cfi_startproc
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        movl    $101, %ebx
        movl    $102, %ebp
        movl    $103, %r12d
        movl    $104, %r15d
        movl    $105, %r8d
        movl    $106, %r9d
        movl    $234, %eax                      # tgkill
        syscall
        nop
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size   interrupted_code, . - interrupted_code
        .popsection
)");
#else
asm(R"(
        .pushsection .text
        .globl  interrupted_code
        .type   interrupted_code, @function
interrupted_code:
        .cfi_startproc
        stp     x29, x30, [sp, #-32]!
        .cfi_def_cfa_offset 32
        .cfi_offset x29, -32
        .cfi_offset x30, -24
        stp     x19, x28, [sp, #16]
        .cfi_offset x19, -16
        .cfi_offset x28, -8
        mov     x19, #101
        mov     x28, #102
        mov     x8, #131                        // tgkill
        svc     #0
        nop
        ldp     x19, x28, [sp, #16]
        ldp     x29, x30, [sp], #32
        .cfi_def_cfa_offset 0
        .cfi_restore x19
        .cfi_restore x28
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   interrupted_code, . - interrupted_code
        .popsection
)");
#endif

namespace {

arch::context of_thread;
arch::context of_goroutine;
std::byte* stack_low;

void add(walk& to, std::uintptr_t pc) {
  if (pc != 0 && to.count < frames_max) to.pc[to.count++] = pc;
}

void by_own_walk(const symbol::registers& from, walk& to) {
  symbol::frame frames[frames_max];
  bool more = false;
  const std::size_t n = symbol::walk(from, symbol::memory{}, frames, frames_max, more);
  for (std::size_t i = 0; i < n; ++i) add(to, frames[i].pc);
}

void by_libgcc(walk& to) {
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* argument) {
        add(*static_cast<walk*>(argument), _Unwind_GetIP(context));
        return _URC_NO_REASON;
      },
      &to);
}

#if ABI_LIBUNWIND
// By name: linked, its _Unwind_Backtrace would stand in for libgcc's.
template <class F>
F find(void* library, const char* name) {
  return reinterpret_cast<F>(dlsym(library, name));
}
decltype(&unw_init_local) unwind_init;
decltype(&unw_step) unwind_step;
decltype(&unw_get_reg) unwind_get;
bool load_libunwind() {
  void* const library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  unwind_init = find<decltype(&unw_init_local)>(library, "_ULx86_64_init_local");
  unwind_step = find<decltype(&unw_step)>(library, "_ULx86_64_step");
  unwind_get = find<decltype(&unw_get_reg)>(library, "_ULx86_64_get_reg");
  return unwind_init != nullptr && unwind_step != nullptr && unwind_get != nullptr;
}
[[gnu::noinline]] void by_libunwind(walk& to) {
  if (unwind_step == nullptr) return;
  unw_context_t here;
  getcontext(&here);
  unw_cursor_t cursor;
  unwind_init(&cursor, &here);
  do {
    unw_word_t pc = 0;
    unwind_get(&cursor, UNW_REG_IP, &pc);
    add(to, pc);
  } while (unwind_step(&cursor) > 0);
}
#else
bool load_libunwind() { return false; }
void by_libunwind(walk&) {}
#endif

}  // namespace

/// gdb stops here.
extern "C" [[gnu::noinline]] void look_here(int where) {
  asm volatile("" : : "r"(where) : "memory");
}

// In one section, and each ends in a statement: no tail call, so that its frame is there.
extern "C" [[gnu::section("abi_base")]] void sigrun_sighandler(int, void* info, void* raw_context,
                                                               const void*) noexcept {
  auto& context = *static_cast<ucontext_t*>(raw_context);
  interrupted_sp = arch::read_context(context).sp;
  interrupted_pc = arch::read_context(context).pc;
  by_own_walk(symbol::registers_here(), walks[in_handler][own]);
  by_libgcc(walks[in_handler][libgcc]);
  by_libunwind(walks[in_handler][libunwind]);
  look_here(in_handler);
  const std::size_t room = interrupted_sp - reinterpret_cast<std::uintptr_t>(stack_low);
  if (!arch::inject_preemption(*static_cast<siginfo_t*>(info), context, room)) std::abort();
  asm volatile("" ::: "memory");
}

namespace sigrun::arch {
extern "C" [[gnu::section("abi_base")]] void sigrun_preempted() noexcept {
  by_own_walk(symbol::registers_here(), walks[in_injected_call][own]);
  by_libgcc(walks[in_injected_call][libgcc]);
  by_libunwind(walks[in_injected_call][libunwind]);
  look_here(in_injected_call);
  sigrun_context_switch(&of_goroutine, &of_thread, nullptr);
  asm volatile("" ::: "memory");
}
}  // namespace sigrun::arch

extern "C" [[gnu::noinline]] void calls_interrupted_code() {
  if (interrupted_code(sys::getpid(), sys::gettid(), SIGURG) != 0) std::abort();
  asm volatile("" ::: "memory");
}

extern "C" [[gnu::noinline]] void goroutine_function(void*, void*) {
  calls_interrupted_code();
  arch::sigrun_context_switch(&of_goroutine, &of_thread, nullptr);
}

namespace {

int first_below_base(const walk& w) {
  for (int i = 0; i < w.count; ++i) {
    if (w.pc[i] >= reinterpret_cast<std::uintptr_t>(__start_abi_base) &&
        w.pc[i] < reinterpret_cast<std::uintptr_t>(__stop_abi_base)) {
      return i + 1;
    }
  }
  return w.count;
}

// Whether two walks come to the same places from the base on; both must have some.
bool agree(const char* what, const walk& a, const walk& b) {
  const int i = first_below_base(a);
  const int j = first_below_base(b);
  const int frames = a.count - i;
  const int others = b.count - j;
  bool same = frames >= 4 && others == frames;
  for (int k = 0; same && k < others; ++k) same = a.pc[i + k] == b.pc[j + k];
  std::printf("%s: %s, %d frames against %d\n", same ? "ok" : "FAILED", what, frames, others);
  if (same) return true;
  for (int k = 0; k < a.count; ++k) std::printf("  %#zx\n", a.pc[k]);
  std::printf("  against\n");
  for (int k = 0; k < b.count; ++k) std::printf("  %#zx\n", b.pc[k]);
  return false;
}

bool install(std::byte* signal_stack, std::size_t size) {
  stack_t alternate{};
  alternate.ss_sp = signal_stack;
  alternate.ss_size = size;
  return sys::sigaltstack(&alternate, nullptr) == 0 &&
         tests::install_sigtramp(SIGURG, SA_ONSTACK) == 0;
}

}  // namespace

int main() {
  alarm(60);
  constexpr std::size_t size = 256 * 1024;
  void* const low =
      mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (low == MAP_FAILED) return 2;
  stack_low = static_cast<std::byte*>(low);
  if (arch::preemption_frame() == 0) {
    std::printf("this processor cannot do it, skipped\n");
    return 77;
  }
  if (!install(stack_low + size, size)) return 2;
  symbol::refresh_modules();
  const bool third = load_libunwind();
  of_goroutine = arch::make_context(stack_low + size, &goroutine_function, nullptr);
  arch::sigrun_context_switch(&of_thread, &of_goroutine, nullptr);
  by_own_walk(symbol::parked_stack_registers(of_goroutine), walks[parked][own]);
  arch::sigrun_context_switch(&of_thread, &of_goroutine, nullptr);

  bool all = agree("libgcc, in the handler", walks[in_handler][own], walks[in_handler][libgcc]);
  all &= agree("libgcc, in the injected call", walks[in_injected_call][own],
               walks[in_injected_call][libgcc]);
  all &=
      agree("our own walk, of the parked stack", walks[in_injected_call][own], walks[parked][own]);
  if (third) {
    all &= agree("libunwind, in the handler", walks[in_handler][own], walks[in_handler][libunwind]);
    all &= agree("libunwind, in the injected call", walks[in_injected_call][own],
                 walks[in_injected_call][libunwind]);
  } else {
    std::printf("libunwind is not installed: without it\n");
  }
  return all ? 0 : 1;
}
