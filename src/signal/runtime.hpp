// SPDX-License-Identifier: Apache-2.0
//
// The one signal runtime of a process: the table of subscriptions, what was installed in the
// kernel, the threads it knows, and the duty. Started by the first call that needs it.
//
// A signal's way through the registry:
//   state       means                                    next, and who moves it (under control_)
//   untouched   the kernel has what the program set      subscribed (notify)
//   subscribed  our handler, `wanted`, in the wait set   untouched (last stop), set aside (ignore)
//   set aside   SIG_IGN because ignore() said so         subscribed (notify), untouched (reset)
//
// Invariants:
//  (1) wanted is set before the handler is installed and cleared before the old one comes back:
//      a handler that runs between finds our code, and what it queues is dispatched or handed
//      back to the disposition that is there by then.
//  (2) Before a signal's disposition changes, what the kernel holds pending of it has been taken
//      and dispatched, with the duty in hand, and so has what a thread had been given already. So
//      a signal sent before stop() is delivered.
//  (3) An entry list in the table is immutable. It is freed only after dispatching_ was seen even
//      or changed, so the dispatcher never reads a freed one.
#pragma once

#include "sched/signals.hpp"
#include "signal/duty.hpp"
#include "signal/subscription.hpp"
#include "sigsafe/thread_block.hpp"
#include "sys/clock.hpp"

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace sigrun::signal {

/// KILL and STOP, which nobody can catch, and glibc's two.
inline constexpr auto forbidden_signals = signal_set::of(SIGKILL, SIGSTOP, 32, 33);
inline constexpr auto fault_signals =
    signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGSTKFLT);
/// Never blocked on anybody's thread: faults and signals that a thread's own system call raises,
/// which would otherwise stay pending on that thread alone.
inline constexpr auto never_closed = signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
                                                    SIGSYS, SIGPIPE, SIGXFSZ, SIGPROF, SIGURG) |
                                     forbidden_signals;

class runtime final : dispatcher, detail::chan_hook, sched::signal_duty {
 public:
  /// The running one; starts it when there is none. Throws std::system_error.
  static runtime& start();
  /// nullptr when none runs (or the one that ran was the parent's).
  static runtime* running() noexcept;
  static void configure(const signal_options& options);

  void notify(event_channel& channel, signal_set signals, const notify_options& options);
  void stop(detail::chan_core& channel) noexcept;
  void ignore(signal_set signals);
  void reset(signal_set signals);

  channel_stats stats(detail::chan_core& channel);
  std::vector<signal_event> policy_log(detail::chan_core& channel);
  std::vector<finding> doctor();
  int rearm(chain previous);

  /// The calling thread's block, made at the first call.
  sigsafe::thread_block& here();
  void close_here() noexcept;
  void open_here() noexcept;
  /// The calling thread ends. What pends for it alone would go with it: it is taken now.
  void leave(sigsafe::thread_block& self) noexcept;
  bool lift_here(sigsafe::thread_block& self) noexcept;
  signal_set closable() const noexcept;

  const signal_options& options() const noexcept { return options_; }
  signal_set subscribed() const noexcept;
  /// Serves the duty on the calling thread until end_service(). For run_with_signals().
  void serve_here();
  void end_service() noexcept;

 private:
  enum class afterwards { original, ignored, at_start };

  explicit runtime(const signal_options& options);
  void start_thread();
  void install_rules();

  // dispatcher
  void dispatch(signal_event& event) noexcept override;
  void before_waiting(sigsafe::thread_block& self) noexcept override;
  void before_running(sigsafe::thread_block& self) noexcept override;
  // signal_duty
  signal_set close_from_birth(sigsafe::thread_block& self, signal_set mask) noexcept override;
  void begin_run(sigsafe::thread_block& self) noexcept override;
  void end_run(sigsafe::thread_block& self, signal_set closed_before) noexcept override;
  bool wants(const sigsafe::thread_block& self) noexcept override;
  bool vacant() noexcept override;
  void wait(sched::parker& bed, sigsafe::thread_block& self,
            const sched::g_list& made_ready) noexcept override;
  void look(sigsafe::thread_block& self) noexcept override;
  void before_sleep(sigsafe::thread_block& self) noexcept override;
  void rescue() noexcept override;
  // chan_hook
  bool wait(void* parker, std::int64_t deadline_ns) override;
  void poll() override;
  void closing(detail::chan_core& channel) override;
  int direct_fd(detail::chan_core& channel) override;

  void enable(signal_set signals, const notify_options& options);
  void disable(signal_set signals, afterwards then);
  void take_what_was_sent(sigsafe::thread_block& self, signal_set signals) noexcept;
  void await_handlers(sigsafe::thread_block& self, signal_set signals) noexcept;
  void leave_to_others(detail::chan_core& channel, signal_set signals) noexcept;
  void put_back(int signo, afterwards then);
  static bool keeps_rule(int signo) noexcept;
  void withdraw_handler(int signo) noexcept;
  void reopen(sigsafe::thread_block& self, signal_set signals) noexcept;
  void publish_sets() noexcept;
  void remove_entries(detail::chan_core* channel, signal_set signals);
  void set_entries(int signo, std::unique_ptr<entry_list> entries);
  void wait_for_dispatch() noexcept;
  void take_own_news(sigsafe::thread_block& self) noexcept;
  static void pass_on_raised(const signal_event& event) noexcept;
  static void close(sigsafe::thread_block& self, signal_set signals) noexcept;
  void open_others(signal_set signals) noexcept;
  void close_scheduler() noexcept;
  void unclaimed(const signal_event& event) noexcept;

  static void before_fork() noexcept;
  static void after_fork_in_parent() noexcept;
  static void after_fork_in_child() noexcept;

  const signal_options options_;
  std::mutex control_;  // first in lock order; never taken by the dispatcher
  std::array<std::atomic<const entry_list*>, signal_max + 1> table_{};
  std::map<detail::chan_core*, std::unique_ptr<subscription>> subscriptions_;
  std::array<sys::kernel_sigaction, signal_max + 1> at_start_{};
  std::atomic<std::uint64_t> chained_{0};  // bit n-1: subscribed with a chain
  int signal_fd_ = -1;  // signalfd of the wait set, for channels whose fd() was asked for
  std::atomic<std::uint64_t> dispatching_{0};  // odd while an event is being dispatched
  std::uint64_t sequence_ = 0;                 // with the duty
  std::mutex threads_lock_;                    // second in lock order
  sigsafe::thread_block* threads_ = nullptr;
  duty duty_{*this};
  std::atomic<sched::parker*> service_{nullptr};
  std::atomic<bool> goroutines_receive_{false};  // have done, once
  std::thread thread_;
};

/// What SIGQUIT writes before the process dies of it. Signal-safe.
void write_dump(const ucontext_t& context) noexcept;

}  // namespace sigrun::signal
