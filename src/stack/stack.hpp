// SPDX-License-Identifier: Apache-2.0
//
// Stacks for goroutines: address space is reserved by the slab and memory is taken by the touch.
//
//   slab      [ header | guard stack | guard stack | … ]   one mapping, 64 MiB or one stack
//   stack     the address space reserved for one; its lowest page is the guard
//
//              carve (guard installed)               release, memory kept
//   slab end ──────────────────────────▶ in use ──────────────────────────▶ warm
//                                          ▲  ▲ ◀────── allocate ─────────────┘
//                                          │  │        release beyond warm_max, memory given back
//                                          │  └──────────────────────────▶ cold
//                                          └───────────── allocate ──────────┘
//
//   (1) A slab is never unmapped: address space grows to the greatest need there was and stays, so
//       an address once inside a stack says so for ever, and find() needs no lock.
//   (2) Guards are made by madvise(MADV_GUARD_INSTALL), which costs no mapping of its own, or where
//       the kernel has none (before 6.13) by mprotect, which costs two: at most a quarter of
//       vm.max_map_count stacks get one. Those beyond have a tripwire instead: the page is never
//       used, and release() ends the process if it was touched.
//   (3) Sizes are powers of two, so that a released stack fits whoever asks next.
//   (4) Lists and slab headers hold all the allocator knows; a released stack is not written to.
#pragma once

#include "base/signal_safe.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::stack {

enum class guard_kind : std::uint8_t { installed, mapped, tripwire };

/// A stack in use: [low, top) may be used, the page below low is the guard.
struct stack_span {
  std::byte* low = nullptr;
  std::byte* top = nullptr;
  std::uint32_t id = 0;  // the allocator's number for it
  guard_kind guard = guard_kind::installed;

  std::size_t size() const noexcept { return static_cast<std::size_t>(top - low); }
};

/// What a stack reserves when nobody says otherwise, its guard included. A stack that has touched
/// one page costs that page and 128 bytes of page table. Instrumented frames are larger.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::size_t default_reserve = 256 * 1024;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr std::size_t default_reserve = 256 * 1024;
#else
inline constexpr std::size_t default_reserve = 64 * 1024;
#endif
#else
inline constexpr std::size_t default_reserve = 64 * 1024;
#endif
inline constexpr std::size_t min_reserve = 16 * 1024;
inline constexpr std::size_t max_reserve = std::size_t{1} << 30;

/// A stack of at least `reserve` bytes, guard included; 0 stands for the default. `low` is null
/// when the system gives no more memory or address space, or `reserve` is over max_reserve. What is
/// on it is unspecified. Any thread.
stack_span allocate(std::size_t reserve = 0) noexcept;

/// Takes it back. Some stay as they are, for the next allocate(); of the others the memory is given
/// back at once. Any thread but one that stands on it.
void release(const stack_span& span) noexcept;

/// Gives back the memory of what lies below `from`, rounded down to whole pages: for who keeps a
/// stack that may once have been deep. The guard stays.
void discard_below(const stack_span& span, const void* from) noexcept;

/// Bytes from the top down to the lowest page that holds memory: the most that was used since the
/// memory was last given back, by whomever had the stack. Swapped-out pages do not count.
std::size_t high_water(const stack_span& span) noexcept;

enum class place : std::uint8_t { elsewhere, guard, stack };

struct location {
  place where = place::elsewhere;
  stack_span span;  // the stack, resp. the one that the guard belongs to
};

/// Which stack of this allocator an address belongs to, in use or not.
SIGRUN_SIGNAL_SAFE location find(const void* address) noexcept;

struct statistics {
  std::size_t slabs = 0;
  std::size_t reserved_bytes = 0;  // address space of all slabs
  std::size_t carved = 0;          // stacks that ever were
  std::size_t in_use = 0;
  std::size_t warm = 0;  // released, memory kept
  std::size_t cold = 0;  // released, memory given back
  std::size_t guards_installed = 0;
  std::size_t guards_mapped = 0;
  std::size_t tripwires = 0;
};
statistics read_statistics() noexcept;

/// Released stacks of one size that keep their memory.
inline constexpr std::size_t warm_max = 256;

/// For tests: how the stacks that are carved from now on are guarded, as on an older kernel.
/// `mapped_max` bounds guards by mprotect; negative: by the system's limit.
void guard_by(guard_kind kind, long mapped_max) noexcept;

}  // namespace sigrun::stack
