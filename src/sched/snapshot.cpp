// SPDX-License-Identifier: Apache-2.0
#include "sched/snapshot.hpp"

#include "sched/registry.hpp"
#include "sched/scheduler.hpp"

namespace sigrun::sched {

std::uint32_t g_slots() noexcept { return all_gs().slots(); }

bool look_at_g(std::uint32_t slot, g_view& out) noexcept {
  const g* const gp = all_gs().peek(slot);
  return gp != nullptr && look_at_g(gp, out);
}

bool look_at_g(const g* gp, g_view& out) noexcept {
  out.self = gp;
  out.state = gp->state.load(std::memory_order_acquire);
  if (out.state == g_state::free || out.state == g_state::dead) return false;
  out.id = gp->id;
  out.parent_id = gp->parent_id;
  out.created_at = gp->created_at;
  out.why = gp->why.load(std::memory_order_relaxed);
  out.on = gp->on.load(std::memory_order_relaxed);
  out.since_ns = gp->since_ns.load(std::memory_order_relaxed);
  out.locked = static_cast<machine*>(gp->locked) != nullptr;
  out.deferred_signals = gp->deferred_signals.load(std::memory_order_relaxed);
  out.labels = __atomic_load_n(&gp->labels, __ATOMIC_RELAXED);
  out.parked_at = __atomic_load_n(&gp->fiber.context.stack_pointer, __ATOMIC_RELAXED);
  out.stack_low = reinterpret_cast<std::uint64_t>(gp->stack.low);
  out.stack_top = reinterpret_cast<std::uint64_t>(gp->stack.top);
  gp->name.get(out.name);
  out.name[name_room - 1] = '\0';
  return true;
}

bool still_there(const g_view& seen) noexcept {
  return seen.self->id == seen.id &&
         seen.self->state.load(std::memory_order_acquire) == seen.state &&
         seen.self->since_ns.load(std::memory_order_relaxed) == seen.since_ns &&
         __atomic_load_n(&seen.self->fiber.context.stack_pointer, __ATOMIC_RELAXED) ==
             seen.parked_at;
}

bool has_landed(const g* gp) noexcept {
  for (const machine* m = first_machine(); m != nullptr; m = m->next) {
    if (__atomic_load_n(&m->left, __ATOMIC_RELAXED) != gp) continue;
    after todo;
    __atomic_load(&m->todo, &todo, __ATOMIC_RELAXED);  // clang takes no enum in the other form
    if (todo != after::nothing) return false;
  }
  return true;
}

const char* state_text(const g_view& seen) noexcept {
  switch (seen.state) {
    case g_state::running:
      return "running";
    case g_state::runnable:
      return "runnable";
    case g_state::waiting:
    case g_state::foreign:
      return wait_reason_text(seen.why);
    case g_state::free:
    case g_state::dead:
      break;
  }
  return "dead";
}

const machine* first_machine() noexcept {
  return __atomic_load_n(&the_scheduler().all_ms, __ATOMIC_ACQUIRE);
}

const machine* machine_of(const g* gp) noexcept {
  for (const machine* m = first_machine(); m != nullptr; m = m->next) {
    if (__atomic_load_n(&m->current, __ATOMIC_RELAXED) == gp && m->tid != 0) return m;
  }
  return nullptr;
}

const g* g_of_this_thread() noexcept {
  const machine* const m = current_machine();
  return m != nullptr ? m->current : nullptr;
}

}  // namespace sigrun::sched
