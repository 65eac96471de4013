// SPDX-License-Identifier: Apache-2.0
#include "signal/duty.hpp"

#include "sigsafe/decode.hpp"
#include "sigsafe/thread_status.hpp"
#include "sys/clock.hpp"
#include "sys/futex.hpp"

#include <poll.h>

#include <algorithm>
#include <ctime>

namespace sigrun::signal {
namespace {

using sigsafe::asleep_futex;
using sigsafe::asleep_wait;
using sigsafe::awake;
using sigsafe::consumer_word;
using sigsafe::the_intake;
using sigsafe::thread_block;

constexpr auto control = signal_set::of(sigsafe::control_signal);

// What no thread of the runtime ever blocks: faults, the profiler, and glibc's two, without which
// pthread_cancel(3) and setuid(2) would hang (nptl(7)).
constexpr auto never_blocked =
    signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF, 32, 33);

// How much the stand-by thread takes at once when loops left it lying.
constexpr unsigned loop_take_max = 4096;

// How many signals a receiver takes for itself before it gives the duty back.
constexpr unsigned own_pending_max = 1024;

// How often an owner that leaves looks again because more came meanwhile. A sender that never
// pauses would otherwise keep it for ever: a fork(2), a stop().
constexpr unsigned release_looks_max = 3;

constexpr int give_way_yields = 100;

// False: something came since the last look.
bool go_to_sleep(sigsafe::consumer_state state, int tid) noexcept {
  std::uint64_t expected = consumer_word(awake, 0);
  return the_intake().consumer.compare_exchange_strong(expected, consumer_word(state, tid));
}

// From here on a control signal is its handler's again.
void stop_waiting(thread_block& self) noexcept {
  self.waits.store(false);
  if (self.control_held.exchange(false)) sys::unblock(control);
}

signal_event taken(const siginfo_t& info, int tid) noexcept {
  signal_event event;
  sigsafe::decode(info, event);
  event.tid = tid;
  event.at.taken = sys::now_ns();
  event.at.queued = event.at.taken;
  the_intake().count.by_wait.fetch_add(1, std::memory_order_relaxed);
  return event;
}

// Any SIGURG does a control signal's work too: one may have been merged into it. True: that was
// all.
bool was_control(thread_block& self, const siginfo_t& info) noexcept {
  if (info.si_signo != sigsafe::control_signal) return false;
  sigsafe::apply_mask_requests(self);
  return sigsafe::is_control(info);
}

// Of the calling thread alone: sigpending(2) does not tell them from those of the process.
signal_set own_pending() noexcept {
  sigsafe::thread_status status;
  sigsafe::read_thread_status(0, status);
  return status.pending;
}

void wake_up() noexcept { the_intake().consumer.exchange(consumer_word(awake, 0)); }

}  // namespace

// ------------------------------------------------------------------------------- taking, leaving

bool duty::try_own(int tid) noexcept {
  std::uint32_t vacant = 0;
  return wanters_.load() == 0 &&
         owner_.compare_exchange_strong(vacant, static_cast<std::uint32_t>(tid));
}

void duty::own(thread_block& self) noexcept {
  wanters_.fetch_add(1);
  for (;;) {
    std::uint32_t seen = 0;
    if (owner_.compare_exchange_strong(seen, static_cast<std::uint32_t>(self.tid))) break;
    sigsafe::nudge();
    // The deadline is a belt: an owner that leaves wakes us.
    const sys::timespec64 deadline = sys::to_timespec(sys::now_ns() + 10'000'000);
    sys::futex_wait(owner_, seen, &deadline);
  }
  wanters_.fetch_sub(1);
  wake_up();
}

// Takes the duty in order to wait in the kernel, which an M at large has reserved for itself.
bool duty::try_own_wait(int tid) noexcept {
  if (!try_own(tid)) return false;
  if (the_intake().at_large_tid.load() == 0) return true;
  let_go();
  return false;
}

