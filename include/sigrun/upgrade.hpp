// SPDX-License-Identifier: Apache-2.0
//
// A new executable takes a running service over: it gets the listening sockets, says when it is
// ready, and only then takes charge, while the old one finishes what it has and ends. One that
// fails leaves the old one as it was.
//
//   int main() {
//     return sigrun::run_service([](sigrun::graceful& life) {
//       sigrun::upgrader upgrade(life);   // SIGUSR2 asks for it
//       const auto at = *sigrun::net::endpoint::parse("[::]:7");
//       upgrade.listen("echo", at, [&](sigrun::net::tcp_listener listener) {
//         life.accept("echo", std::move(listener), echo);
//       });
//       life.serve();
//     });
//   }
//
// The old process and the new one, its child, talk over a pair of sockets:
//   old   starts it, and passes the listeners, whose queues both share from here on
//   new   opens what it needs; life.ready(), or serve(), says READY
//   old   looks whether it still serves itself, and says GO
//   new   is in charge: its listeners are served, what when_in_charge() was given runs; SERVING
//   old   ends as <sigrun/graceful.hpp> says, without a lame-duck time and with exit status 0
// What comes in between (the new one ends, hangs, cannot be started, says that it failed, or says
// something else; the old one is told to stop) rolls back: the new one is ended, the old one goes
// on. No connection is lost either way: the sockets are never closed.
//
// Threads: everything may be called from any goroutine and any thread; nothing in a signal handler.
#pragma once

#include <sigrun/graceful.hpp>
#include <sigrun/net.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun {

namespace service {
class upgrade_core;
}

struct upgrade_options {
  /// What asks for an upgrade: SIGUSR2. Empty: only upgrade() does. An inherited SIG_IGN of SIGHUP
  /// is honoured.
  std::vector<int> signals{12};
  /// What is started: a path and its arguments. Empty: the path and the arguments that this process
  /// was started with, a relative path as seen from the working directory at construction. So a
  /// file that was replaced, and a symbolic link that was turned, are followed.
  std::vector<std::string> arguments{};
  /// "NAME=value", added to the environment of the new process.
  std::vector<std::string> environment{};
  /// From the start of the new process until it is in charge. A predecessor that still drains is
  /// waited for at most as long before that.
  std::chrono::nanoseconds timeout = std::chrono::seconds(60);
  /// A new process that is given up gets SIGTERM, its whole process group, and after that SIGKILL.
  std::chrono::nanoseconds kill_grace = std::chrono::seconds(5);
  /// Called in the old process when the new one is ready: what it throws rolls back. May be empty.
  std::function<void()> check{};
  /// listen() takes sockets of LISTEN_FDS (<sigrun/systemd.hpp>) by their names.
  bool supervisor_sockets = true;
  /// RELOADING=1 before; READY=1 after, with MAINPID= of the new process when it took over.
  bool tell_supervisor = true;
  /// A line for each attempt; stderr by default. As graceful_options::log.
  std::function<void(std::string_view)> log{};
};

enum class upgrade_outcome : std::uint8_t {
  upgraded,     ///< the new process is in charge, this one drains
  rolled_back,  ///< this one goes on; `failure` and `what` say why
  too_late,     ///< nothing was tried: the service ends, or is not in charge
};
std::string_view to_string(upgrade_outcome outcome) noexcept;

/// Why an attempt was rolled back.
enum class upgrade_failure : std::uint8_t {
  none,
  not_started,  ///< execve(2) and what comes before it; `what` has the error
  ended,        ///< the new process ended before it was in charge
  timed_out,    ///< it was not in charge in time
  refused,      ///< it said itself why it cannot
  protocol,     ///< it spoke another version, or something else
  check,        ///< upgrade_options::check threw, or did not return in time
  stopping,     ///< this service was told to stop
  predecessor,  ///< the process before this one still drains
};
inline constexpr std::size_t upgrade_failures = 9;
std::string_view to_string(upgrade_failure failure) noexcept;

