// SPDX-License-Identifier: Apache-2.0
//
// The threads that the runtime knows, and their masks.
#include "signal/runtime.hpp"

#include "sigsafe/original.hpp"

#include <pthread.h>

#include <cerrno>
#include <stdexcept>

namespace sigrun::signal {
namespace {

// A thread that ends leaves its block to the next one; blocks are never freed, so a reader of the
// list needs no more than the lock.
void thread_ends(void* block) noexcept {
  auto& mine = *static_cast<sigsafe::thread_block*>(block);
  if (runtime* const now = runtime::running()) now->leave(mine);
  sigsafe::set_current_thread(nullptr);
  mine.closed.store(0);
  mine.lifted.store(0);
  mine.tid = 0;
}

pthread_key_t end_key() {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    pthread_key_create(&made, &thread_ends);
    return made;
  }();
  return key;
}

// A thread may have ended, or all requests be in use by threads that have not run since: it sees to
// itself before it sleeps.
constexpr int ask_again_max = 100;

// How often a thread empties the queue because something is held back on it again and again.
constexpr unsigned looks_max = 4096;

// While it lives, no control signal has its handler edit this thread's mask, or what is closed
// here.
class no_control {
 public:
  explicit no_control(signal_set blocked_too = {}) noexcept
      : before_(sys::exchange_blocked(blocked_too | control)) {}
  ~no_control() {
    if (!before_.has(sigsafe::control_signal)) sys::unblock(control);
  }
  no_control(const no_control&) = delete;
  no_control& operator=(const no_control&) = delete;
  signal_set mask_before() const noexcept { return before_; }

 private:
  static constexpr auto control = signal_set::of(sigsafe::control_signal);
  const signal_set before_;
};

void ask_scheduler(signal_set open, signal_set close) noexcept {
  signal_set sets[] = {open, close};
  sched::for_each_thread(
      [](sigsafe::thread_block& block, void* arg) {
        if (&block == sigsafe::current_thread()) return;
        const auto* const wish = static_cast<const signal_set*>(arg);
        const signal_set closed{block.closed.load()};
        const signal_set to_open = wish[0] & closed;
        const signal_set to_close = wish[1] - closed - signal_set{block.born_blocked};
        if (to_open.empty() && to_close.empty()) return;
        for (int i = 0; i < ask_again_max; ++i) {
          if (sigsafe::request_mask(block.tid, to_open, to_close)) return;
          sys::call(SYS_sched_yield);
        }
      },
      sets);
}

}  // namespace

// What is held back here is open but for the moment, and will be lifted unless it is closed.
void runtime::close(sigsafe::thread_block& self, signal_set signals) noexcept {
  if (signals.empty()) return;
  const no_control closing(signals);
  const signal_set before = closing.mask_before();
  self.lifted.fetch_and(before.bits());
  const signal_set open = signals - (before - sigsafe::held_here(&self));
  self.closed.fetch_or(open.bits());
  sigsafe::the_intake().ever_closed.fetch_or(open.bits());
}

void runtime::before_waiting(sigsafe::thread_block& self) noexcept {
  if (options_.isolate != isolation::strict) return;
  const signal_set lent{self.lent.exchange(0)};
  if (!lent.empty()) sys::block(lent);
  close(self, closable() - signal_set{self.closed.load()} - signal_set{self.born_blocked});
}

void runtime::before_running(sigsafe::thread_block& self) noexcept {
  if (options_.isolate != isolation::strict) return;
  const signal_set waited = duty_.wait_set();
  const signal_set lent = waited & signal_set{self.born_blocked};
  self.lent.store(lent.bits());
  self.closed.fetch_and(~waited.bits());
  sys::unblock(waited);
}

// ---------------------------------------------------------------------------- for the scheduler

signal_set runtime::close_from_birth(sigsafe::thread_block& self, signal_set mask) noexcept {
  if (running() != this || options_.isolate != isolation::strict) return {};
  const signal_set close = closable() - mask;
  self.closed.fetch_or(close.bits());
  sigsafe::the_intake().ever_closed.fetch_or(close.bits());
  return close;
}