// False: something came since the last look.
bool duty::rest() noexcept {
  const sigsafe::intake& in = the_intake();
  const int at_large = in.at_large_tid.load();
  return at_large != 0 ? go_to_sleep(sigsafe::at_large, at_large)
                       : go_to_sleep(asleep_wait, in.standby_tid.load());
}

void duty::let_go() noexcept {
  owner_.store(0);
  if (wanters_.load() != 0) sys::futex_wake(owner_, 1);
}

void duty::release(thread_block& self) noexcept {
  const sigsafe::intake& in = the_intake();
  drain(self);  // own() may have taken the news of it
  bool quiet = rest();
  // Who waits for the duty looks itself.
  for (unsigned looks = 0; !quiet && wanters_.load() == 0 && looks < release_looks_max; ++looks) {
    wake_up();
    drain(self);
    quiet = rest();
  }
  owner_.store(0);
  if (!quiet) sigsafe::send_control(in.standby_tid.load());
  if (wanters_.load() != 0) {
    sys::futex_wake(owner_, 1);
  } else if (in.at_large_tid.load() == 0 && !poke_candidate()) {
    arm_lease();
  }
}

bool duty::offer(sched::parker& parker) noexcept {
  const std::lock_guard hold{candidate_lock_};
  if (candidate_ != nullptr && candidate_ != &parker) return false;
  candidate_ = &parker;
  has_candidate_.store(true);
  return true;
}

void duty::withdraw(sched::parker& parker) noexcept {
  const std::lock_guard hold{candidate_lock_};
  if (candidate_ != &parker) return;
  candidate_ = nullptr;
  has_candidate_.store(false);
}

bool duty::poke_candidate() noexcept {
  if (!has_candidate_.load()) return false;
  const std::lock_guard hold{candidate_lock_};
  if (candidate_ == nullptr) return false;
  candidate_->poke();
  candidate_ = nullptr;
  has_candidate_.store(false);
  // Should the candidate be on its way out, the lease brings the stand-by thread.
  arm_lease();
  return true;
}

// One timer in flight at a time: a program that receives often pays for it once per lease.
void duty::arm_lease() noexcept {
  const std::int64_t lease = lease_now_ns_.load(std::memory_order_relaxed);
  lease_until_ns_.store(sys::now_ns() + lease);
  if (timer_armed_.exchange(true)) return;
  const itimerspec once{{0, 0}, {0, lease}};
  sys::call(SYS_timer_settime, timer_, 0, &once, nullptr);
}

// --------------------------------------------------------------------------- with the duty in hand

void duty::drain(thread_block& self) noexcept {
  dispatch_queued();
  sigsafe::release_held_back(self);
}

void duty::dispatch_queued() noexcept {
  sigsafe::intake& in = the_intake();
  // All that is there now. What comes meanwhile is news, and somebody's next look.
  sigsafe::request_list spilled;
  const unsigned spills = sigsafe::list_spilled(spilled);
  const std::uint64_t end = in.queue.end();
  std::uint32_t left = in.queue.capacity() + signal_max;
  signal_event event;
  while (left != 0 && in.queue.pop(event)) {
    dispatcher_.dispatch(event);
    --left;
  }
  // Where a handler has yet to fill its slot, it nudges when it has.
  for (unsigned i = 0; i < spills && in.queue.passed(end); ++i) {
    event = sigsafe::take_spilled(spilled[i]);
    dispatcher_.dispatch(event);
  }
  if (left == 0) in.consumer.exchange(consumer_word(sigsafe::news, 0));
}

void duty::take(const siginfo_t& info, int tid) noexcept {
  signal_event event = taken(info, tid);
  dispatcher_.dispatch(event);
}

