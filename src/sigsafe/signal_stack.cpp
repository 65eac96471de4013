// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/signal_stack.hpp"

#include "sys/signal.hpp"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

namespace sigrun::sigsafe {
namespace {

constexpr std::uint64_t page = 4096;
// Our handlers need under 2 KiB (their frames, added up), and a walk over the faulting stack 8
// more; a chained foreign handler gets the rest.
constexpr std::uint64_t handlers_need = 60 * 1024;

}  // namespace

long make_signal_stack(thread_block& self) noexcept {
  stack_t present{};
  sys::sigaltstack(nullptr, &present);
  if ((present.ss_flags & SS_DISABLE) == 0) return 0;
  const std::uint64_t frame = getauxval(AT_MINSIGSTKSZ);
  const std::uint64_t usable = (frame + handlers_need + page - 1) / page * page;
  const long mapped = sys::call(SYS_mmap, nullptr, usable + page, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (sys::failed(mapped)) return mapped;
  if (const long guarded = sys::call(SYS_mprotect, mapped, page, PROT_NONE); sys::failed(guarded)) {
    sys::call(SYS_munmap, mapped, usable + page);
    return guarded;
  }
  sys::call(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapped, usable + page, "sigrun-gsignal");
  stack_t ours{};
  ours.ss_sp = reinterpret_cast<void*>(static_cast<std::uint64_t>(mapped) + page);
  ours.ss_size = usable;
  if (const long set = sys::sigaltstack(&ours, nullptr); sys::failed(set)) {
    sys::call(SYS_munmap, mapped, usable + page);
    return set;
  }
  self.stack_low = static_cast<const unsigned char*>(ours.ss_sp);
  self.stack_size = usable;
  return 0;
}

void free_signal_stack(thread_block& self) noexcept {
  if (self.stack_low == nullptr) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  sys::sigaltstack(&none, nullptr);
  sys::call(SYS_munmap, self.stack_low - page, self.stack_size + page);
  self.stack_low = nullptr;
  self.stack_size = 0;
}

}  // namespace sigrun::sigsafe
