// SPDX-License-Identifier: Apache-2.0
//
// Functions that may be switched away at any instruction.
//
//   SIGRUN_PREEMPTIBLE double integrate(const double* x, std::size_t n) { … }
//
// A goroutine that computes for 10 ms while others wait loses its processor; elsewhere that takes a
// thread of its own, here it just steps aside and goes on later, perhaps on another thread, every
// register as it was. The compiler does not know: see below for what such a function must not do.
// The whole of it is docs/preemption.md.
#pragma once

/// Marks a function, at its definition. It is compiled into a section of its own, and never
/// inlined. While the processor is inside it (and in whatever the compiler has inlined into it; not
/// in functions that it calls, unless they are marked too) the goroutine may be stopped between any
/// two instructions. Therefore it must not
///   - use thread_local variables, errno, or a pointer to either: a compiler keeps their addresses
///     across the stop, and the goroutine may go on on another thread;
///   - hold a lock of the thread, such as std::mutex, around such code: another goroutine that
///     wants it would block its thread until this one is run again.
///
/// It may call anything, allocate, throw and catch, and block on what this library offers. Meant
/// for functions with static storage: ordinary ones, members defined outside of their class, and
/// lambdas (`[] SIGRUN…` has no place for it: write `[](int n) SIGRUN_PREEMPTIBLE { … }`).
///
/// g++ refuses it for an inline function ("section type conflict") and ignores it for a template;
/// clang takes both. Where it is ignored the function is handled as any other. See
/// sigrun::is_preemptible().
#if defined(__clang__)
#define SIGRUN_PREEMPTIBLE __attribute__((section("sigrun_preemptible"), noinline))
#else
#define SIGRUN_PREEMPTIBLE __attribute__((section("sigrun_preemptible"), noinline, noclone))
#endif

namespace sigrun {

/// Whether the instruction at `code`, an address in the program or library that Sigrun is linked
/// into, belongs to a function marked SIGRUN_PREEMPTIBLE that the scheduler will preempt. False in
/// a build with ThreadSanitizer and on a processor without XSAVE, where nothing is.
bool is_preemptible(const void* code) noexcept;
template <class R, class... A>
bool is_preemptible(R (*function)(A...)) noexcept {
  return is_preemptible(reinterpret_cast<const void*>(function));
}

}  // namespace sigrun