void duty::take_pending(thread_block& self, signal_set set, unsigned most) noexcept {
  // Where they are open, a handler here would queue the next ones while this one is dispatched, and
  // those after would overtake them. Nor may what it holds back be released before we are done.
  const bool open = !(set - signal_set{self.closed.load()}).empty();
  // Nor may a control signal lift a block meanwhile.
  const signal_set before = open ? sys::exchange_blocked(set | control) : signal_set{};
  if (open) dispatch_queued();
  siginfo_t info;
  while (most-- != 0 && sys::rt_sigtimedwait(set, &info, &sys::no_wait) > 0) {
    if (!was_control(self, info)) take(info, self.tid);
  }
  // But for what a request has closed meanwhile.
  if (open) sys::unblock((set | control) - before - signal_set{self.closed.load()});
}

// What was sent to this thread alone, by raise(3) say, and is closed here, can be taken by nobody
// else. The kernel does not tell it from what is pending for all, which is as good a reason.
void duty::take_own(thread_block& self, signal_set set) noexcept {
  if ((sys::pending() & set).empty()) return;
  own(self);
  drain(self);
  take_pending(self, set, own_pending_max);
  release(self);
}

// What a goroutine has sent to its own thread, by raise(3) say, waits there while it is closed, and
// the M that is left goes on with others. What pends for all is not for this thread to take, as an
// M at large may be taking it in order; of each signal the kernel hands out those of the thread
// first.
void duty::take_alone(thread_block& self) noexcept {
  const signal_set closed{self.closed.load()};
  if (closed.empty() || (sys::pending() & closed).empty()) return;
  for (unsigned takes = 0; takes < own_pending_max; ++takes) {
    const int signo = (own_pending() & closed).first();
    if (signo == 0) return;
    own(self);
    drain(self);
    take_pending(self, signal_set::of(signo), 1);
    release(self);
  }
}

long duty::wait_in_kernel(thread_block& self, signal_set set, siginfo_t& info,
                          std::int64_t deadline_ns) noexcept {
  sys::timespec64 timeout;
  const bool bounded = deadline_ns != sys::never;
  if (bounded) timeout = sys::to_timespec(deadline_ns - sys::now_ns());
  const long result = sys::rt_sigtimedwait(set | control, &info, bounded ? &timeout : nullptr);
  stop_waiting(self);
  if (result > 0 && was_control(self, info)) return 0;
  if (result <= 0 || set.has(static_cast<int>(result))) return result;
  // A SIGURG that somebody sent, taken by a thread that waits for control only. Without a
  // subscriber it is ignored, as by default; else it goes by the queue to whoever has the duty.
  if (signal_set{the_intake().wanted.load()}.has(sigsafe::control_signal)) {
    sigsafe::sigsend(taken(info, self.tid), true);
  }
  return 0;
}

// ------------------------------------------------------------------------------------- receivers

bool duty::receive_wait(sched::parker& parker, thread_block& self,
                        std::int64_t deadline_ns) noexcept {
  bool took_own = false;
  for (bool looked = false;; looked = true) {
    if (parker.notified()) return true;
    if (!looked && owner_.load() != 0) {
      take_own(self, wait_set());
      took_own = true;
    }
    if (try_own_wait(self.tid)) {
      wake_up();
      const bool notified = lead(parker, self, deadline_ns);
      release(self);
      if (notified || parker.notified()) return true;
      if (deadline_ns != sys::never && sys::now_ns() >= deadline_ns) return false;
      continue;
    }
    const bool offered = offer(parker);
    const auto owner = static_cast<int>(owner_.load());
    if (offered && owner == the_intake().standby_tid.load()) sigsafe::nudge();
    const bool at_large = the_intake().at_large_tid.load() != 0;
    // Vacant at first, and now it is not, or an M at large waits no more than we do.
    if (!took_own) take_alone(self);
    took_own = true;
    if (offered && owner == 0 && wanters_.load() == 0 && !at_large) {
      withdraw(parker);
      continue;
    }
    const sched::park_result result = parker.park(deadline_ns);
    if (offered) withdraw(parker);
    if (result == sched::park_result::notified) return true;
    if (result == sched::park_result::timeout) return false;
  }
}

