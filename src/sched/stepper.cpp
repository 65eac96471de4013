// SPDX-License-Identifier: Apache-2.0
#include "sched/stepper.hpp"

#include "base/expect.hpp"
#include "sched/clock.hpp"
#include "sched/scheduler.hpp"
#include "sys/signal.hpp"

#include <mutex>

namespace sigrun::sched {
namespace {

// A P's timers never go back in time, so one stepper begins where the last has ended.
constinit std::int64_t begin_ns = 1'000'000'000;

}  // namespace

stepper::stepper(std::uint64_t seed) noexcept : random_(seed * 2 + 1) {
  scheduler& s = the_scheduler();
  base::expect(!s.started.load(), "stepper: the scheduler runs already");
  set_virtual_clock(begin_ns);
  s.coarse_ns.store(begin_ns);
  {
    const std::lock_guard hold(s.lock);
    base::expect(make_ps_up_to(1), "stepper: no memory");
    s.procs.store(1);
    bind(&m_, s.ps[0].load());
    s.ps[0].load()->retired = false;
  }
  m_.tid = sys::gettid();
  m_.words = fiber::this_thread_words();
  m_.stepping = true;
  m_.detour = true;
  fiber::adopt_thread(m_.g0);
  sigsafe::set_current_machine(&m_);
  s.started.store(true);  // so that go() makes no Ms
}

stepper::~stepper() {
  scheduler& s = the_scheduler();
  sigsafe::set_current_machine(nullptr);
  {
    const std::lock_guard hold(s.lock);
    unbind(&m_)->retired = true;
    s.procs.store(0);
  }
  s.started.store(false);
  begin_ns = now_ns();
  set_virtual_clock(sys::never);
}

std::uint32_t stepper::draw(std::uint32_t below) noexcept {
  random_ = random_ * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX
  return static_cast<std::uint32_t>(random_ >> 33) % below;
}

bool stepper::step() noexcept {
  processor& p = *m_.p;
  if (the_scheduler().global_size.load() != 0) {
    g* const gp = take_global(p, 0);
    if (gp != nullptr) queue_here(&m_, gp, false);
  }
  const std::uint32_t waiting = p.queue.size();
  if (waiting == 0) return false;
  for (std::uint32_t i = draw(waiting); i > 0; --i) queue_here(&m_, p.queue.pop(), false);
  g* const gp = p.queue.pop();
  if (gp->locked == &m_) m_.locked = gp;
  run_one(&m_, gp);
  return true;
}

int stepper::run(int most) noexcept {
  int steps = 0;
  while (step()) base::expect(++steps <= most, "stepper: too many steps");
  return steps;
}

void stepper::advance(std::int64_t ns) noexcept {
  advance_virtual_clock(ns);
  the_scheduler().coarse_ns.store(now_ns());
  run_timers(*m_.p, now_ns());
}

std::int64_t stepper::next_deadline() const noexcept { return m_.p->next_timer.load(); }

std::int64_t stepper::run_through(int most) noexcept {
  const std::int64_t begin = now_ns();
  for (;;) {
    run(most);
    const std::int64_t next = next_deadline();
    if (next == sys::never) return now_ns() - begin;
    advance(next > now_ns() ? next - now_ns() : 0);
  }
}

}  // namespace sigrun::sched
