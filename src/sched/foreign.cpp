// SPDX-License-Identifier: Apache-2.0
//
// Foreign calls: the G keeps its M and its thread, and stands to lose the P.
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"

namespace sigrun::sched {
namespace {

void begin(machine* m) noexcept {
  m->current->state.store(g_state::foreign, std::memory_order_relaxed);
  m->current->why.store(wait_reason::foreign_call, std::memory_order_relaxed);
  m->foreign_calls.store(m->foreign_calls.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
  m->foreign.store(1, std::memory_order_release);  // sysmon acquires, and then sees the number
}

// A G never changes its M inside the call, so m is still the caller's.
void end(machine* m) noexcept {
  m->foreign.store(0, std::memory_order_release);
  m->current->state.store(g_state::running, std::memory_order_relaxed);
  // It goes on only with a P: that is what bounds the number of running goroutines.
  if (m->lost.load(std::memory_order_relaxed) != 0) [[unlikely]]
    leave_section(enter(m));
}

}  // namespace

void run_foreign(void (*f)(void*), void* arg) {
  machine* const m = current_machine();
  if (m == nullptr || m->current == nullptr || m->foreign.load(std::memory_order_relaxed) != 0) {
    f(arg);
    return;
  }
  struct call {
    machine* m;
    explicit call(machine* on) noexcept : m(on) { begin(on); }
    ~call() { end(m); }
    call(const call&) = delete;
    call& operator=(const call&) = delete;
  };
  const call guard(m);
  fiber::call_on_thread_stack(m->current->fiber, m->g0, f, arg);
}

bool in_foreign() noexcept {
  const machine* const m = current_machine();
  return m != nullptr && m->current != nullptr && m->foreign.load(std::memory_order_relaxed) != 0;
}

void end_foreign() noexcept {
  machine* const m = current_machine();
  fiber::left_thread_stack(m->current->fiber, m->g0);
  end(m);
}

}  // namespace sigrun::sched
