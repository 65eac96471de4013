// SPDX-License-Identifier: Apache-2.0
//
// The one part of the allocator that runs in handlers; compiled like the signal-safe zone.
#include "stack/slab.hpp"

namespace sigrun::stack {

location find(const void* address) noexcept {
  const auto* const at = static_cast<const std::byte*>(address);
  const std::uint32_t count = __atomic_load_n(&slab_count, __ATOMIC_ACQUIRE);  // pairs: map_slab
  for (std::uint32_t i = 0; i < count; i++) {
    const slab& of = *slab_table[i];
    if (at < of.first || at >= of.end()) continue;
    const auto offset = static_cast<std::size_t>(at - of.first);
    location found;
    found.span = span_of(of, static_cast<std::uint32_t>(offset / of.reserve()));
    found.where = offset % of.reserve() < page_size() ? place::guard : place::stack;
    return found;
  }
  return {};
}

}  // namespace sigrun::stack
