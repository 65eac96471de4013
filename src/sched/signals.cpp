// SPDX-License-Identifier: Apache-2.0
#include "sched/signals.hpp"

#include "base/expect.hpp"
#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/scheduler.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/original.hpp"

#include <mutex>
#include <utility>

namespace sigrun::sched {
namespace {

constinit std::atomic<signal_duty*> the_duty{nullptr};
constinit run_thread* in_run = nullptr;             // under the scheduler's lock
constinit std::int64_t news_since_ns = sys::never;  // sysmon's

// What a dispatch by this M has made ready: queued here if there is a P to be had.
void run_soon(machine* m, g_list& made_ready) noexcept {
  scheduler& s = the_scheduler();
  if (made_ready.empty()) return;
  s.signals_delivered.fetch_add(1, std::memory_order_relaxed);
  if (!take_idle_p(m)) {
    queue_global(made_ready);
    wake_one();     // a P may have become idle
    ring_sysmon();  // it did not know that somebody waits
    return;
  }
  const bool several = made_ready.size() > 1;
  while (g* gp = made_ready.pop()) queue_here(m, gp, false);
  if (several) wake_one();
}

/// While it lives, what `m` makes ready is gathered. It is on g0.
class gathering {
 public:
  explicit gathering(machine* m) noexcept : m_(m) { m->gathers = &made_ready; }
  ~gathering() { stop(); }
  gathering(const gathering&) = delete;
  gathering& operator=(const gathering&) = delete;
  void stop() noexcept { m_->gathers = nullptr; }
  g_list made_ready;

