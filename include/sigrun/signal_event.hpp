// SPDX-License-Identifier: Apache-2.0
//
// One signal, as an ordinary value: what came, who sent it, what it carried, and when it passed
// each hop on its way to the program.
#pragma once

#include <cstdint>
#include <type_traits>

namespace sigrun {

/// Who brought the signal about.
enum class signal_origin : std::uint8_t {
  kernel,     ///< the kernel itself: a fault, a child, a timer, a tty, an fd
  user,       ///< a process through kill, tgkill or sigqueue
  runtime,    ///< this runtime: inject(), a re-raised signal
  bridge,     ///< another runtime through sigbridge
  simulated,  ///< a test or a guest without an operating system
  goroutine,  ///< this program, to one of its goroutines: goroutine::raise()
};

/// Which member of siginfo_t's union is the valid one. Decided from signo and si_code, as the
/// kernel decides it (linux kernel/signal.c, siginfo_layout), never field by field.
enum class signal_cause : std::uint8_t {
  kernel,         ///< SI_KERNEL, or a code that carries nothing more
  kill,           ///< kill(2): sender
  tkill,          ///< tgkill(2), raise(3), pthread_kill(3): sender
  queue,          ///< sigqueue(3) and every other negative code: sender and value
  timer,          ///< timer_create(2): timer id, overrun and value
  message_queue,  ///< mq_notify(3): sender and value
  child,          ///< SIGCHLD from the kernel: child pid, status, times
  fault,          ///< SIGSEGV SIGBUS SIGFPE SIGILL SIGTRAP from the kernel: address
  poll,           ///< SIGIO and F_SETSIG: band and fd
  system_call,    ///< SIGSYS from seccomp: address, number, architecture
  raise,          ///< goroutine::raise(): value, and both goroutines
};

/// Details of signal_cause::child. Times are in clock ticks of sysconf(_SC_CLK_TCK).
struct child_details {
  std::int32_t pid;
  std::int32_t status;  ///< exit status or signal number, told apart by the event's code (CLD_…)
  std::int64_t user_ticks;
  std::int64_t system_ticks;
};
struct fault_details {
  std::uint64_t address;
  std::int16_t address_lsb;  ///< least significant bit of the address that is valid (SIGBUS)
};
struct timer_details {
  std::int32_t id;  ///< the kernel's timer id
  std::int32_t overrun;
};
struct poll_details {
  std::int64_t band;
  std::int32_t fd;
};
/// Details of signal_cause::raise.
struct raise_details {
  std::uint64_t from;  ///< the goroutine that raised it; 0: a plain thread
  std::uint64_t to;    ///< the goroutine it was raised for
};
struct system_call_details {
  std::uint64_t address;
  std::int32_t number;
  std::uint32_t architecture;  ///< AUDIT_ARCH_…
};

/// CLOCK_MONOTONIC nanoseconds at each hop, 0 where the event has not passed.
struct signal_stamps {
  std::int64_t taken = 0;       ///< left the kernel: handler entered, or the wait returned
  std::int64_t queued = 0;      ///< entered the process's queue; equals `taken` on the direct way
  std::int64_t dispatched = 0;  ///< handed to a subscriber's channel
  std::int64_t received = 0;    ///< the program has it
};

/// A signal that was taken. A plain value: copy it, store it, send it on. Reading any member is
/// safe in a handler. See sigaction(2) for the kernel's siginfo_t that it decodes.
struct signal_event {
  std::int32_t signo = 0;
  std::int32_t code = 0;  ///< si_code
  signal_cause cause = signal_cause::kernel;
  signal_origin origin = signal_origin::kernel;
  /// The kernel or the queue merged signals into this one, and the details are the first one's.
  bool merged = false;
  /// How many signals this event stands for: 1, or more after merging that was counted. (The
  /// kernel's own merging of standard signals cannot be counted by anybody.)
  std::uint32_t count = 1;
  std::int32_t pid = 0;  ///< sender, or the child; 0 from the kernel or another pid namespace
  std::uint32_t uid = 0;
  std::int32_t tid = 0;          ///< thread that took the signal
  std::uint64_t sequence = 0;    ///< process-wide, from 1, without holes, in the order taken. Of
                                 ///< a raised one: of those that its goroutine's queue took in
  std::uint64_t value_bits = 0;  ///< si_value as a whole
  union details_union {
    std::uint64_t words[3];
    child_details child;
    fault_details fault;
    timer_details timer;
    poll_details poll;
    system_call_details system_call;
    raise_details raised;
  } details{};
  signal_stamps at;

  /// The value given to sigqueue(3) or to a timer; 0 where there was none.
  constexpr int value_int() const noexcept { return static_cast<int>(value_bits & 0xffffffffU); }
  void* value_ptr() const noexcept { return reinterpret_cast<void*>(value_bits); }

  /// Details of a kind, or nullptr when the signal is not of that kind.
  const child_details* child() const noexcept { return is(signal_cause::child, &details.child); }
  const fault_details* fault() const noexcept { return is(signal_cause::fault, &details.fault); }
  const timer_details* timer() const noexcept { return is(signal_cause::timer, &details.timer); }
  const poll_details* poll() const noexcept { return is(signal_cause::poll, &details.poll); }
  const system_call_details* system_call() const noexcept {
    return is(signal_cause::system_call, &details.system_call);
  }
  const raise_details* raised() const noexcept { return is(signal_cause::raise, &details.raised); }

 private:
  template <class T>
  const T* is(signal_cause wanted, const T* what) const noexcept {
    return cause == wanted ? what : nullptr;
  }
};

/// Stamps `at.received`; chan<signal_event> calls it on what it gives to a receiver.
void chan_received(signal_event& event) noexcept;

static_assert(std::is_trivially_copyable_v<signal_event> && sizeof(signal_event) <= 128);

}  // namespace sigrun