/// One attempt.
struct upgrade_record {
  std::uint64_t attempt = 0;  ///< from 1; 0 when nothing was tried
  upgrade_outcome outcome = upgrade_outcome::too_late;
  upgrade_failure failure = upgrade_failure::none;
  std::string what{};          ///< the failure, for people
  int pid = 0;                 ///< of the new process; 0: none was started
  std::string asked_by{};      ///< "call", "SIGUSR2 from pid 7 (uid 0)", "predecessor"
  std::uint64_t requests = 0;  ///< how many it answers
  std::chrono::system_clock::time_point at{};
  std::chrono::nanoseconds took{0};
};

/// All only grow.
struct upgrade_stats {
  std::uint64_t requests = 0;
  std::uint64_t too_late = 0;  ///< of these: came when the service was ending or not in charge
  std::uint64_t attempts = 0;
  std::uint64_t upgraded = 0;  ///< 0 or 1: after that this process ends
  std::uint64_t rolled_back = 0;
  std::array<std::uint64_t, upgrade_failures> by_failure{};  ///< index: upgrade_failure
  std::uint64_t passed_on = 0;  ///< requests that came during the last attempt: the new one's
  std::uint64_t connections_passed = 0;   ///< to the successor
  std::uint64_t connections_taken = 0;    ///< of the predecessor
  std::uint64_t connections_refused = 0;  ///< closed: no server here has that name
};

/// Upgrades of one service. There is one in a process.
class upgrader {
 public:
  /// At most that many listeners.
  static constexpr std::size_t listeners_max = 64;

  /// Subscribes the signals. In a process that an upgrade has started, takes what the old one
  /// passes: SIGRUN_UPGRADE says where, and is taken away from the environment; WATCHDOG_PID
  /// becomes this process. Throws std::invalid_argument, naming it, for a member or variable that
  /// makes no sense, std::runtime_error when the old process speaks another version,
  /// std::logic_error for a second upgrader of `life`.
  explicit upgrader(graceful& life, upgrade_options options = {});
  /// Waits for the attempt that is under way, which is given up.
  ~upgrader();
  upgrader(const upgrader&) = delete;
  upgrader& operator=(const upgrader&) = delete;

  /// A listener for the service and its successors: the predecessor's of that name if it is at that
  /// address (port 0: at any port of it), the supervisor's of that name wherever it is, otherwise a
  /// new one. serve(listener) takes it as soon as this process is in charge: at once, or in
  /// life.ready(). Returns where it listens. Throws as tcp_listener::listen() and what serve()
  /// throws; std::invalid_argument for a name that is empty, taken, or longer than 64 bytes;
  /// std::length_error beyond listeners_max; std::logic_error once the service ends.
  net::endpoint listen(std::string name, const net::endpoint& at,
                       std::function<void(net::tcp_listener)> serve,
                       const net::tcp_listen_options& options = {});
  /// The same on a Unix socket. Its path is removed when the service ends without a successor.
  void listen(std::string name, const net::unix_address& at,
              std::function<void(net::unix_listener)> serve,
              const net::unix_listen_options& options = {});
  /// What only the process in charge may do: f() at once, or in life.ready(), in the order of
  /// registration, before any listener is served. When it throws there, the upgrade is rolled back.
  void when_in_charge(std::string name, std::function<void()> f);

  /// Asks for an upgrade, and waits for an attempt that has begun after this call. Must not be
  /// called by `check`. After `upgraded` the service is about to end.
  upgrade_record upgrade();

  /// Whether an upgrade has started this process.
  bool is_successor() const noexcept;
  /// From the beginning, or from the GO of the predecessor on; until a successor serves.
  bool in_charge() const noexcept;
  /// The process before this one, as long as it drains; 0: there is none.
  int predecessor() const noexcept;

  /// The last attempts, at most 32, oldest first.
  std::vector<upgrade_record> history() const;
  upgrade_stats stats() const;

 private:
  std::shared_ptr<service::upgrade_core> core_;
};

}  // namespace sigrun