bool duty::lead(sched::parker& parker, thread_block& self, std::int64_t deadline_ns,
                const sched::g_list* made_ready) noexcept {
  dispatcher_.before_waiting(self);
  for (;;) {
    drain(self);
    if (parker.notified()) return true;
    if (made_ready != nullptr && !made_ready->empty()) return true;
    if (wanters_.load() != 0) return false;
    self.waits.store(true);
    if (!go_to_sleep(asleep_wait, self.tid)) {
      stop_waiting(self);
      wake_up();
      continue;
    }
    if (!parker.begin_leading(self.tid)) {
      stop_waiting(self);
      wake_up();
      return true;
    }
    siginfo_t info;
    const long result = wait_in_kernel(self, wait_set(), info, deadline_ns);
    parker.end_leading();
    wake_up();
    // Before the drain: what a handler here has queued since was taken after this one, and one
    // elsewhere that had queued before would have ended the wait by its control signal.
    if (result > 0) take(info, self.tid);
    if (result == -EAGAIN) {
      drain(self);
      return parker.notified();
    }
  }
}

// --------------------------------------------------------------------------------------------- Ms

void duty::machine_wait(sched::parker& bed, thread_block& self,
                        const sched::g_list& made_ready) noexcept {
  for (;;) {
    own(self);
    the_intake().at_large_tid.store(0);
    if (lead(bed, self, sys::never, &made_ready)) break;
    release(self);
    // Whoever wanted it has it sooner if we are not the next to want it.
    for (int i = 0; i < give_way_yields && wanters_.load() != 0; ++i) sys::call(SYS_sched_yield);
  }
  go_at_large(self);
}

// With the duty, and everything dispatched. News that is left is the M's own next look, before it
// runs anything.
void duty::go_at_large(thread_block& self) noexcept {
  the_intake().at_large_tid.store(self.tid);
  go_to_sleep(sigsafe::at_large, self.tid);
  let_go();
  dispatcher_.before_running(self);
}

void duty::resign(thread_block& self) noexcept {
  own(self);
  the_intake().at_large_tid.store(0);
  dispatcher_.before_waiting(self);
  release(self);
}

void duty::look(thread_block& self) noexcept {
  if (!try_own(self.tid)) return;  // whoever has it looks before he leaves
  wake_up();
  release(self);
}

// -------------------------------------------------------------------------------------- stand-by

long duty::prepare(thread_block& self) noexcept {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = sigsafe::control_signal;
  event.sigev_value.sival_ptr = &the_intake();
  event._sigev_un._tid = self.tid;
  const long made = sys::call(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer_);
  if (!sys::failed(made)) the_intake().standby_tid.store(self.tid);
  return made;
}

