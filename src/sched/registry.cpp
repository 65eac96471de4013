// SPDX-License-Identifier: Apache-2.0
#include "sched/registry.hpp"

#include <mutex>
#include <new>

namespace sigrun::sched {
namespace {

constinit g_registry instance;

}  // namespace

g_registry& all_gs() noexcept { return instance; }

bool g_registry::add(g* gp) noexcept {
  const std::lock_guard hold(lock_);
  std::uint32_t slot = used_;
  if (free_ != 0) {
    slot = free_ - 1;
    free_ = static_cast<std::uint32_t>(at(slot) >> 1);
  } else {
    if (slot / chunk_size == chunks_max) return false;
    std::uintptr_t*& chunk = chunks_[slot / chunk_size];
    if (chunk == nullptr) chunk = new (std::nothrow) std::uintptr_t[chunk_size]();
    if (chunk == nullptr) return false;
    ++used_;
  }
  at(slot) = reinterpret_cast<std::uintptr_t>(gp);
  gp->registry_slot = slot;
  return true;
}

void g_registry::remove(g* gp) noexcept {
  const std::lock_guard hold(lock_);
  const std::uint32_t slot = gp->registry_slot;
  at(slot) = std::uintptr_t{free_} << 1 | 1;
  free_ = slot + 1;
}

void g_registry::change(g* gp, void (*how)(g*, void*), void* arg) {
  const std::lock_guard hold(lock_);
  how(gp, arg);
}

void g_registry::for_each(void (*visit)(const g*, void*), void* arg) {
  const std::lock_guard hold(lock_);
  for (std::uint32_t slot = 0; slot < used_; ++slot) {
    const std::uintptr_t word = at(slot);
    if ((word & 1) != 0) continue;
    const g* const gp = reinterpret_cast<const g*>(word);
    const g_state state = gp->state.load(std::memory_order_acquire);
    if (state != g_state::free && state != g_state::dead) visit(gp, arg);
  }
}

}  // namespace sigrun::sched
