// SPDX-License-Identifier: Apache-2.0
#include "sched/scheduler.hpp"

#include <mutex>

namespace sigrun::sched {

constinit scheduler scheduler_instance;

machine* enter_slowly(machine* m) noexcept {
  scheduler& s = the_scheduler();
  {
    const std::lock_guard hold(s.lock);  // machine.hpp (2)
    if (m->p != nullptr) {
      m->lost.store(0);
      return m;
    }
    if (processor* p = pop_idle()) {
      bind(m, p);
      return m;
    }
  }
  return leave(m, after::requeue, nullptr);
}

bool try_enter(machine* m) noexcept {
  m->busy.store(1, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (!the_scheduler().asymmetric.load(std::memory_order_relaxed)) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  if (m->lost.load(std::memory_order_acquire) == 0 && m->p != nullptr) return true;
  leave_section(m);
  return false;
}

}  // namespace sigrun::sched
