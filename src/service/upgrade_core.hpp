// SPDX-License-Identifier: Apache-2.0
//
// Handing a service over to a new process, both sides of it.
//
//   the old process, an attempt:        the new process:
//     idle                                arriving     hello and the listeners are read
//      │ spawn                               │ life.ready()
//      ▼                                     ▼
//     waiting ◀───────── ready ────────── offering     nothing is accepted yet
//      │ still serves, check()               │
//      ▼                                     ▼
//     going ────────────── go ─────────▶  in charge    runs what when_in_charge() was given
//      │                                     │
//      ▼ ◀────────────── serving ────────────┤
//     leaving ─────────── leaving ──────▶    │         the channel ends with the old process
//
// From waiting and going the old one goes back to idle, by `back` and a SIGTERM, when its deadline
// passes, the child ends, the channel does, the service is told to stop, or the new one says
// failed.
//
// Invariants:
//  (1) The old one goes on accepting until it has heard `serving`, so each moment somebody does; a
//      listening socket is closed by its last holder only, and the queue is the socket's.
//  (2) The new one accepts only after `go`, or when the old one is gone: not merely silent. The end
//      of the channel without `back` counts as that when the process has ended too.
//  (3) One attempt at a time, and only when no predecessor is left: there are at most three
//      processes, two of which serve.
//  (4) A request is answered by an attempt that began after it (single_flight.hpp); what comes
//      during one that succeeds is passed on, by `leaving`, and answered by its record here.
//  (5) Listeners are served after all else that waits for the charge, so that what fails there has
//      accepted nothing. Whose new process fails later still has the predecessor: it is told as a
//      successor is, so that what was accepted is served to its end.
//  (6) The copies of the listeners are closed when the end of the service begins, so that its
//      acceptors hold the last ones when they close.
//  (7) After `leaving` the old one passes connections of which nothing was read that it has not
//      answered, so that either process, and never both, reads what comes on one.
#pragma once

#include "service/lifecycle.hpp"
#include "service/line_log.hpp"
#include "service/single_flight.hpp"
#include "service/upgrade_channel.hpp"

#include <sigrun/children.hpp>
#include <sigrun/systemd.hpp>
#include <sigrun/upgrade.hpp>

#include <optional>

namespace sigrun::service {

/// The program and its arguments that started this process, see upgrade_options::arguments.
std::vector<std::string> start_command();
/// The environment of now for a successor: with `added`, without what is only for this process.
std::vector<std::string> environment_for_successor(const std::vector<std::string>& added);

class upgrade_core : public drainable, public std::enable_shared_from_this<upgrade_core> {
 public:
  upgrade_core(graceful_state& life, upgrade_options options);
  ~upgrade_core() override;

  // upgrade_arrival.cpp: the new side, and the listeners
  void arrive();
  net::endpoint listen(std::string name, const net::endpoint& at,
                       std::function<void(net::tcp_listener)> serve,
                       const net::tcp_listen_options& options);
  void listen(std::string name, const net::unix_address& at,
              std::function<void(net::unix_listener)> serve, net::unix_listen_options options);
  void when_in_charge(std::string name, std::function<void()> f);
  /// Called by graceful::ready().
  charge take_charge();

  // upgrade.cpp: the old side
  void start_goroutines();
  void stop() noexcept;
  upgrade_record ask();
  std::vector<upgrade_record> history() const;
  upgrade_stats stats() const;
  bool is_successor() const noexcept { return arrived_; }
  bool in_charge() const noexcept { return in_charge_.load(); }
  int predecessor() const noexcept { return predecessor_.load(); }

  // drainable
  void leaving() override;
  void refuse() override;
  void drain(const context&) override {}
  void cut_off() noexcept override {}

 private:
  struct passed {  // what there is for successors, resp. what was passed
    std::string name;
    int fd = -1;  // a copy of ours
    bool from_supervisor = false;
    std::string path;  // to remove; empty for none
  };
  struct waiting {
    std::string name;
    std::function<void()> run;
    bool serves = false;
  };
  struct flight;

  void hear_hello();
  void run_or_wait(waiting what);
  std::optional<passed> claim(const std::string& name);
  template <class Listener>
  void keep_and_serve(passed what, Listener listener, std::function<void(Listener)> serve);
  void forget(const std::string& name) noexcept;
  std::string await_go();
  bool predecessor_has_died();
  void run_waiting();
  void drop_unclaimed();
  void hear_predecessor();

  std::uint64_t request(std::string asked_by, std::uint64_t count);
  void receive_signals();
  void run();
  void try_upgrade(upgrade_record& record, flight_batch& asked);
  bool await_predecessor(upgrade_record& record);
  bool launch(flight& now, upgrade_record& record);
  bool hear(flight& now, upgrade_word wanted, upgrade_record& record);
  bool still_serving(flight& now, upgrade_record& record);
  void explain_end(flight& now, upgrade_record& record);
  void roll_back(flight& now, const upgrade_record& record);
  void hand_on(flight& now, flight_batch& asked);
  void note(upgrade_record record, std::uint64_t upto);
  bool pass_connection(const std::string& name, int fd);
  void tell(const std::function<void()>& what) noexcept;

  graceful_state& life_;
  const upgrade_options options_;
  const std::vector<std::string> command_;
  line_log log_;
  signal_chan signals_{64};
  std::vector<goroutine> goroutines_;
  cancelable gone_ = with_cancel(context());  // the upgrader ends
  cancelable over_ = with_cancel(gone_.ctx);  // or the service does

  bool arrived_ = false;
  upgrade_channel before_;  // to the predecessor
  int before_pidfd_ = -1;
  upgrade_channel after_;  // to the successor, so that it sees when this process is gone
  std::atomic<int> predecessor_{0};
  std::atomic<bool> in_charge_{false};
  std::atomic<bool> handed_on_{false};
  std::shared_ptr<chan<bool>> hung_check_;  // the runner's: a check that has not returned

  single_flight<upgrade_record> requests_;
  mutable mutex lock_;
  cond changed_;                   // predecessor_, over_
  std::vector<passed> inherited_;  // not claimed yet
  std::vector<passed> ours_;
  std::vector<waiting> waiting_;
  bool copies_ = true;  // of listeners are kept
  bool asked_supervisor_ = false;
  upgrade_stats stats_;
};

}  // namespace sigrun::service
