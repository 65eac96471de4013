// SPDX-License-Identifier: Apache-2.0
//
// peer_sigsetjmp MASK: what people write by hand: sigsetjmp(3) before the call, siglongjmp(3) from
// the handler, a bool for the result. MASK 1 keeps the signal mask, which is a system call for each
// guarded call; 0 does not, and has the handler entered with SA_NODEFER. `handler`: only the way
// into a handler and back to another instruction, which nothing of this kind is without.
#include "../guarded_calls.hpp"

#include <setjmp.h>
#include <ucontext.h>
#include <csignal>

#include <string_view>

namespace {

constinit thread_local sigjmp_buf* guard = nullptr;

void jump(int) { siglongjmp(*guard, 1); }

void handle(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(SIGSEGV, &action, nullptr);
}

template <int Mask>
[[gnu::noinline]] bool guarded(bench::function f) {
  sigjmp_buf here;
  sigjmp_buf* const outer = guard;
  if (sigsetjmp(here, Mask) != 0) {
    guard = outer;
    return true;
  }
  guard = &here;
  f();
  guard = outer;
  return false;
}

template <int Mask>
void measure() {
  handle(&jump, Mask != 0 ? 0 : SA_NODEFER);
  bench::report report;
  bench::guarded_calls(report, [](bench::function f) { guarded<Mask>(f); });
  bench::guarded_faults(report, [](bench::function f) { return guarded<Mask>(f); });
  report.print();
}

// Returns from the function that faulted, which has no frame.
void leave(int, siginfo_t*, void* raw) {
  mcontext_t& at = static_cast<ucontext_t*>(raw)->uc_mcontext;
#if defined(__x86_64__)
  at.gregs[REG_RIP] = *reinterpret_cast<greg_t*>(at.gregs[REG_RSP]);
  at.gregs[REG_RSP] += 8;
#else
  at.pc = at.regs[30];
#endif
}

void handler_alone() {
  struct sigaction action {};
  action.sa_sigaction = &leave;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  bench::report report;
  bench::guarded_faults(report, [](bench::function f) {
    f();
    return true;
  });
  report.print();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc > 1 ? argv[1] : "";
  if (how == "handler") {
    handler_alone();
  } else if (how == "1") {
    measure<1>();
  } else {
    measure<0>();
  }
}
