// SPDX-License-Identifier: Apache-2.0
//
// The end of a service, inside.
//
//   serving ──▶ listen ──▶ refuse ──▶ drain ──▶ ended          (phase_)
//
// One plain thread, the conductor ("sigrun-stop"), moves every edge. It waits in the signal channel
// from the beginning, so that the end does not depend on the scheduler: what others wrote runs in
// goroutines that it waits for with a limit, and never in the conductor itself.
//
// Invariants:
//  (1) The conductor waits for nothing without a limit: hooks, drainables, the log and acceptors
//      get what is left of their budget and are left behind; the supervisor's socket and stderr are
//      written to for a bounded time. So the deadline holds whatever hangs.
//  (2) Work is in the list from before its goroutine starts until its last destructor has run.
//      Nothing is admitted from `refuse` on but what an acceptor finds in the kernel's queue.
//  (3) in_flight_ drops before the leaver looks at drain_waits_; the conductor sets drain_waits_
//      before it looks at in_flight_; all seq_cst. So the last one's leaving is never missed.
//  (4) State outlives the graceful: every goroutine and ticket holds it.
#pragma once

#include "service/line_log.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/graceful.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>

#include <atomic>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <thread>

namespace sigrun {

namespace service {

using clock = std::chrono::steady_clock;

/// One piece of work in flight.
struct work_entry {
  std::string name;
  clock::time_point since;
  std::list<work_entry>::iterator self{};
};

/// What serves one listener.
class acceptor {
 public:
  virtual ~acceptor() = default;
  /// Accept what is queued, close; `closed` is told. Does not wait.
  virtual void refuse() noexcept = 0;
  virtual void cut_off() noexcept = 0;
};

struct hook {
  stop_phase when;
  int priority;
  std::string name;
  std::function<void()> run;
  std::chrono::nanoseconds timeout;
};

/// What becomes of a service that says it is ready, see upgrade_core.hpp.
struct charge {
  std::string failure{};   // why it does not take charge; empty: it does
  bool announced = false;  // the supervisor hears it from somebody else
};

struct graceful_state : std::enable_shared_from_this<graceful_state> {
  explicit graceful_state(graceful_options from);

  // graceful.cpp
  void* add_work(std::string name, bool admit_always);  // nullptr: refused
  void remove_work(void* entry) noexcept;
  std::vector<std::string> list_work(std::size_t max) const;
  void fail(const std::string& who, const std::string& what);
  void start_conductor();
  void leave_all() noexcept;  // the destructor's
  void hand_on(int pid);      // a successor serves: begin the end

  // passing.cpp
  /// False: nobody takes it, and it is closed.
  bool take_connection(const std::string& name, int fd);

  // stop_sequence.cpp: the conductor
  void conduct() noexcept;
  void listen_phase();
  void refuse_phase();
  void drain_phase();
  void wait_for_work(clock::time_point until);
  void run_hooks(stop_phase when, clock::time_point until);
  void run_limited(const std::string& name, std::function<void()> work, clock::time_point until);
  void enter(stop_phase next);
  void finish();
  void guard();
  void tell(const std::function<void()>& what) noexcept;
  void report_work();
  bool hurried() const noexcept { return outcome.cut_short || abandoned; }
  void wait_until(clock::time_point until, const chan<bool>& other);
  void note_second(const signal_event& event);
  bool is_of_who_serves(const signal_event& event) const noexcept;
  [[noreturn]] void end_process_now() noexcept;
  void say(const std::string& line) noexcept { log.write(line); }

  graceful_options options;
  std::chrono::nanoseconds deadline{};
  std::optional<std::chrono::nanoseconds> grace;  // what the supervisor gives

  std::atomic<stop_phase> phase{stop_phase::serving};
  std::atomic<bool> is_ready{false};
  std::atomic<bool> readying{false};  // ready() was called
  std::atomic<int> successor{0};
  std::atomic<bool> supervisor_hears{true};
  std::atomic<std::int64_t> deadline_at_ns{0};  // 0 before the end began
  std::atomic<std::uint64_t> failed_connections{0};

  mutable mutex lock;
  cond changed;
  std::list<work_entry> work;
  std::vector<hook> hooks;
  std::vector<std::pair<std::string, std::shared_ptr<drainable>>> drainables;
  std::vector<std::shared_ptr<acceptor>> acceptors;
  std::function<charge()> take_charge;  // an upgrader's; empty without
  bool over = false;                    // outcome is what it will be

  // Under `passing`: who takes connections of a predecessor, and the way to a successor.
  mutable mutex passing;
  std::map<std::string, std::function<void(net::tcp_stream)>> takers;
  std::function<bool(const std::string&, int)> pass;

  std::atomic<std::size_t> in_flight{0};
  std::atomic<bool> drain_waits{false};
  chan<bool> idle{1};
  wait_group goroutines;  // go(), accept() and their connections
  wait_group open_listeners;

  cancelable stopping = with_cancel(context());
  cancelable cut = with_cancel(context());
  signal_chan control{16};
  std::thread conductor;
  line_log log;

  // The conductor's own.
  signal_event cause{};
  clock::time_point began;
  clock::time_point ends;
  bool abandoned = false;  // the graceful is being destroyed
  stop_outcome outcome;
};

}  // namespace service
}  // namespace sigrun
