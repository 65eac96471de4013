// SPDX-License-Identifier: Apache-2.0
//
// One stack that can be parked and resumed, with everything that C++ and the C library keep per OS
// thread but that belongs to the code running on the stack:
//
//   exceptions   libstdc++ (and libc++abi) keep the exceptions being handled per thread. Two fibers
//                that park inside catch blocks would rethrow each other's.
//   errno        A value set before a park is there after it, whatever ran on the thread between.
//   control words  Rounding mode and floating-point traps, see arch/context.hpp (3).
//
//   (1) The addresses of the thread's own copies are looked up once per thread (thread_words): the
//       two calls would cost more than the switch. They must be those of the thread that switches.
//   (2) A fiber is resumed by one thread at a time, and only after its switch_to has parked it; who
//       schedules sees to that.
//   (3) In ordinary builds the switch is inline: 3 ns of assembly and 1-2 ns of the above. Under
//       ASan and TSan it is a function of its own, see fiber.cpp.
#pragma once

#include "arch/context.hpp"
#include "fiber/sanitizer.hpp"

#include <cstddef>

namespace sigrun::fiber {

/// The first two members of the per-thread block of the Itanium C++ ABI (2.2.2, __cxa_eh_globals).
struct eh_globals {
  void* caught_exceptions = nullptr;
  unsigned uncaught_exceptions = 0;
};

/// Where this thread keeps what travels with a fiber.
struct thread_words {
  eh_globals* exceptions = nullptr;
  int* error_number = nullptr;
};

/// Of the calling thread, whichever that is now. Never inlined.
thread_words this_thread_words() noexcept;

struct fiber_state {
  arch::context context;
  eh_globals exceptions;
  arch::control_words control;
  int error_number = 0;

  // What the tools need to know; filled in by created() and adopt_thread().
  const void* stack_low = nullptr;
  std::size_t stack_size = 0;
  void* tsan_fiber = nullptr;
  void* asan_fake_stack = nullptr;
  unsigned valgrind_stack = 0;
};

enum class leave { parks, ends };

/// The state of a fiber that has not run: entry(arg, passed) on the stack [low, low + size). Its
/// exception state is empty, its errno 0, its control words the caller's. A state that was created
/// before and has ended may be created again: what tools held for it is taken back first.
void create(fiber_state& fresh, void* low, std::size_t size, void (*entry)(void* arg, void* passed),
            void* arg) noexcept;
/// Makes `ended`, which create() made and which has left for good, start once more: entry(arg,
/// passed), from `top` on, an address within its stack.
void restart(fiber_state& ended, void* top, void (*entry)(void* arg, void* passed),
             void* arg) noexcept;
/// The same for the fiber that stands for the calling thread on the thread's own stack.
void adopt_thread(fiber_state& self) noexcept;
/// Takes the tools' handles back. By another fiber than `dead`, when that has left for good; or by
/// a thread of its own adopted fiber.
void destroy(fiber_state& dead) noexcept;

/// The first call that a new fiber makes: its entry has arrived on its stack.
void arrived() noexcept;

/// The part of exchange_words() that is hardly ever needed.
void exchange_control_words(fiber_state& from, const fiber_state& to) noexcept;

/// Exchanges what the thread holds for `from` against what it shall hold for `to`.
[[gnu::always_inline]] inline void exchange_words(fiber_state& from, const fiber_state& to,
                                                  const thread_words& thread) noexcept {
  from.exceptions = *thread.exceptions;
  *thread.exceptions = to.exceptions;
  from.error_number = *thread.error_number;
  *thread.error_number = to.error_number;
  // Both: a `from` that changed its words must have them recorded, whatever `to` has.
  const auto sign = arch::read_control_sign();
  if (sign != to.control.sign() || sign != from.control.sign()) [[unlikely]] {
    exchange_control_words(from, to);
  }
}

#if SIGRUN_ASAN || SIGRUN_TSAN
#define SIGRUN_SWITCH_INLINE 0
void* switch_to(fiber_state& from, fiber_state& to, leave leaving, const thread_words& thread,
                void* pass = nullptr) noexcept;
#else
#define SIGRUN_SWITCH_INLINE 1
/// Leaves `from`, resumes `to` with `pass`, and returns when somebody resumes `from` again, with
/// what that one passed. With leave::ends it never returns, and `from` may be destroyed by whoever
/// runs next. `thread` is the calling thread's; on return another thread may be running.
[[gnu::always_inline]] inline void* switch_to(fiber_state& from, fiber_state& to,
                                              [[maybe_unused]] leave leaving,
                                              const thread_words& thread,
                                              void* pass = nullptr) noexcept {
  exchange_words(from, to, thread);
  return arch::switch_context(from.context, to.context, pass);
}
#endif

/// Calls f(arg) on the stack of `thread_fiber`, the parked fiber of the calling thread, for code
/// that needs a big stack; `self` is the running one. Returns after f, on the same thread; an
/// exception passes through. Neither f nor what it calls may switch.
void call_on_thread_stack(fiber_state& self, fiber_state& thread_fiber, void (*f)(void*),
                          void* arg);
/// Said by who has left such a call by a jump: the tools learn that `self` runs again.
void left_thread_stack(fiber_state& self, fiber_state& thread_fiber) noexcept;

}  // namespace sigrun::fiber