void duty::stand_by(thread_block& self, bool by_handler) noexcept {
  std::int64_t deadline = sys::never;
  bool overdue = false;
  for (;;) {
    set_stand_by_mask(self);
    const std::int64_t now = sys::now_ns();
    const bool news = (the_intake().consumer.load() & 0xffffffffU) == sigsafe::news;
    const bool at_large = the_intake().at_large_tid.load() != 0;
    const bool lease_over = !at_large && now >= lease_until_ns_.load();
    const bool mine = loop_fd_.load() >= 0 ? overdue : lease_over;
    if (owner_.load() == 0 && (by_handler || news || mine)) {
      timer_armed_.store(false);
      if (try_own(self.tid)) {
        wake_up();
        // By handler it waits where control signals do not reach it.
        sigsafe::apply_mask_requests(self);
        if (by_handler) {
          lead_by_handler(self);
        } else if (the_intake().at_large_tid.load() != 0) {
          drain(self);
        } else if (loop_fd_.load() >= 0) {
          drain(self);
          if (overdue) {
            lease_now_ns_.store(lease_ns, std::memory_order_relaxed);
            take_pending(self, wait_set(), loop_take_max);
          }
          overdue = false;
        } else {
          lease_now_ns_.store(lease_ns, std::memory_order_relaxed);
          lead_standing_by(self);
        }
        release(self);
        timer_armed_.store(false);
        // Whoever made us leave has the duty now, or leaves the lease to us again.
        deadline = lease_until_ns_.load();
        timer_armed_.store(true);
        continue;
      }
    }
    if (loop_fd_.load() >= 0 && owner_.load() == 0 && !news && !at_large &&
        now >= lease_until_ns_.load()) {
      overdue = loops_left_something(self);
      continue;
    }
    // An M at large has reserved the signals, and is looked after by sysmon.
    const auto taken_care_of = [this] {
      return owner_.load() != 0 || the_intake().at_large_tid.load() != 0;
    };
    if (taken_care_of()) {
      if (timer_armed_.exchange(false)) {
        const std::int64_t lease = lease_now_ns_.load(std::memory_order_relaxed);
        lease_now_ns_.store(std::min(2 * lease, lease_max_ns), std::memory_order_relaxed);
      }
      deadline = sys::never;
      // A release between the two loads above found the timer armed and relies on us.
      if (!taken_care_of()) deadline = lease_until_ns_.load();
    } else {
      deadline = std::max(lease_until_ns_.load(), now + 20'000);
    }
    siginfo_t info;
    self.waits.store(true);
    wait_in_kernel(self, {}, info, deadline);
  }
}

// With loops about, the signals are theirs for lease_ns. True: some were left.
bool duty::loops_left_something(thread_block& self) noexcept {
  self.waits.store(false);  // a control signal interrupts the poll, and no more
  pollfd pending{loop_fd_.load(), POLLIN, 0};
  const signal_set mask = sys::current_mask() - control;
  const long ready = sys::call(SYS_ppoll, &pending, 1, nullptr, &mask, sys::sigset_bytes);
  if (ready <= 0) return false;
  siginfo_t info;
  self.waits.store(true);
  wait_in_kernel(self, {}, info, sys::now_ns() + lease_ns);
  return !(sys::pending() & wait_set()).empty();
}

void duty::poll(thread_block& self) noexcept {
  if (!try_own(self.tid)) return;
  wake_up();
  drain(self);
  if (the_intake().at_large_tid.load() == 0) take_pending(self, wait_set(), 1);
  release(self);
}

void duty::lead_standing_by(thread_block& self) noexcept {
  for (;;) {
    drain(self);
    if (wanters_.load() != 0 || has_candidate_.load()) return;
    set_stand_by_mask(self);
    if (!go_to_sleep(asleep_wait, self.tid)) {
      wake_up();
      continue;
    }
    self.waits.store(true);
    siginfo_t info;
    const long result = wait_in_kernel(self, wait_set(), info, sys::never);
    wake_up();
    if (result > 0) take(info, self.tid);
  }
}

// The second way in: the subscribed signals are open here, sigtramp queues them, and this loop
// dispatches. futex_wait compares the word, so a handler that ran just before it is not missed.
void duty::lead_by_handler(thread_block& self) noexcept {
  for (;;) {
    drain(self);
    if (wanters_.load() != 0) break;
    set_stand_by_mask(self);
    if (!go_to_sleep(asleep_futex, self.tid)) {
      wake_up();
      continue;
    }
    sys::futex_wait(the_intake().consumer, asleep_futex);
    wake_up();
  }
  drain(self);
}

void duty::set_stand_by_mask(thread_block& self) noexcept {
  // What the process was started with as blocked stays so here too: a signal that the program
  // keeps pending must not find this thread and kill it.
  const signal_set open = never_blocked - (the_intake().start_mask - signal_set::of(32, 33));
  const signal_set mask = signal_set::all() - open - signal_set{handler_set_.load()};
  if (mask == stand_by_mask_) return;
  self.born_blocked = mask.bits();
  sys::set_mask(mask);
  stand_by_mask_ = mask;
}

}  // namespace sigrun::signal
