// SPDX-License-Identifier: Apache-2.0
//
// Where exceptions are thrown. By the time that std::terminate() is called for one that left a
// goroutine or met a noexcept, the stack below is unwound. So __cxa_throw is ours: it notes the
// stack, and calls the C++ library's.
//
//   (1) The definition is weak. With a shared libstdc++ it stands before the library's; where that
//       is linked statically, the library's strong one wins, and nothing is noted. The reference to
//       __cxa_init_primary_exception has the linker take that object in any case.
//   (2) Until note_throw_sites() it costs a load and a jump.
//   (3) A slot is written by who finds it free; a throw that finds it taken by another thread is
//       not noted.
#include "crash/terminate.hpp"
#include "fiber/sanitizer.hpp"

#include <cxxabi.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <exception>

namespace sigrun::crash {
namespace {

constexpr std::size_t slots = 128;
constexpr std::size_t frames_kept = 32;

struct site {
  std::atomic<bool> busy{false};
  const void* object = nullptr;
  std::size_t count = 0;
  bool more = false;
  symbol::frame frames[frames_kept];
};

constinit std::atomic<bool> noting{false};
constinit site sites[slots]{};

site& site_of(const void* object) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  return sites[(address >> 4 ^ address >> 12) % slots];
}

[[maybe_unused]] void note(const void* object, const symbol::registers& from) noexcept {
  site& to = site_of(object);
  if (to.busy.exchange(true, std::memory_order_acquire)) return;  // (3)
  to.object = object;
  to.count = symbol::walk(from, symbol::memory{}, to.frames, frames_kept, to.more);
  to.busy.store(false, std::memory_order_release);
}

}  // namespace

void note_throw_sites(bool on) noexcept { noting.store(on, std::memory_order_relaxed); }

bool find_throw_site(const void* object, report::stack_trace& out) noexcept {
  site& from = site_of(object);
  if (object == nullptr || from.busy.exchange(true, std::memory_order_acquire)) return false;
  const bool found = from.object == object;
  if (found) {
    out.count = from.count;
    out.more = from.more;
    for (std::size_t i = 0; i < from.count; ++i) out.frames[i] = from.frames[i];
  }
  from.busy.store(false, std::memory_order_release);
  return found;
}

}  // namespace sigrun::crash

// The sanitizers have a __cxa_throw of their own, which must be called.
#if !SIGRUN_ASAN && !SIGRUN_TSAN && defined(__GLIBCXX__)

using namespace sigrun;  // NOLINT: one function, and C linkage keeps it outside

namespace __cxxabiv1 {
struct __cxa_refcounted_exception;
extern "C" __cxa_refcounted_exception* __cxa_init_primary_exception(void*, std::type_info*,
                                                                    void (*)(void*)) noexcept;
}  // namespace __cxxabiv1

using throw_function = void (*)(void*, std::type_info*, void (*)(void*));

extern "C" [[gnu::weak, gnu::noinline]] void __cxa_throw(void* object, std::type_info* type,
                                                         void (*destroy)(void*)) {
  static constinit std::atomic<throw_function> real{nullptr};
  if (crash::noting.load(std::memory_order_relaxed)) crash::note(object, symbol::registers_here());
  throw_function next = real.load(std::memory_order_acquire);
  if (next == nullptr) {
    next = reinterpret_cast<throw_function>(::dlsym(RTLD_NEXT, "__cxa_throw"));
    if (next == nullptr) {
      static_cast<void>(&__cxxabiv1::__cxa_init_primary_exception);  // (1)
      std::terminate();
    }
    real.store(next, std::memory_order_release);
  }
  next(object, type, destroy);
  __builtin_unreachable();
}

#endif