void runtime::begin_run(sigsafe::thread_block& self) noexcept {
  if (running() == this) before_waiting(self);
}

void runtime::end_run(sigsafe::thread_block& self, signal_set closed_before) noexcept {
  if (running() != this) return;
  sys::current_mask();  // a system call: the requests that are on their way come in here
  const signal_set closed_there = signal_set{self.closed.load()} - closed_before;
  self.closed.fetch_and(~closed_there.bits());
  sys::unblock(closed_there);
}

bool runtime::wants(const sigsafe::thread_block& self) noexcept {
  if (!goroutines_receive_.load(std::memory_order_relaxed) || duty_.wait_set().empty())
    return false;
  const int at_large = sigsafe::the_intake().at_large_tid.load();
  return (at_large == 0 || at_large == self.tid) && running() == this;
}

bool runtime::vacant() noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  const int owner = duty_.owner_tid();
  return in.at_large_tid.load() == 0 && (owner == 0 || owner == in.standby_tid.load());
}

void runtime::wait(sched::parker& bed, sigsafe::thread_block& self,
                   const sched::g_list& made_ready) noexcept {
  duty_.machine_wait(bed, self, made_ready);
}

// What was sent to this M alone, should it have that closed: by send_thread(), which said so.
void runtime::take_own_news(sigsafe::thread_block& self) noexcept {
  if (self.own_news.load() && self.own_news.exchange(false)) {
    duty_.take_own(self, duty_.wait_set());
  }
}

void runtime::look(sigsafe::thread_block& self) noexcept {
  if (running() != this) return;
  take_own_news(self);
  duty_.look(self);
}

void runtime::before_sleep(sigsafe::thread_block& self) noexcept {
  if (running() != this) return;
  if (sigsafe::the_intake().at_large_tid.load() == self.tid) duty_.resign(self);
  before_waiting(self);
  take_own_news(self);
  // What is no longer subscribed, should nobody have been able to ask for it.
  const signal_set stale = signal_set{self.closed.load()} - closable();
  if (stale.empty()) return;
  self.closed.fetch_and(~stale.bits());
  sys::unblock(stale);
}

void runtime::rescue() noexcept { sigsafe::send_control(sigsafe::the_intake().standby_tid.load()); }

sigsafe::thread_block& runtime::here() {
  if (sigsafe::thread_block* known = sigsafe::current_thread()) return *known;
  const std::lock_guard hold{threads_lock_};
  sigsafe::thread_block* block = threads_;
  while (block != nullptr && block->tid != 0) block = block->next;
  if (block == nullptr) {
    block = new sigsafe::thread_block;
    block->next = threads_;
    threads_ = block;
  }
  block->tid = sys::gettid();
  block->waits.store(false);
  block->control_held.store(false);
  // Closed already when a thread that we had closed made this one.
  {
    const no_control looking;
    const signal_set mask = looking.mask_before() - sigsafe::held_here(nullptr);
    block->closed.store((mask - sigsafe::original_thread_mask(mask)).bits());
    sigsafe::set_current_thread(block);
  }
  pthread_setspecific(end_key(), block);
  return *block;
}

// Open, it has its own signals by handler. When the queue is full they are held back again, and
// for each look the queue has been emptied.
void runtime::leave(sigsafe::thread_block& self) noexcept {
  const no_control leaving;
  for (unsigned looks = 0; looks < looks_max; ++looks) {
    sigsafe::apply_mask_requests(self);
    sys::unblock(signal_set{self.closed.exchange(0)});
    if (lift_here(self)) continue;
    const signal_set lifted{self.lifted.exchange(0)};
    if (lifted.empty()) break;
    sys::unblock(lifted);
  }
}

// True: something was held back here, and the queue has been emptied since.
bool runtime::lift_here(sigsafe::thread_block& self) noexcept {
  if (!sigsafe::has_request(self.tid)) return false;
  duty_.own(self);
  duty_.drain(self);
  duty_.release(self);
  return true;
}

