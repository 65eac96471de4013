// SPDX-License-Identifier: Apache-2.0
//
// How atomic_value knows that nobody reads an old version: hazard pointers whose readers have no
// barrier, because the rare writer makes all of them have one (membarrier(2)).
//
//   version:  current ──store──▶ retired ──nobody reads it──▶ destroyed
//   slot:     empty ──enter, by the thread that has the block──▶ names a version
//               ▲                                                   │
//               └──────── leave, by whoever holds the snapshot ─────┘
//
//   (1) Only the thread that has a block fills its slots, only the snapshot that a slot was given
//       to empties it. So neither needs more than a load and a store.
//   (2) A reader names the version first and then looks whether it is still current; a writer
//       takes it out of current, has every thread pass a barrier, and then looks at the slots. So
//       one of the two sees the other, and what a slot does not name is not read. A slot may name
//       a version that was destroyed, for the moment until its reader finds out: sweep() compares
//       addresses and follows none.
//   (3) Whoever finds a retired version named sets `asked` in the slot, has every thread pass a
//       barrier, and looks again; the reader empties the slot and then looks at `asked`. So one
//       of the two sees the other, and the last reader comes here and destroys it.
//   (4) Blocks are never freed: a snapshot may empty its slot when the thread that filled it is
//       gone. A block that is taken over may have named slots; they are passed over.
//   (5) Versions are destroyed after the unlock: their destructors are user code.
//
// Without membarrier (old kernels, qemu-user) the flag `fence` is set in every slot, and readers
// have a barrier each.
#include <sigrun/atomic_value.hpp>
#include <sigrun/detail/wait_list.hpp>

#include "sys/syscall.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace sigrun::detail {
namespace {

constexpr std::uint32_t asked = 1;
constexpr std::uint32_t fence = 2;

struct alignas(64) slot_block {
  std::array<value_slot, 7> slots;
  slot_block* next = nullptr;  // of all blocks
  // In the free list; of a thread's block anything; itself: given up because it was full.
  slot_block* next_free = nullptr;
};
static_assert(sizeof(slot_block) == 128);

// All of it, and the links of the blocks, under the lock.
struct state {
  short_lock lock;
  std::array<value_version*, 64> retired{};  // by address, because slots are looked up here
  slot_block* blocks = nullptr;
  slot_block* free = nullptr;
  std::size_t count = 0;  // of blocks
  std::size_t fresh = 0;  // of them, made since the last search for some to use again
  bool known = false;     // whether `fenced` has been found out
  bool fenced = false;
};
constinit state domain;

// The block that the calling thread fills. Read in functions that are never inlined and never
// park, so no address of another thread's is ever used.
// tidy: allow thread_local, a call of an accessor would double what a load costs
[[gnu::tls_model("initial-exec")]] constinit thread_local slot_block* mine = nullptr;

long membarrier(int command) noexcept { return sys::call(SYS_membarrier, command, 0, 0); }

/// With the lock held. Every thread passes a full barrier, unless the readers have their own.
void barrier_for_all() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (domain.fenced || !domain.known) return;  // not known: there has never been a reader
  // A child made by fork has to register anew.
  if (!sys::failed(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))) return;
  membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

value_version*& bucket_of(const value_version* version) noexcept {
  // Neighbours of a size class differ in the bits from 4 or 5 on.
  const auto bits = reinterpret_cast<std::uintptr_t>(version);
  return domain.retired[(bits >> 4 ^ bits >> 10) % domain.retired.size()];
}

/// With the lock held: marks the retired versions that slots name, and asks those slots.
bool mark_named() noexcept {
  bool any = false;
  for (slot_block* block = domain.blocks; block != nullptr; block = block->next) {
    for (value_slot& slot : block->slots) {
      // acquire pairs with the release in value_leave: what the reader read comes before the end.
      const value_version* const name = slot.version.load(std::memory_order_acquire);
      if (name == nullptr) continue;
      value_version* v = bucket_of(name);
      while (v != nullptr && v != name) v = v->next;
      if (v == nullptr) continue;
      slot.flags.fetch_or(asked, std::memory_order_relaxed);
      v->named = any = true;
    }
  }
  return any;
}

/// With the lock held: takes out the retired versions that nobody reads.
value_version* sweep() noexcept {
  if (mark_named()) {
    for (value_version* v : domain.retired) {
      for (; v != nullptr; v = v->next) v->named = false;
    }
    barrier_for_all();  // (3)
    mark_named();
  }
  value_version* dead = nullptr;
  for (value_version*& bucket : domain.retired) {
    for (value_version** link = &bucket; *link != nullptr;) {
      value_version* const version = *link;
      if (std::exchange(version->named, false)) {
        link = &version->next;
        continue;
      }
      *link = version->next;
      version->next = dead;
      dead = version;
    }
  }
  return dead;
}

