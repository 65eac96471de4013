// SPDX-License-Identifier: Apache-2.0
#include "stack/guard.hpp"

#include "sys/file.hpp"
#include "sys/syscall.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <cerrno>
#include <ctime>

#include <array>

namespace sigrun::stack {
namespace {

constexpr int madv_guard_install = 102;  // linux 6.13; not in the headers of older systems
constexpr long map_count_default = 65530;

// Under the allocator's lock.
constinit guard_kind best = guard_kind::installed;
constinit long mapped_left = -1;  // negative: not yet asked

/// Does the kernel refuse to write there? Emulators take unknown advice for granted. The call is
/// one that Valgrind hands to the kernel without a look at the memory: it would fall over the
/// guard.
bool really_guarded(std::byte* page) noexcept {
  static constinit bool known = false;
  if (known) return true;
  known = sys::call(SYS_clock_getres, CLOCK_MONOTONIC, page) == -EFAULT;
  return known;
}

/// vm.max_map_count, as sysctl(8) has it.
long max_map_count() noexcept {
  const long fd =
      sys::call(SYS_openat, AT_FDCWD, "/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
  if (sys::failed(fd)) return map_count_default;
  std::array<char, 24> text{};
  const long length = sys::read(static_cast<int>(fd), text.data(), text.size());
  sys::close(static_cast<int>(fd));
  long value = 0;
  for (long i = 0; i < length; i++) {
    const char c = text[static_cast<std::size_t>(i)];
    if (c < '0' || c > '9') break;
    value = value * 10 + (c - '0');
    if (value > INT32_MAX) return INT32_MAX;
  }
  return value > 0 ? value : map_count_default;
}

}  // namespace

guard_kind install_guard(std::byte* page) noexcept {
  if (best == guard_kind::installed) {
    if (!sys::failed(sys::call(SYS_madvise, page, page_size(), madv_guard_install)) &&
        really_guarded(page)) {
      return guard_kind::installed;
    }
    best = guard_kind::mapped;
  }
  if (best == guard_kind::mapped) {
    // Each such guard splits a mapping in three. Half of the limit is left to the program.
    if (mapped_left < 0) mapped_left = max_map_count() / 4;
    if (mapped_left > 0 && !sys::failed(sys::call(SYS_mprotect, page, page_size(), PROT_NONE))) {
      mapped_left--;
      return guard_kind::mapped;
    }
    best = guard_kind::tripwire;
  }
  return guard_kind::tripwire;
}

void choose_guard(guard_kind kind, long mapped_max) noexcept {
  best = kind;
  mapped_left = mapped_max;
}

bool touched(const std::byte* page) noexcept {
  unsigned char resident = 0;
  return !sys::failed(sys::call(SYS_mincore, page, page_size(), &resident)) && (resident & 1) != 0;
}

const std::byte* lowest_touched(const std::byte* low, const std::byte* top) noexcept {
  std::array<unsigned char, 256> resident;
  const std::size_t page = page_size();
  while (low < top) {
    const auto left = static_cast<std::size_t>(top - low) / page;
    const std::size_t pages = left < resident.size() ? left : resident.size();
    if (sys::failed(sys::call(SYS_mincore, low, pages * page, resident.data()))) return top;
    for (std::size_t i = 0; i < pages; i++) {
      if ((resident[i] & 1) != 0) return low + i * page;
    }
    low += pages * page;
  }
  return top;
}

}  // namespace sigrun::stack