void runtime::open_others(signal_set signals) noexcept {
  const sigsafe::thread_block* self = sigsafe::current_thread();
  ask_scheduler(signals, {});
  const std::lock_guard hold{threads_lock_};
  for (auto* block = threads_; block != nullptr; block = block->next) {
    if (block == self || block->tid == 0) continue;
    const signal_set open = signal_set{block->closed.load()} & signals;
    if (open.empty()) continue;
    sigsafe::request_mask(block->tid, open, {});
  }
}

// With the duty.
void runtime::close_scheduler() noexcept {
  if (options_.isolate != isolation::strict) return;
  const signal_set set = closable();
  sigsafe::the_intake().ever_closed.fetch_or(set.bits());
  ask_scheduler({}, set);
  // What Ms have blocked from birth has to be opened on the one by which signals come in.
  const int at_large = sigsafe::the_intake().at_large_tid.load();
  if (at_large == 0 || at_large == sys::gettid()) return;
  sigsafe::request_mask(at_large, duty_.wait_set(), {});
}

void runtime::close_here() noexcept {
  const std::lock_guard hold{control_};  // or a stop() would miss this thread
  sigsafe::thread_block& self = here();
  if (self.tid == sigsafe::the_intake().at_large_tid.load()) return;  // signals come in by it
  close(self, closable() - signal_set{self.closed.load()});
}

void runtime::open_here() noexcept {
  const std::lock_guard hold{control_};
  sigsafe::thread_block& self = here();
  const signal_set closed{self.closed.exchange(0)};
  sys::unblock(closed);
}

}  // namespace sigrun::signal

namespace sigrun {
namespace {

using signal::runtime;

void ask(int tid, signal_set open, signal_set close, std::error_code& error) noexcept {
  error.clear();
  const long exists = sys::tgkill(sys::getpid(), tid, 0);
  if (sys::failed(exists)) {
    error = {static_cast<int>(-exists), std::system_category()};
  } else if (!sigsafe::request_mask(tid, open, close)) {
    error = {EAGAIN, std::system_category()};
  }
}

}  // namespace

void close_thread() { runtime::start().close_here(); }
void open_thread() { runtime::start().open_here(); }

void close_thread(int tid, std::error_code& error) noexcept {
  runtime* now = runtime::running();
  if (now == nullptr) {
    error.clear();
    return;  // nothing is subscribed
  }
  const signal_set set = now->closable();
  sigsafe::the_intake().ever_closed.fetch_or(set.bits());
  ask(tid, {}, set, error);
}

void open_thread(int tid, std::error_code& error) noexcept {
  runtime* now = runtime::running();
  if (now == nullptr) {
    error.clear();
    return;
  }
  const sigsafe::intake& in = sigsafe::the_intake();
  ask(tid, signal_set{in.ever_closed.load()} - in.start_mask, {}, error);
}

// With everything blocked, so that no handler of this thread edits the mask, or what is closed,
// between two looks. What is closed here at the end is what the thread has been asked for since.
original_mask::original_mask() noexcept {
  sigsafe::thread_block* const self = sigsafe::current_thread();
  if (runtime* const now = runtime::running(); now != nullptr && self != nullptr) {
    for (unsigned looks = 0; looks < signal::looks_max && now->lift_here(*self);) ++looks;
  }
  const signal_set before = sys::exchange_mask(signal_set::all());
  const signal_set own = sigsafe::original_thread_mask(before);
  own_ = own.bits();
  ours_ = (before - own - sigsafe::held_here(self)).bits();
  met_ = self != nullptr;
  if (met_) self->as_before.fetch_add(1);
  sys::set_mask(own);
}

original_mask::~original_mask() {
  sys::set_mask(signal_set::all());
  sigsafe::thread_block* const self = sigsafe::current_thread();
  signal_set mask{own_};
  if (!met_) {
    mask |= signal_set{ours_};
    if (self != nullptr) self->closed.fetch_or(ours_);
  } else if (self->as_before.fetch_sub(1) == 1) {
    mask = (mask - signal_set{self->lent.load()}) | signal_set{self->closed.load()};
  }
  sys::set_mask(mask);
}

}  // namespace sigrun
