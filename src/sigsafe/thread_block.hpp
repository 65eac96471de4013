// SPDX-License-Identifier: Apache-2.0
//
// What a handler knows about the thread it runs on. The only thread_locals of the library.
#pragma once

#include "base/signal_safe.hpp"

#include <atomic>
#include <cstdint>

namespace sigrun::sigsafe {

struct thread_block {
  std::atomic<int> tid{0};  // 0: a thread that has ended left it
  /// Signals that the runtime blocked here and that were open before. Written by this thread,
  /// in ordinary code or in its own handler; read by others.
  std::atomic<std::uint64_t> closed{0};
  /// Signals that were blocked here before the runtime, and are open while this M has the duty and
  /// runs goroutines. Written by this thread.
  std::atomic<std::uint64_t> lent{0};
  /// What a handler of ours has opened here on somebody's request. If it interrupted a handler of
  /// the program's, that one's return blocks it again: found blocked for no other reason, it is by
  /// us. Written by this thread; cleared when it is seen open.
  std::atomic<std::uint64_t> lifted{0};
  /// How many original_mask guards live here: what is closed is not blocked meanwhile.
  std::atomic<std::uint32_t> as_before{0};
  /// What an M has blocked from its birth on, whatever is subscribed; the stand-by thread, now.
  std::uint64_t born_blocked = 0;
  /// The thread is in, or on its way into, rt_sigtimedwait with the duty or on stand-by: a control
  /// signal that comes now must be left for the wait.
  std::atomic<bool> waits{false};
  /// Something was sent to this M alone, by send_thread(): it takes that at its next scheduling
  /// point, if it has the signal closed.
  std::atomic<bool> own_news{false};
  /// A handler left SIGURG blocked so that the wait finds it; the waiter opens it again.
  std::atomic<bool> control_held{false};
  /// This thread's signal stack (gsignal); null for a thread the runtime did not make.
  const unsigned char* stack_low = nullptr;
  std::uint64_t stack_size = 0;
  /// Code of the user's runs here, which may fork.
  bool runs_goroutines = false;
  thread_block* next = nullptr;  // module signal's list of all blocks
};

/// The calling thread's block; nullptr on a thread that the runtime has not met. Never inlined, so
/// that no caller keeps a thread's address across a switch to another thread.
SIGRUN_SIGNAL_SAFE thread_block* current_thread() noexcept;
SIGRUN_SIGNAL_SAFE void set_current_thread(thread_block* block) noexcept;

/// The scheduler's thread (sched::machine) that this is; nullptr on any other. Read anew by each
/// call, and in two instructions: the compiler does not know that it is a thread_local.
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline void* current_machine() noexcept {
  void* machine;
#if defined(__x86_64__)
  asm volatile(
      "movq sigrun_machine_here@gottpoff(%%rip), %0\n\t"
      "movq %%fs:(%0), %0"
      : "=r"(machine)
      :
      : "memory");
#else
  void* offset;
  asm volatile(
      "mrs %0, tpidr_el0\n\t"
      "adrp %1, :gottprel:sigrun_machine_here\n\t"
      "ldr %1, [%1, :gottprel_lo12:sigrun_machine_here]\n\t"
      "ldr %0, [%0, %1]"
      : "=&r"(machine), "=&r"(offset)
      :
      : "memory");
#endif
  return machine;
}
SIGRUN_SIGNAL_SAFE void set_current_machine(void* machine) noexcept;

/// What the fault handler finds about the code that it interrupts: one of each goroutine, and one
/// of each thread for code outside of goroutines. Written by the owner alone; its handler reads it
/// between two of its instructions.
struct fault_slot {
  void* guard = nullptr;         // fault::guard_frame: the innermost guarded() under way
  void* held = nullptr;          // sync's held_table: the locks taken since
  std::uint32_t in_runtime = 0;  // above 0: a lock of the runtime's own is held; see sync/held.hpp
  bool panics = false;           // set_panic_on_fault
  bool faulted = false;          // a fault was thrown in it
};

/// The one of a thread, and what is looked up once for it.
struct thread_faults : fault_slot {
  void* exceptions = nullptr;  // fiber::eh_globals
  int tid = 0;                 // 0: not looked up
};
/// The calling thread's. Found anew by each call, in two instructions, as current_machine().
[[gnu::always_inline]] SIGRUN_SIGNAL_SAFE inline thread_faults& current_thread_faults() noexcept {
  thread_faults* found;
#if defined(__x86_64__)
  asm volatile(
      "movq sigrun_faults_here@gottpoff(%%rip), %0\n\t"
      "addq %%fs:0, %0"
      : "=r"(found)
      :
      : "cc");
#else
  void* offset;
  asm volatile(
      "mrs %0, tpidr_el0\n\t"
      "adrp %1, :gottprel:sigrun_faults_here\n\t"
      "ldr %1, [%1, :gottprel_lo12:sigrun_faults_here]\n\t"
      "add %0, %0, %1"
      : "=&r"(found), "=&r"(offset));
#endif
  return *found;
}

/// The call of a foreign handler that is under way on this thread: its siginfo, and the frame of
/// the function that made it.
struct chain_call {
  const void* info = nullptr;
  const void* frame = nullptr;
};
SIGRUN_SIGNAL_SAFE chain_call& current_chain_call() noexcept;

}  // namespace sigrun::sigsafe
