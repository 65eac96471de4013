// SPDX-License-Identifier: Apache-2.0
#include "fiber/fiber.hpp"

#include "fiber/valgrind.hpp"

#if SIGRUN_ASAN
#include <pthread.h>
#endif
#include <cxxabi.h>
#include <cerrno>

namespace sigrun::fiber {

[[gnu::noinline]] thread_words this_thread_words() noexcept {
  thread_words here;
  here.exceptions = reinterpret_cast<eh_globals*>(abi::__cxa_get_globals());
  here.error_number = &errno;  // tidy: allow errno, the one place that looks its address up
  return here;
}

void create(fiber_state& fresh, void* low, std::size_t size, void (*entry)(void*, void*),
            void* arg) noexcept {
  if (fresh.stack_low != nullptr) destroy(fresh);
  fresh.context = arch::make_context(static_cast<std::byte*>(low) + size, entry, arg);
  fresh.control = arch::read_control_words();
  fresh.stack_low = low;
  fresh.stack_size = size;
  fresh.valgrind_stack = valgrind_register(low, size);
#if SIGRUN_TSAN
  fresh.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void restart(fiber_state& ended, void* top, void (*entry)(void*, void*), void* arg) noexcept {
  ended.context = arch::make_context(top, entry, arg);
  ended.exceptions = {};
  ended.error_number = 0;
  // Reading them is dear, and hardly anybody changes them.
  ended.control = {};
  if (arch::read_control_sign() != ended.control.sign()) ended.control = arch::read_control_words();
#if SIGRUN_TSAN
  __tsan_destroy_fiber(ended.tsan_fiber);
  ended.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void adopt_thread(fiber_state& self) noexcept {
  self = fiber_state{};
  self.control = arch::read_control_words();
#if SIGRUN_TSAN
  self.tsan_fiber = __tsan_get_current_fiber();
#endif
#if SIGRUN_ASAN
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    void* low = nullptr;
    pthread_attr_getstack(&attributes, &low, &self.stack_size);
    self.stack_low = low;
    pthread_attr_destroy(&attributes);
  }
#endif
}

void destroy(fiber_state& dead) noexcept {
  valgrind_deregister(dead.valgrind_stack);
#if SIGRUN_TSAN
  // The thread's own handle is the thread's; only made ones have a stack of ours.
  if (dead.stack_low != nullptr) __tsan_destroy_fiber(dead.tsan_fiber);
#endif
  dead = fiber_state{};
}

void arrived() noexcept {
#if SIGRUN_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

[[gnu::noinline, gnu::cold]] void exchange_control_words(fiber_state& from,
                                                         const fiber_state& to) noexcept {
  from.control = arch::read_control_words();
  arch::load_control_words(to.control);
}

#if !SIGRUN_SWITCH_INLINE
// Uninstrumented: __tsan_switch_to_fiber() changes the shadow call stack, so an instrumented
// function would leave on a different one than it entered on. clang 14 crashes on that.
[[gnu::noinline]] __attribute__((no_sanitize("thread"))) void* switch_to(
    fiber_state& from, fiber_state& to, [[maybe_unused]] leave leaving, const thread_words& thread,
    void* pass) noexcept {
  exchange_words(from, to, thread);
#if SIGRUN_ASAN
  // No slot to keep the fake stack in: ASan frees it.
  void** keep = leaving == leave::ends ? nullptr : &from.asan_fake_stack;
  __sanitizer_start_switch_fiber(keep, to.stack_low, to.stack_size);
  // The frames of a stack that ends never return, and would leave their red zones to its next use.
  if (leaving == leave::ends) __asan_unpoison_memory_region(from.stack_low, from.stack_size);
#endif
#if SIGRUN_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber, 0);  // 0: what ran before happens before what runs next
#endif
  void* passed = arch::sigrun_context_switch(&from.context, &to.context, pass);
#if SIGRUN_ASAN
  __sanitizer_finish_switch_fiber(from.asan_fake_stack, nullptr, nullptr);
#endif
  return passed;
}
#endif

#if SIGRUN_ASAN
namespace {

struct asan_call {
  fiber_state& self;
  fiber_state& thread_fiber;
  void (*f)(void*);
  void* arg;
};

/// Tells ASan of the way back, also when an exception takes it.
struct way_back {
  asan_call& call;
  ~way_back() {
    __sanitizer_start_switch_fiber(&call.thread_fiber.asan_fake_stack, call.self.stack_low,
                                   call.self.stack_size);
  }
};
struct back_again {
  fiber_state& self;
  ~back_again() { __sanitizer_finish_switch_fiber(self.asan_fake_stack, nullptr, nullptr); }
};

void on_thread_stack(void* argument) {
  auto& call = *static_cast<asan_call*>(argument);
  __sanitizer_finish_switch_fiber(call.thread_fiber.asan_fake_stack, nullptr, nullptr);
  const way_back guard{call};
  call.f(call.arg);
}

}  // namespace
#endif

void left_thread_stack([[maybe_unused]] fiber_state& self,
                       [[maybe_unused]] fiber_state& thread_fiber) noexcept {
#if SIGRUN_ASAN
  __sanitizer_start_switch_fiber(&thread_fiber.asan_fake_stack, self.stack_low, self.stack_size);
  __sanitizer_finish_switch_fiber(self.asan_fake_stack, nullptr, nullptr);
#endif
}

void call_on_thread_stack([[maybe_unused]] fiber_state& self, fiber_state& thread_fiber,
                          void (*f)(void*), void* arg) {
  // Right below the parked frame: who parked made a call, so nothing of it lies further down.
  void* top = thread_fiber.context.stack_pointer;
#if SIGRUN_ASAN
  asan_call call{self, thread_fiber, f, arg};
  __sanitizer_start_switch_fiber(&self.asan_fake_stack, thread_fiber.stack_low,
                                 thread_fiber.stack_size);
  const back_again guard{self};
  arch::sigrun_call_on_stack(on_thread_stack, &call, top);
#else
  arch::sigrun_call_on_stack(f, arg, top);
#endif
}

}  // namespace sigrun::fiber
