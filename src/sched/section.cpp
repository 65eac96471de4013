// SPDX-License-Identifier: Apache-2.0
#include "sched/scheduler.hpp"

#include <mutex>

namespace sigrun::sched {

constinit scheduler_for_ever scheduler_instance;

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

}  // namespace sigrun::sched
