// SPDX-License-Identifier: Apache-2.0
//
// The signal duty: the right to take process-directed signals and to dispatch events. One thread
// holds it at a time, so events are dispatched one after the other, in the order taken.
//
// Three kinds of thread want it:
//   receivers  block in chan::recv() on a subscribed channel. The one that has the duty sits in
//              rt_sigtimedwait itself, so that kill(2) wakes it directly: one thread wake from
//              the sender to user code.
//   stand-by   the runtime's own thread. Takes the duty when it is vacant and nobody came back for
//              lease_ns, or when the queue has something and nobody looks.
//   control    notify(), stop() and their kin, for the time of a change.
//   an M       of the scheduler that has nothing to do, when goroutines receive: comes before
//              receivers and the stand-by thread, and lets go when it has made a goroutine ready,
//              which it then runs itself. See sched/signals.hpp.
//
//   owner_     means                          next, and who moves it
//   0          vacant                         tid (any of the three, by compare-exchange)
//   tid        that thread waits or dispatches  0 (that thread)
//
// A control thread that finds the duty taken counts itself in wanters_ and nudges; every owner
// gives way to wanters_ before it waits again. A receiver that finds it taken leaves its parker in
// candidate_; an owner that leaves pokes it.
//
// An M that has let go is `at large`: the wait in the kernel stays its own. Signals are open on it,
// and nobody else takes any until it is back, so they are taken in order; but others may have the
// duty meanwhile, to dispatch what its handler queued or to change something.
//
// Invariants:
//  (1) Dispatch happens only between taking and leaving owner_.
//  (2) An owner that leaves has moved intake::consumer from awake to (asleep_wait, stand-by), so a
//      handler that queues from then on wakes the stand-by thread. If that move fails there is
//      news, and it looks again first; a bounded number of times, after which it leaves `news`
//      there and sends the stand-by thread its control signal itself.
//  (3) But for an M at large, after a release, either a wanter, or a candidate that was poked, or
//  the stand-by thread
//      (now, or when the lease has run out) takes the duty. So a signal that is blocked
//      everywhere is taken at most lease_max_ns after the program stopped receiving.
//
// tests/models/duty.pml checks (1) to (3).
#pragma once

#include "sched/park.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/thread_block.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>

namespace sigrun::signal {

/// How long the duty may stay vacant while a receiver is away in user code. Each time the stand-by
/// thread looks and finds that somebody came back in time, the next lease is twice as long, up to
/// lease_max_ns; once it had to step in, it is lease_ns again. So a program that keeps receiving
/// is hardly ever looked after, and one that got stuck is after a millisecond.
inline constexpr std::int64_t lease_ns = 1'000'000;
inline constexpr std::int64_t lease_max_ns = 8 * lease_ns;

/// What the duty does with an event; implemented by the registry.
class dispatcher {
 public:
  virtual void dispatch(signal_event& event) noexcept = 0;
  /// The calling thread is about to wait for signals: block them here if that is the arrangement.
  virtual void before_waiting(sigsafe::thread_block& self) noexcept = 0;
  /// The calling M goes on to be at large: open them here.
  virtual void before_running(sigsafe::thread_block& self) noexcept = 0;

 protected:
  ~dispatcher() = default;
};

class duty {
 public:
  explicit duty(dispatcher& to) noexcept : dispatcher_(to) {}
  duty(const duty&) = delete;
  duty& operator=(const duty&) = delete;

  /// First call of the stand-by thread: makes what it needs. Returns 0 or a negated errno.
  long prepare(sigsafe::thread_block& self) noexcept;
  /// The body of the stand-by thread, which lasts as long as the process. `by_handler` chooses
  /// sigtramp as the way in.
  [[noreturn]] void stand_by(sigsafe::thread_block& self, bool by_handler) noexcept;

  /// Blocks a receiver until its parker is notified (true) or the deadline passes (false).
  bool receive_wait(sched::parker& parker, sigsafe::thread_block& self,
                    std::int64_t deadline_ns) noexcept;

