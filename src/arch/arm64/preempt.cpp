// SPDX-License-Identifier: Apache-2.0
//
// The kernel's frame (linux arch/arm64/kernel/signal.c, struct rt_sigframe) is a siginfo and a
// ucontext, whose last 4096 bytes hold records of a magic number and a size each. When they do not
// suffice, one of them, the extra_context, points to more, right behind the record that ends the
// list; rt_sigreturn(2) insists on that place.
#include "arch/preempt.hpp"

#include "arch/syscall.hpp"

#include <sys/syscall.h>

#include <cstdint>

extern "C" {
// How the injected call ends; see preempt.S.
void sigrun_preempt_sigreturn() noexcept;
// What is injected. `frame` is the copy, right above.
void sigrun_arm64_preempted(void* frame) noexcept;
}

namespace sigrun::arch {

struct signal_frame {
  siginfo_t info;
  ucontext_t context;
};

namespace {

struct record {
  std::uint32_t magic;
  std::uint32_t size;
};
constexpr std::uint32_t extra_magic = 0x45585401;  // linux asm/sigcontext.h
constexpr std::uint32_t sve_magic = 0x53564501;
constexpr std::uint32_t za_magic = 0x54366345;
struct extra_record {
  record head;
  std::uint64_t data;
  std::uint32_t data_size;
  std::uint32_t reserved[3];
};
struct vector_record {
  record head;
  std::uint16_t vector_length;
  std::uint16_t flags;
  std::uint16_t reserved[2];
};
constexpr std::uint16_t streaming_flag = 1;  // of an SVE record
constexpr std::uint32_t btype_mask = 3U << 10;
constexpr std::uint64_t stack_align = 16;

extra_record* find_extra(std::uint64_t first, std::uint64_t end) noexcept {
  for (std::uint64_t at = first; at + sizeof(record) <= end;) {
    auto* const head = reinterpret_cast<record*>(at);
    if (head->magic == extra_magic) return reinterpret_cast<extra_record*>(at);
    if (head->size < sizeof(record)) return nullptr;
    at += head->size;
  }
  return nullptr;
}

// Whether the records from `first` on say that code of the ordinary kind cannot be called.
bool streams(std::uint64_t first, std::uint64_t end) noexcept {
  for (std::uint64_t at = first; at + sizeof(record) <= end;) {
    const auto* const head = reinterpret_cast<const record*>(at);
    if (head->size < sizeof(record)) return false;
    const auto* const vectors = reinterpret_cast<const vector_record*>(at);
    if (head->magic == sve_magic && (vectors->flags & streaming_flag) != 0) return true;
    if (head->magic == za_magic && head->size > sizeof(vector_record)) return true;
    at += head->size;
  }
  return false;
}

// Word by word: what a handler calls must not be instrumented, and memcpy may be.
void copy_words(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) noexcept {
  for (std::uint64_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
    *reinterpret_cast<std::uint64_t*>(to + i) = *reinterpret_cast<const std::uint64_t*>(from + i);
    asm volatile("" ::: "memory");
  }
}

}  // namespace

std::size_t preemption_frame() noexcept { return sizeof(signal_frame) + stack_align; }

bool inject_preemption(siginfo_t& info, ucontext_t& context, std::size_t room) noexcept {
  auto& machine = context.uc_mcontext;
  const auto from = reinterpret_cast<std::uint64_t>(&info);
  if (from + offsetof(signal_frame, context) != reinterpret_cast<std::uint64_t>(&context)) {
    return false;
  }
  const auto records = reinterpret_cast<std::uint64_t>(&machine.__reserved);
  const std::uint64_t end = from + sizeof(signal_frame);
  if (streams(records, end)) return false;
  std::uint64_t size = sizeof(signal_frame);
  const extra_record* const extra = find_extra(records, end);
  if (extra != nullptr) {
    if (extra->data < from || streams(extra->data, extra->data + extra->data_size)) return false;
    const std::uint64_t with_extra = extra->data + extra->data_size - from;
    if (with_extra > size) size = with_extra;
  }
  if (size + stack_align > room) return false;
  const std::uint64_t to = (machine.sp - size) & ~(stack_align - 1);
  copy_words(to, from, size);
  if (extra != nullptr) {
    auto* const copy =
        reinterpret_cast<extra_record*>(to + (reinterpret_cast<std::uint64_t>(extra) - from));
    copy->data = to + (extra->data - from);
  }
  machine.sp = to;
  machine.regs[0] = to;
  machine.regs[30] = reinterpret_cast<std::uint64_t>(&sigrun_preempt_sigreturn);
  machine.pc = reinterpret_cast<std::uint64_t>(&sigrun_arm64_preempted);
  machine.pstate &= ~std::uint64_t{btype_mask};  // else a landing pad would be expected there
  return true;
}

}  // namespace sigrun::arch

// On the interrupted stack. Signals stay out from where the mask is read to where it is put back: a
// handler in between might edit it.
extern "C" void sigrun_arm64_preempted(void* raw_frame) noexcept {
  sigrun::arch::sigrun_preempted();
  auto& context = static_cast<sigrun::arch::signal_frame*>(raw_frame)->context;
  const std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t mask = 0;
  sigrun_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all),
                  reinterpret_cast<long>(&mask), sizeof mask, 0, 0);
  sigrun_syscall6(SYS_sigaltstack, 0, reinterpret_cast<long>(&context.uc_stack), 0, 0, 0, 0);
  *reinterpret_cast<std::uint64_t*>(&context.uc_sigmask) = mask;
}
