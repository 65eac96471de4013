// SPDX-License-Identifier: Apache-2.0
//
// Gs come and go. Memory, from its top: the G, its closure, then the stack proper.
//
// `life` is where the exit meets the handle. The exit publishes after the G has left its stack, so
// who sees `over` may reuse it at once:
//
//            join: CAS                      exit: exchange
//   0 ───────────────────▶ a parker ───────────────────────▶ over, and the parker is woken
//   │ ──────────────────── exit: exchange ─────────────────▶ over
//   └─ detach: CAS ──▶ loose ───── exit: exchange ─────────▶ the exit frees it
//
// The handle frees it from `over`. When a goroutine joins, the exit takes it out of its parker
// before it leaves and runs it next: a parker ──▶ meeting ──▶ over, the second edge on the joiner's
// stack.
#include "base/expect.hpp"
#include "sched/free_gs.hpp"
#include "sched/park.hpp"
#include "sched/raise.hpp"
#include "sched/registry.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"

#include <sys/mman.h>

#include <mutex>
#include <new>

namespace sigrun::sched {
namespace {

constexpr std::uintptr_t over = 1;
constexpr std::uintptr_t loose = 2;
constexpr std::uintptr_t meeting = 3;   // the joiner has been taken out, and runs next
constexpr std::uint64_t id_block = 64;  // ids that a P takes at once
constexpr std::size_t colors = 8;
constexpr std::size_t color_step = 128;
void (*report_lost_error)(g*) noexcept = nullptr;

std::uintptr_t align_down(std::uintptr_t at, std::size_t align) noexcept {
  return at & ~(std::uintptr_t{align} - 1);
}

g* make_g(std::size_t stack_size) noexcept {
  const stack::stack_span span = stack::allocate(stack_size);
  if (span.low == nullptr) return nullptr;
  const auto top = reinterpret_cast<std::uintptr_t>(span.top);
  // All Gs at the same place of their pages would share a few cache sets: they are spread.
  const std::size_t shift = span.id % colors * color_step;
  auto* const gp = new (reinterpret_cast<void*>(align_down(top - sizeof(g) - shift, 64))) g;
  gp->stack = span;
  gp->cacheable = stack_size == 0;
  fiber::create(gp->fiber, span.low,
                static_cast<std::size_t>(reinterpret_cast<std::byte*>(gp) - span.low),
                &goroutine_main, gp);
  if (!all_gs().add(gp)) {
    gp->~g();
    stack::release(span);
    return nullptr;
  }
  return gp;
}

// Within a section with a P.
g* take_free(processor& p) noexcept {
  if (g* const gp = p.free.take()) return gp;
  p.free.filling = take_from_depot();
  return p.free.take();
}

std::uint64_t next_id(processor& p) noexcept {
  if (p.next_id == p.last_id) {
    p.next_id = the_scheduler().next_id.fetch_add(id_block, std::memory_order_relaxed);
    p.last_id = p.next_id + id_block;
  }
  return p.next_id++;
}

// The calling M in a section, if it is one and has a P; `inside` says whether it was in one before.
machine* section_if_any(bool& inside) noexcept {
  machine* const m = current_machine();
  if (m == nullptr) return nullptr;
  inside = m->busy.load(std::memory_order_relaxed) != 0;
  return (inside ? m->p != nullptr : try_enter(m)) ? m : nullptr;
}

}  // namespace

void unmake_g(g* gp) noexcept {
  all_gs().remove(gp);
  fiber::destroy(gp->fiber);
  const stack::stack_span span = gp->stack;
  gp->~g();
  stack::release(span);
}

g* new_g(const new_g_request& request) noexcept {
  bool inside = false;
  g* gp = nullptr;
  std::uint64_t id = 0;
  machine* const m = section_if_any(inside);
  if (m != nullptr) {
    if (request.stack_size == 0) gp = take_free(*m->p);
    id = next_id(*m->p);
    count(m->p->spawned);
    if (!inside) leave_section(m);
  } else {
    if (request.stack_size == 0) gp = take_one_from_depot();
    id = the_scheduler().next_id.fetch_add(1, std::memory_order_relaxed);
    the_scheduler().live.fetch_add(1, std::memory_order_relaxed);
  }
  if (gp == nullptr) gp = make_g(request.stack_size);
  if (gp == nullptr) {
    the_scheduler().live.fetch_sub(1, std::memory_order_relaxed);
    return nullptr;
  }
  gp->next = nullptr;
  gp->life.store(0, std::memory_order_relaxed);
  gp->id = id;
  const g* const parent = g_on(current_machine());
  gp->parent_id = parent != nullptr ? std::uint64_t{parent->id} : 0;
  gp->created_at = request.created_at;
  gp->trimmed = false;
  gp->faults = {};
  const auto below = reinterpret_cast<std::uintptr_t>(gp) - request.closure_size;
  gp->closure = reinterpret_cast<void*>(align_down(below, request.closure_align));
  return gp;
}

void start_g(g* gp, void (*entry)(void*) noexcept) noexcept {
  gp->entry = entry;
  fiber::restart(gp->fiber, gp->closure, &goroutine_main, gp);
  gp->since_ns.store(the_scheduler().coarse_ns.load(std::memory_order_relaxed),
                     std::memory_order_relaxed);
  ready(gp);
}

void abandon_g(g* gp) noexcept {
  gp->state.store(g_state::dead, std::memory_order_relaxed);
  the_scheduler().live.fetch_sub(1, std::memory_order_relaxed);
  recycle(gp);
}

namespace {

// In the section in which the M goes on after a G's end.
void count_end() noexcept {
  if (processor* const p = current_machine()->p) {
    count(p->ended);
  } else {
    the_scheduler().live.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace

// A goroutine that joins is run next, without a detour by any queue; life is nobody else's then.
g* take_joiner(g* gp) noexcept {
  const std::uintptr_t word = gp->life.load(std::memory_order_acquire);  // pairs with join_g's CAS
  if (word <= meeting) return nullptr;
  g* const joiner = reinterpret_cast<parker*>(word)->take();
  if (joiner != nullptr) gp->life.store(meeting, std::memory_order_relaxed);
  return joiner;
}

// On the M that the G has left, in a section.
void finish(g* gp) noexcept {
  gp->state.store(g_state::dead, std::memory_order_relaxed);
  if (gp->locked != nullptr) release_lock(gp);
  count_end();
  if (gp->life.load(std::memory_order_relaxed) == meeting) {
    gp->life.store(over, std::memory_order_release);  // its joiner runs already: it is this stack
    return;
  }
  const std::uintptr_t before = gp->life.exchange(over, std::memory_order_acq_rel);
  if (before == loose) {
    if (gp->error != nullptr) report_lost_error(gp);
    recycle(gp);
  } else if (before != 0) {
    reinterpret_cast<parker*>(before)->unpark();
  }
}

void recycle(g* gp) noexcept {
  forget_inbox(gp);
  gp->state.store(g_state::free, std::memory_order_relaxed);
  bool inside = false;
  machine* const m = section_if_any(inside);
  if (m == nullptr) {
    gp->cacheable ? give_one_to_depot(gp) : unmake_g(gp);
    return;
  }
  const bool cacheable = gp->cacheable;  // somebody else may have it when the section is over
  magazine surplus;
  if (cacheable) surplus = m->p->free.keep(gp);
  if (!inside) leave_section(m);
  if (!cacheable) unmake_g(gp);
  give_to_depot(surplus);
}

// ---------------------------------------------------------------------------------- the handle

bool ended(const g* gp) noexcept { return gp->life.load(std::memory_order_acquire) == over; }
bool detached(const g* gp) noexcept { return gp->life.load(std::memory_order_acquire) == loose; }

namespace {

struct meeting_place {
  g* joined;
  parker* joiner;
};

// False: it has ended.
bool wait_at(const meeting_place& place) noexcept {
  std::uintptr_t live = 0;
  if (place.joined->life.compare_exchange_strong(live,
                                                 reinterpret_cast<std::uintptr_t>(place.joiner))) {
    return true;
  }
  base::expect(live == over, "join: two callers join one goroutine");
  return false;
}

}  // namespace

void join_g(g* gp) noexcept {
  if (ended(gp)) return;  // acquire: pairs with the exchange in finish
  parker waiting(wait_reason::join, gp);
  meeting_place here{gp, &waiting};
  // The one waker finds the parker in `life`, where it is put when the goroutine has left: park.hpp
  // (5), with a word in the place of a lock.
  const auto arrive = [](void* arg) noexcept {
    const meeting_place& place = *static_cast<meeting_place*>(arg);
    if (!wait_at(place)) place.joiner->unpark();
  };
  if (waiting.park_holding(arrive, &here)) return;
  if (wait_at(here)) waiting.wait_until(sys::never, raised_error::kept);
}

void detach_g(g* gp) noexcept {
  std::uintptr_t live = 0;
  if (!ended(gp) && gp->life.compare_exchange_strong(live, loose, std::memory_order_acq_rel)) {
    return;
  }
  base::expect(ended(gp), "detach: the goroutine is being joined");
  if (gp->error != nullptr) report_lost_error(gp);
  recycle(gp);
}

void set_lost_error_report(void (*report)(g*) noexcept) noexcept { report_lost_error = report; }

void change_g(g* gp, void (*change)(g*, void*), void* arg) { all_gs().change(gp, change, arg); }

void for_each_g(void (*visit)(const g* gp, void* arg), void* arg) { all_gs().for_each(visit, arg); }

}  // namespace sigrun::sched