  /// An M without work waits with the duty until its parker is notified, or something has been made
  /// ready. It is at large then: it has given the duty up, but signals come in by it alone.
  void machine_wait(sched::parker& bed, sigsafe::thread_block& self,
                    const sched::g_list& made_ready) noexcept;
  /// The M at large will not come back: the signals are for others to take.
  void resign(sigsafe::thread_block& self) noexcept;
  /// Dispatches what is queued if nobody has the duty.
  void look(sigsafe::thread_block& self) noexcept;

  /// A foreign loop looks: takes the duty if nobody has it, dispatches what is queued and one
  /// signal of the kernel's, and leaves it again. Never blocks.
  void poll(sigsafe::thread_block& self) noexcept;
  /// From now on loops poll this signalfd, so the stand-by thread no longer waits in the kernel
  /// for the signals themselves: it looks after lease_ns whether somebody took them.
  void set_loop_fd(int fd) noexcept { loop_fd_.store(fd); }

  /// Control: takes the duty, waiting for the owner to give way; leaves it again.
  void own(sigsafe::thread_block& self) noexcept;
  void release(sigsafe::thread_block& self) noexcept;

  /// With the duty: dispatches what is queued, and never more than the queue holds: when more came
  /// meanwhile, intake::consumer says `news` afterwards. take_pending takes what the kernel has of
  /// `set`, without waiting, `most` signals at the most.
  void drain(sigsafe::thread_block& self) noexcept;
  void take_pending(sigsafe::thread_block& self, signal_set set, unsigned most) noexcept;
  /// Without the duty: takes and dispatches what of `set` is pending, if anything is.
  void take_own(sigsafe::thread_block& self, signal_set set) noexcept;
  /// The same for what was sent to the calling thread alone, and is closed here.
  void take_alone(sigsafe::thread_block& self) noexcept;

  /// The signals that are waited for. Changed with the duty.
  void set_wait_set(signal_set set) noexcept { wait_set_.store(set.bits()); }
  signal_set wait_set() const noexcept { return signal_set{wait_set_.load()}; }
  void set_handler_set(signal_set set) noexcept { handler_set_.store(set.bits()); }

  int owner_tid() const noexcept { return static_cast<int>(owner_.load()); }

 private:
  bool try_own(int tid) noexcept;
  bool try_own_wait(int tid) noexcept;
  bool lead(sched::parker& parker, sigsafe::thread_block& self, std::int64_t deadline_ns,
            const sched::g_list* made_ready = nullptr) noexcept;
  bool rest() noexcept;
  void let_go() noexcept;
  void go_at_large(sigsafe::thread_block& self) noexcept;
  void lead_standing_by(sigsafe::thread_block& self) noexcept;
  bool loops_left_something(sigsafe::thread_block& self) noexcept;
  void lead_by_handler(sigsafe::thread_block& self) noexcept;
  void dispatch_queued() noexcept;
  void take(const siginfo_t& info, int tid) noexcept;
  long wait_in_kernel(sigsafe::thread_block& self, signal_set set, siginfo_t& info,
                      std::int64_t deadline_ns) noexcept;
  bool offer(sched::parker& parker) noexcept;
  void withdraw(sched::parker& parker) noexcept;
  bool poke_candidate() noexcept;
  void arm_lease() noexcept;
  void set_stand_by_mask(sigsafe::thread_block& self) noexcept;

  dispatcher& dispatcher_;
  std::atomic<std::uint32_t> owner_{0};
  std::atomic<std::uint32_t> wanters_{0};
  std::atomic<std::uint64_t> wait_set_{0};
  std::atomic<std::uint64_t> handler_set_{0};  // what the stand-by thread has open
  std::mutex candidate_lock_;                  // held for a few instructions, never across a wait
  sched::parker* candidate_ = nullptr;
  std::atomic<bool> has_candidate_{false};
  std::atomic<std::int64_t> lease_until_ns_{0};
  std::atomic<std::int64_t> lease_now_ns_{lease_ns};  // moved by the stand-by thread
  std::atomic<bool> timer_armed_{false};
  std::atomic<int> loop_fd_{-1};
  int timer_ = -1;
  signal_set stand_by_mask_;  // the stand-by thread's own, to save system calls
};

}  // namespace sigrun::signal