 private:
  machine* const m_;
};

bool take_bed(machine* m, parker& bed) noexcept {
  scheduler& s = the_scheduler();
  const std::lock_guard hold(s.lock);
  if (s.bed_m != nullptr || m->p != nullptr) return false;
  s.bed_m = m;
  s.bed = &bed;
  m->resting = true;
  return true;
}

// Somebody who has taken the M out has bound a P to it, and is about to notify the parker.
bool leave_bed(machine* m) noexcept {
  scheduler& s = the_scheduler();
  const std::lock_guard hold(s.lock);
  if (s.bed_m != m) return false;
  s.bed_m = nullptr;
  s.bed = nullptr;
  m->resting = false;
  return true;
}

bool sleep_in_bed(machine* m, signal_duty& duty) noexcept {
  parker bed;
  if (!take_bed(m, bed)) return false;
  the_scheduler().at_large.store(nullptr);
  gathering gathered(m);
  duty.wait(bed, m->gsignal, gathered.made_ready);
  the_scheduler().at_large.store(m);
  gathered.stop();
  if (!leave_bed(m)) bed.park_until(sys::never);  // park.hpp (3)
  run_soon(m, gathered.made_ready);
  return true;
}

bool poller_is_needed() noexcept {
  scheduler& s = the_scheduler();
  return s.poll_until.load() == 0 &&
         (s.poller.registered() != 0 || next_timer_of_all() != sys::never);
}

}  // namespace

void set_signal_duty(signal_duty* duty) noexcept {
  the_duty.store(duty);
  sigsafe::the_intake().find_idle.store(&find_idle_for_signal);
}

void signal_was_delivered() noexcept {
  scheduler& s = the_scheduler();
  if (!s.started.load(std::memory_order_relaxed)) return;
  s.last_poll_ns.store(0, std::memory_order_relaxed);
  s.signal_polls.fetch_add(1, std::memory_order_relaxed);
  if (s.idle_count.load() == 0) ring_sysmon();
}

// ----------------------------------------------------------------------------------- the threads

void for_each_thread(void (*visit)(sigsafe::thread_block&, void*), void* arg) {
  const scheduler& s = the_scheduler();
  const std::lock_guard hold(the_scheduler().lock);  // a run_thread must not go meanwhile
  for (machine* m = s.all_ms; m != nullptr; m = m->next) {
    if (m->gsignal.tid.load() != 0) visit(m->gsignal, arg);
  }
  for (const run_thread* one = in_run; one != nullptr; one = one->next_) visit(*one->block_, arg);
}

// The thread was made with everything blocked. A change of what is subscribed finds the thread's
// id, or is seen here.
void begin_machine_thread(machine* m) noexcept {
  signal_set mask{the_scheduler().thread_mask.load()};
  m->gsignal.runs_goroutines = true;
  m->gsignal.born_blocked = mask.bits();
  m->gsignal.tid.store(m->tid);
  sigsafe::set_current_thread(&m->gsignal);
  signal_duty* const duty = the_duty.load();
  if (duty != nullptr) mask |= duty->close_from_birth(m->gsignal, mask);
  sys::set_mask(mask);
}

run_thread::run_thread() noexcept {
  if (current_machine() != nullptr) return;  // run() in a goroutine
  block_ = sigsafe::current_thread();
  if (block_ == nullptr) {
    own_.tid.store(sys::gettid());
    sigsafe::set_current_thread(&own_);
    block_ = &own_;
  }
  scheduler& s = the_scheduler();
  {
    const std::lock_guard hold(s.lock);
    next_ = in_run;
    in_run = this;
  }
  closed_before_ = signal_set{block_->closed.load()};
  if (signal_duty* const duty = the_duty.load()) duty->begin_run(*block_);
}

run_thread::~run_thread() {
  if (block_ == nullptr) return;
  {
    const std::lock_guard hold(the_scheduler().lock);
    run_thread** at = &in_run;
    while (*at != this) at = &(*at)->next_;
    *at = next_;
  }
  // What was asked of this thread until now has been sent, and comes in by the next system call.
  if (signal_duty* const duty = the_duty.load()) duty->end_run(*block_, closed_before_);
  if (block_ == &own_) sigsafe::set_current_thread(nullptr);
}

// ---------------------------------------------------------------------------------------- the Ms

void look_at_signals(machine* m) noexcept {
  signal_duty* const duty = the_duty.load();
  if (duty == nullptr) return;
  gathering gathered(m);
  duty->look(m->gsignal);
  gathered.stop();
  run_soon(m, gathered.made_ready);
}

void leave_signals(machine* m) noexcept {
  signal_duty* const duty = the_duty.load();
  if (duty == nullptr || m->gsignal.tid.load() == 0) return;
  scheduler& s = the_scheduler();
  machine* self = m;
  s.at_large.compare_exchange_strong(self, nullptr);
  duty->before_sleep(m->gsignal);
}

void go_idle(machine* m) noexcept {
  signal_duty* const duty = the_duty.load();
  scheduler& s = the_scheduler();
  if (duty != nullptr && duty->wants(m->gsignal)) {
    const bool to_poll = poller_is_needed();
    // The one that signals come in by goes back there, and leaves the poller to another.
    if (!to_poll || s.at_large.load() == m) {
      if (to_poll) start_machine(nullptr, false);
      if (sleep_in_bed(m, *duty)) return;
    } else if (duty->vacant()) {
      start_machine(nullptr, false);
    }
  }
  if (!sleep_in_poller(m)) stop_machine(m);
}

void go_idle_without_p(machine* m) noexcept {
  signal_duty* const duty = the_duty.load();
  if (duty != nullptr && duty->wants(m->gsignal) && sleep_in_bed(m, *duty)) return;
  stop_machine(m);
}

// ---------------------------------------------------------------------------------------- sysmon

bool signals_need_watch() noexcept {
  return the_scheduler().at_large.load(std::memory_order_relaxed) != nullptr && sigsafe::has_news();
}

void watch_signals() noexcept {
  if (!signals_need_watch()) {
    news_since_ns = sys::never;
    return;
  }
  const std::int64_t now = now_ns();
  if (news_since_ns == sys::never) news_since_ns = now;
  if (now - news_since_ns < signal_patience) return;
  news_since_ns = sys::never;
  the_scheduler().signal_rescues.fetch_add(1, std::memory_order_relaxed);
  if (signal_duty* const duty = the_duty.load()) duty->rescue();
}

}  // namespace sigrun::sched
