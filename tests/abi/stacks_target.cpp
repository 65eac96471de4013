// SPDX-License-Identifier: Apache-2.0
//
// What stacks_gdb.py walks: a stack of our own, from which the thread's stack is borrowed, and the
// other way round, so that the caller's frame lies once at a higher and once at a lower address.

#include "arch/context.hpp"
#include "arch/sigtramp.hpp"

#include <sys/mman.h>

#include <cstddef>

using namespace sigrun;

extern "C" void sigrun_sighandler(int, void*, void*, const void*) noexcept {}

namespace {
arch::context of_thread;
arch::context of_goroutine;
}  // namespace

extern "C" [[gnu::noinline]] void leaf(void* argument) {
  asm volatile("" : : "r"(argument) : "memory");
}

extern "C" [[gnu::noinline]] void borrows_the_threads_stack() {
  arch::sigrun_call_on_stack(leaf, nullptr, of_thread.stack_pointer);
  asm volatile("" ::: "memory");  // no tail call: this frame must be there
}

extern "C" [[gnu::noinline]] void borrows_another_stack(void* top) {
  arch::sigrun_call_on_stack(leaf, nullptr, top);
  asm volatile("" ::: "memory");
}

extern "C" [[gnu::noinline]] void goroutine_function() {
  borrows_the_threads_stack();
  arch::sigrun_context_switch(&of_goroutine, &of_thread, nullptr);
  asm volatile("" ::: "memory");
}

int main() {
  constexpr std::size_t size = 64 * 1024;
  void* const low = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (low == MAP_FAILED) return 2;
  std::byte* const top = static_cast<std::byte*>(low) + size;
  of_goroutine = arch::make_context(
      top, [](void*, void*) { goroutine_function(); }, nullptr);
  arch::sigrun_context_switch(&of_thread, &of_goroutine, nullptr);
  borrows_another_stack(top);
}
