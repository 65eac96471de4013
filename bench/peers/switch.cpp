// SPDX-License-Identifier: Apache-2.0
//
// peer_switch HOW: one context switch, by the shortest code there is for the System V ABI (floor),
// by glibc's swapcontext, or by Boost.Context's jump_fcontext (boost).
#include "../samples.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <boost/context/detail/fcontext.hpp>

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
// Pops the return address first and jumps at the end: `ret` would be predicted to return to where
// this stack's last call came from, and be wrong every time.
asm(R"(
.text
.globl peer_switch_stacks
.type peer_switch_stacks, @function
peer_switch_stacks:
  popq %rax
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  pushq %rax
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %rax
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  jmp *%rax
.size peer_switch_stacks, .-peer_switch_stacks
)");
extern "C" void peer_switch_stacks(void** from, void* to);
#endif

namespace {

constexpr std::size_t stack_bytes = 64 * 1024;
constexpr int batches = 400;
constexpr long switches = 5000;

char* new_stack() {
  void* low =
      mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (low == MAP_FAILED) std::exit(2);
  return static_cast<char*>(low);
}

// Each call of `there_and_back` is two switches.
template <class F>
void measure(F there_and_back) {
  bench::report report;
  report.samples("switch", bench::per_operation(batches, switches, [&](long n) {
                   for (long i = 0; i < n; i += 2) there_and_back();
                 }));
  report.print();
}

#if defined(__x86_64__)
void* main_stack;
void* other_stack;

void other_entry() {
  for (;;) peer_switch_stacks(&other_stack, main_stack);
}

void floor_switch() {
  auto** top = reinterpret_cast<void**>(new_stack() + stack_bytes);
  *--top = nullptr;                              // where other_entry would return to
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // the callee-saved registers
  *--top = reinterpret_cast<void*>(other_entry);
  other_stack = top;
  measure([] { peer_switch_stacks(&main_stack, other_stack); });
}
#endif

ucontext_t main_context;
ucontext_t other_context;

void swap_back() {
  for (;;) swapcontext(&other_context, &main_context);
}

void swapcontext_switch() {
  getcontext(&other_context);
  other_context.uc_stack.ss_sp = new_stack();
  other_context.uc_stack.ss_size = stack_bytes;
  makecontext(&other_context, swap_back, 0);
  measure([] { swapcontext(&main_context, &other_context); });
}

namespace context = boost::context::detail;

void jump_back(context::transfer_t from) {
  for (;;) from = context::jump_fcontext(from.fctx, nullptr);
}

void boost_switch() {
  context::fcontext_t other =
      context::make_fcontext(new_stack() + stack_bytes, stack_bytes, jump_back);
  measure([&other] { other = context::jump_fcontext(other, nullptr).fctx; });
}

}  // namespace

int main(int argc, char** argv) {
  const char* how = argc > 1 ? argv[1] : "";
  if (std::strcmp(how, "swapcontext") == 0) {
    swapcontext_switch();
  } else if (std::strcmp(how, "boost") == 0) {
    boost_switch();
#if defined(__x86_64__)
  } else if (std::strcmp(how, "floor") == 0) {
    floor_switch();
#endif
  } else {
    std::fprintf(stderr, "usage: %s floor|swapcontext|boost\n", argv[0]);
    return 2;
  }
}
