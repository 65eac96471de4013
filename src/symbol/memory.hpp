// SPDX-License-Identifier: Apache-2.0
//
// Reading memory that may not be there, as a walk over a damaged stack does. The kernel is asked
// once for each page: rt_sigprocmask(2) copies eight bytes from the address before it finds that
// `how` is no number it knows, so it answers EINVAL for memory and EFAULT for none, changes
// nothing, and is a call that no seccomp filter forbids. Guard pages of either kind are EFAULT.
//
// Another thread may unmap the page between the question and the read: then the read faults, and
// whoever reads in a crash has a second fault, which the crash handler ends the process by.
#pragma once

#include "base/signal_safe.hpp"
#include "sys/syscall.hpp"

#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace sigrun::symbol {

inline constexpr std::uint64_t page_size = 4096;  // the least there is; larger ones only ask more

/// Whether the page that holds `address` can be read now.
SIGRUN_SIGNAL_SAFE inline bool readable_page(std::uint64_t address) noexcept {
  const std::uint64_t page = address & ~(page_size - 1);
  return page != 0 && sys::call(SYS_rt_sigprocmask, ~0L, page, nullptr, 8) != -EFAULT;
}

class memory {
 public:
  /// [low, high) is known to be readable, and is not asked about.
  SIGRUN_SIGNAL_SAFE memory(std::uint64_t low, std::uint64_t high) noexcept
      : low_(low), high_(high) {}
  SIGRUN_SIGNAL_SAFE memory() noexcept : memory(0, 0) {}

  /// False: it cannot be read.
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE bool load(std::uint64_t address,
                                                      std::uint64_t& out) noexcept {
    if (!covers(address, sizeof out)) return false;
    __builtin_memcpy(&out, reinterpret_cast<const void*>(address), sizeof out);
    return true;
  }
  SIGRUN_SIGNAL_SAFE bool covers(std::uint64_t address, std::size_t size) noexcept {
    if (address > UINT64_MAX - size) return false;
    if (address >= low_ && address + size <= high_) return true;
    return covers_page(address) && covers_page(address + size - 1);
  }

 private:
  bool covers_page(std::uint64_t address) noexcept {
    const std::uint64_t page = address & ~(page_size - 1);
    if (page == known_) return true;
    if (!readable_page(page)) return false;
    known_ = page;
    return true;
  }

  std::uint64_t low_;
  std::uint64_t high_;
  std::uint64_t known_ = 1;  // no page begins there
};

}  // namespace sigrun::symbol
