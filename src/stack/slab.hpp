// SPDX-License-Identifier: Apache-2.0
//
// What the allocator and the look-up by address share.
#pragma once

#include "stack/guard.hpp"
#include "stack/stack.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::stack {

inline constexpr std::uint32_t slab_max = 65536;
inline constexpr unsigned id_shift = 12;  // an id is the slab's number and 12 bits of index

/// At the head of each slab; behind it one entry for each stack.
struct slab {
  struct entry {
    std::uint32_t next;  // in the list of released stacks, by id
    guard_kind guard;
  };

  std::uint32_t number;
  std::uint32_t count;   // of stacks that fit
  std::uint32_t carved;  // of stacks that were handed out
  unsigned size_class;
  std::byte* first;  // lowest address of stack 0, its guard

  [[gnu::always_inline]] entry* entries() noexcept { return reinterpret_cast<entry*>(this + 1); }
  [[gnu::always_inline]] const entry* entries() const noexcept {
    return reinterpret_cast<const entry*>(this + 1);
  }
  [[gnu::always_inline]] std::size_t reserve() const noexcept {
    return std::size_t{1} << size_class;
  }
  [[gnu::always_inline]] std::byte* end() const noexcept {
    return first + std::size_t{count} * reserve();
  }
};

// Written under the allocator's lock. find() reads without it: an entry is stored once, before the
// count that includes it, and its slab is complete then. Plain words with atomic builtins, because
// std::atomic's members would be weak functions in a file of other flags.
extern slab* slab_table[slab_max];
extern std::uint32_t slab_count;

[[gnu::always_inline]] inline stack_span span_of(const slab& of, std::uint32_t index) noexcept {
  stack_span span;
  std::byte* const base = of.first + std::size_t{index} * of.reserve();
  span.low = base + page_size();
  span.top = base + of.reserve();
  span.id = of.number << id_shift | index;
  span.guard = of.entries()[index].guard;
  return span;
}

}  // namespace sigrun::stack
