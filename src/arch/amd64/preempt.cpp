// SPDX-License-Identifier: Apache-2.0
#include "arch/preempt.hpp"

#include <cpuid.h>

#include <atomic>
#include <cstdint>

// Read by name in preempt.S.
extern "C" {
[[gnu::visibility("hidden"), gnu::used]] constinit std::uint64_t sigrun_xsave_size = 0;
[[gnu::visibility("hidden"), gnu::used]] constinit std::uint64_t sigrun_xsave_features = 0;
}

namespace sigrun::arch {
namespace {

constexpr std::uint64_t red_zone = 128;
// The pc, rbp, the flags and 14 registers, up to 63 bytes lost to alignment, and the call.
constexpr std::size_t pushed = red_zone + 17 * 8 + 63 + 8;

constinit std::atomic<std::size_t> known{0};

}  // namespace

// Intel SDM volume 1, 13.2: leaf 0xd says what XCR0 enables and how large that is.
std::size_t preemption_frame() noexcept {
  if (const std::size_t frame = known.load(std::memory_order_acquire)) return frame;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned osxsave = 1U << 27;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0) return 0;
  if (__get_cpuid_count(0xd, 0, &a, &b, &c, &d) == 0) return 0;
  sigrun_xsave_features = static_cast<std::uint64_t>(d) << 32 | a;
  sigrun_xsave_size = b;
  known.store(pushed + b, std::memory_order_release);
  return pushed + b;
}

bool inject_preemption(siginfo_t&, ucontext_t& context, std::size_t) noexcept {
  auto& registers = context.uc_mcontext.gregs;
  const auto sp = static_cast<std::uint64_t>(registers[REG_RSP]) - red_zone - 8;
  *reinterpret_cast<std::uint64_t*>(sp) = static_cast<std::uint64_t>(registers[REG_RIP]);
  registers[REG_RSP] = static_cast<greg_t>(sp);
  registers[REG_RIP] = reinterpret_cast<greg_t>(&sigrun_async_preempt);
  return true;
}

}  // namespace sigrun::arch
