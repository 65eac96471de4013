// SPDX-License-Identifier: Apache-2.0
//
// Goal: what looks out of a handler sees the function that was interrupted. The program installs
// the trampoline with a handler of its own and is interrupted in interrupted_function(). Called
// without arguments it walks out by _Unwind_Backtrace and says whether it came to main; gdb runs
// it for gdb.py, which walks out on its own.

#include "abi/raw_handler.hpp"

#include <unwind.h>

#include <cstdint>
#include <cstdio>

// Sections of their own give the walk addresses to compare with: the linker names their ends.
extern "C" const char __start_abi_main[], __stop_abi_main[];
extern "C" const char __start_abi_interrupted[], __stop_abi_interrupted[];

namespace {

struct walk {
  int frames = 0;
  int interrupted_at = -1;
  int main_at = -1;
};
walk seen;

bool inside(std::uintptr_t pc, const char* first, const char* last) {
  return pc >= reinterpret_cast<std::uintptr_t>(first) &&
         pc < reinterpret_cast<std::uintptr_t>(last);
}

_Unwind_Reason_Code visit(_Unwind_Context* context, void* argument) {
  auto* found = static_cast<walk*>(argument);
  const std::uintptr_t pc = _Unwind_GetIP(context);
  if (inside(pc, __start_abi_interrupted, __stop_abi_interrupted)) {
    found->interrupted_at = found->frames;
  }
  if (inside(pc, __start_abi_main, __stop_abi_main)) found->main_at = found->frames;
  return ++found->frames < 64 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

}  // namespace

extern "C" void sigrun_sighandler(int, void*, void*, const void*) noexcept {
  _Unwind_Backtrace(visit, &seen);
}

extern "C" [[gnu::noinline, gnu::section("abi_interrupted")]] long interrupted_function(int signo) {
  const long result = sigrun::tests::raise_here(signo);
  asm volatile("" ::: "memory");  // no tail call: this frame must be there
  return result;
}

[[gnu::section("abi_main")]] int main() {
  if (sigrun::tests::install_sigtramp(SIGUSR1) != 0) return 2;
  if (interrupted_function(SIGUSR1) != 0) return 2;
  std::printf("frames %d, interrupted function at %d, main at %d\n", seen.frames,
              seen.interrupted_at, seen.main_at);
  return seen.interrupted_at > 0 && seen.main_at > seen.interrupted_at ? 0 : 1;
}
