// SPDX-License-Identifier: Apache-2.0
#include "stack/stack.hpp"

#include "base/expect.hpp"
#include "stack/guard.hpp"
#include "stack/slab.hpp"
#include "sys/lock.hpp"
#include "sys/syscall.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <bit>
#include <mutex>

namespace sigrun::stack {

constinit slab* slab_table[slab_max] = {};
constinit std::uint32_t slab_count = 0;

namespace {

constexpr std::size_t slab_bytes = std::size_t{64} << 20;
static_assert(slab_bytes / min_reserve <= std::size_t{1} << id_shift);
constexpr unsigned class_min = std::countr_zero(min_reserve);
constexpr unsigned class_max = std::countr_zero(max_reserve);
constexpr std::uint32_t nobody = ~std::uint32_t{0};

/// The stacks of one size, as a list of ids.
struct id_list {
  std::uint32_t head = nobody;
  std::size_t length = 0;
};
struct size_class_state {
  slab* current = nullptr;
  id_list warm;
  id_list cold;
};

constinit sys::short_lock lock;
constinit std::array<size_class_state, class_max - class_min + 1> classes{};
constinit statistics counts{};

std::size_t round_up(std::size_t value, std::size_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

slab& slab_of(std::uint32_t id) noexcept { return *slab_table[id >> id_shift]; }

void push(id_list& list, std::uint32_t id) noexcept {
  slab_of(id).entries()[id & ((1u << id_shift) - 1)].next = list.head;
  list.head = id;
  list.length++;
}

/// Maps a slab for stacks of one size: a full one, or when that is refused (RLIMIT_AS, strict
/// overcommit) half of it, and so on down to one stack. nullptr: not even that.
slab* map_slab(unsigned size_class) noexcept {
  const std::uint32_t number = slab_count;
  if (number == slab_max) return nullptr;
  const std::size_t reserve = std::size_t{1} << size_class;
  for (std::size_t count = reserve < slab_bytes ? slab_bytes / reserve : 1; count != 0;
       count /= 2) {
    const std::size_t head = round_up(sizeof(slab) + count * sizeof(slab::entry), page_size());
    const std::size_t bytes = head + count * reserve;
    const long mapped = sys::call(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (sys::failed(mapped)) continue;
    // A huge page would commit 2 MiB for one touched byte. Refused where there are none.
    sys::call(SYS_madvise, mapped, bytes, MADV_NOHUGEPAGE);
    sys::call(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapped, bytes, "sigrun-stacks");
    auto* const fresh = reinterpret_cast<slab*>(mapped);
    fresh->number = number;
    fresh->count = static_cast<std::uint32_t>(count);
    fresh->carved = 0;
    fresh->size_class = size_class;
    fresh->first = reinterpret_cast<std::byte*>(mapped) + head;
    slab_table[number] = fresh;
    __atomic_store_n(&slab_count, number + 1, __ATOMIC_RELEASE);  // pairs with find()
    counts.slabs++;
    counts.reserved_bytes += bytes;
    return fresh;
  }
  return nullptr;
}

stack_span take(id_list& list) noexcept {
  const std::uint32_t id = list.head;
  slab& of = slab_of(id);
  const std::uint32_t index = id & ((1u << id_shift) - 1);
  list.head = of.entries()[index].next;
  list.length--;
  return span_of(of, index);
}

stack_span carve(size_class_state& state, unsigned size_class) noexcept {
  if (state.current == nullptr || state.current->carved == state.current->count) {
    slab* const fresh = map_slab(size_class);
    if (fresh == nullptr) return {};
    state.current = fresh;
  }
  slab& from = *state.current;
  const std::uint32_t index = from.carved++;
  const guard_kind guard = install_guard(from.first + std::size_t{index} * from.reserve());
  from.entries()[index].guard = guard;
  counts.carved++;
  counts.guards_installed += guard == guard_kind::installed;
  counts.guards_mapped += guard == guard_kind::mapped;
  counts.tripwires += guard == guard_kind::tripwire;
  return span_of(from, index);
}

void discard(const std::byte* low, const std::byte* high) noexcept {
  if (low < high) sys::call(SYS_madvise, low, high - low, MADV_DONTNEED);
}

}  // namespace

stack_span allocate(std::size_t reserve) noexcept {
  if (reserve == 0) reserve = default_reserve;
  // A page of 64 KiB (arm64) must leave something beside the guard.
  if (reserve < min_reserve) reserve = min_reserve;
  if (reserve < 4 * page_size()) reserve = 4 * page_size();
  if (reserve > max_reserve) return {};
  const auto size_class = static_cast<unsigned>(std::bit_width(reserve - 1));
  size_class_state& state = classes[size_class - class_min];
  const std::lock_guard hold(lock);
  stack_span span;
  if (state.warm.length != 0) {
    span = take(state.warm);
    counts.warm--;
  } else if (state.cold.length != 0) {
    span = take(state.cold);
    counts.cold--;
  } else {
    span = carve(state, size_class);
  }
  counts.in_use += span.low != nullptr;
  return span;
}

void release(const stack_span& span) noexcept {
  if (span.guard == guard_kind::tripwire) {
    base::expect(!touched(span.low - page_size()), "a stack without a guard page has overflowed");
  }
  const slab& of = slab_of(span.id);
  size_class_state& state = classes[of.size_class - class_min];
  {
    const std::lock_guard hold(lock);
    if (state.warm.length < warm_max) {
      push(state.warm, span.id);
      counts.warm++;
      counts.in_use--;
      return;
    }
  }
  discard(span.low, span.top);
  const std::lock_guard hold(lock);
  push(state.cold, span.id);
  counts.cold++;
  counts.in_use--;
}

void discard_below(const stack_span& span, const void* from) noexcept {
  const auto page = reinterpret_cast<std::uintptr_t>(from) & ~(page_size() - 1);
  discard(span.low, reinterpret_cast<const std::byte*>(page));
}

std::size_t high_water(const stack_span& span) noexcept {
  const std::byte* const lowest = lowest_touched(span.low, span.top);
  return static_cast<std::size_t>(span.top - lowest);
}

statistics read_statistics() noexcept {
  const std::lock_guard hold(lock);
  return counts;
}

void guard_by(guard_kind kind, long mapped_max) noexcept {
  const std::lock_guard hold(lock);
  choose_guard(kind, mapped_max);
}

}  // namespace sigrun::stack