void destroy_all(value_version* dead) noexcept {
  while (dead != nullptr) {
    value_version* const version = dead;
    dead = version->next;
    version->destroy(version);
  }
}

// --------------------------------------------------------------------------------------- blocks

/// With the lock held: lists the blocks that have an empty slot and that no thread has.
void search_blocks() noexcept {
  domain.fresh = 0;
  for (slot_block* block = domain.blocks; block != nullptr; block = block->next) {
    if (block->next_free != block) continue;
    for (const value_slot& slot : block->slots) {
      if (slot.version.load(std::memory_order_acquire) != nullptr) continue;
      block->next_free = domain.free;
      domain.free = block;
      break;
    }
  }
}

/// With the lock held: whether readers need barriers is decided before there is one.
void find_out() noexcept {
  if (domain.known) return;
  domain.fenced = sys::failed(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
  domain.known = true;
}

slot_block* take_block() {
  {
    const std::lock_guard guard(domain.lock);
    find_out();
    // Searched after each doubling at most, so that it costs next to nothing per block.
    if (domain.free == nullptr && 2 * domain.fresh >= domain.count) search_blocks();
    if (slot_block* const block = domain.free) {
      domain.free = block->next_free;
      return block;
    }
  }
  auto* const block = new slot_block;
  const std::lock_guard guard(domain.lock);
  if (domain.fenced) {
    for (value_slot& slot : block->slots) slot.flags.store(fence, std::memory_order_relaxed);
  }
  block->next = domain.blocks;
  domain.blocks = block;
  ++domain.count;
  ++domain.fresh;
  return block;
}

/// Gives the thread's block to others when the thread ends.
struct block_owner {
  ~block_owner() {
    slot_block* const block = mine;
    mine = nullptr;
    if (block == nullptr) return;
    const std::lock_guard guard(domain.lock);
    block->next_free = domain.free;
    domain.free = block;
  }
};

[[gnu::noinline]] value_slot* claim_slowly() {
  // tidy: allow thread_local, its destructor is the end of the thread
  static thread_local block_owner owner;
  static_cast<void>(&owner);
  for (;;) {
    if (mine != nullptr) {
      for (value_slot& slot : mine->slots) {
        // acquire: pairs with value_leave on another thread.
        if (slot.version.load(std::memory_order_acquire) == nullptr) return &slot;
      }
      const std::lock_guard guard(domain.lock);
      mine->next_free = mine;
      mine = nullptr;
    }
    mine = take_block();
  }
}

[[gnu::always_inline]] inline value_slot* claim() {
  slot_block* const block = mine;
  if (block != nullptr) [[likely]] {
    value_slot& slot = block->slots[0];
    if (slot.version.load(std::memory_order_acquire) == nullptr) [[likely]]
      return &slot;
  }
  return claim_slowly();
}

}  // namespace

[[gnu::noinline]] value_read value_enter(const std::atomic<value_version*>& current) {
  value_slot* const slot = claim();
  // acquire pairs with the exchange that made it current: the value is there.
  const value_version* seen = current.load(std::memory_order_acquire);
  while (seen != nullptr) {
    slot->version.store(seen, std::memory_order_relaxed);
    if ((slot->flags.load(std::memory_order_relaxed) & fence) != 0) [[unlikely]] {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);  // (2): the writer's barrier does the rest
    const value_version* const now = current.load(std::memory_order_acquire);
    if (now == seen) [[likely]]
      return {seen, slot};
    seen = now;
  }
  value_leave(slot);
  return {nullptr, nullptr};
}

[[gnu::noinline]] value_slot* value_claim(const value_version* version) {
  value_slot* const slot = claim();
  value_hold(slot, version);
  return slot;
}

void value_hold(value_slot* slot, const value_version* version) noexcept {
  slot->version.store(version, std::memory_order_release);
}

void value_retire(value_version* version) noexcept {
  value_version* dead = nullptr;
  {
    const std::lock_guard guard(domain.lock);
    value_version*& bucket = bucket_of(version);
    version->next = bucket;
    bucket = version;
    barrier_for_all();  // (2)
    dead = sweep();
  }
  destroy_all(dead);
}

void value_left(value_slot* slot) noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // Another reader may have been given the slot meanwhile; that it was asked is then told here.
  if ((slot->flags.load(std::memory_order_relaxed) & asked) == 0) return;
  value_version* dead = nullptr;
  {
    const std::lock_guard guard(domain.lock);
    slot->flags.fetch_and(~asked, std::memory_order_relaxed);
    dead = sweep();
  }
  destroy_all(dead);
}

}  // namespace sigrun::detail
