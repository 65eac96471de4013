// SPDX-License-Identifier: Apache-2.0
//
// What a service tells its supervisor, and what it gets from it, by systemd's protocols: state
// messages over NOTIFY_SOCKET (sd_notify(3)), sockets that were opened before the service was
// started (sd_listen_fds(3)), and the watchdog (sd_watchdog_enabled(3)). Nothing of systemd has to
// be installed: both are a datagram and a few environment variables, and anybody may be at the
// other end.
//
// Threads: every function may be called from any goroutine and any thread; none in a signal
// handler. The environment is read at each call; who changes it meanwhile must know what he does.
#pragma once

#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sigrun::systemd {

/// Whether somebody listens: NOTIFY_SOCKET is set.
bool supervised() noexcept;

/// Sends assignments, one a line: "READY=1\nSTATUS=warm". False, and no error, when nobody listens.
/// `error`: invalid_argument for a NOTIFY_SOCKET that is neither a path nor an abstract name
/// ("@name"), what sendmsg(2) says, or timed_out when the listener has not read for 2 s.
bool notify(std::string_view assignments, std::error_code& error) noexcept;
/// The same; what goes wrong is a std::system_error that names the socket.
bool notify(std::string_view assignments);

/// READY=1: the start, or a reload, is over.
bool ready();
/// RELOADING=1 with MONOTONIC_USEC, which `Type=notify-reload` waits for. Must be followed by
/// ready(), also when the reload fails.
bool reloading();
bool stopping();  ///< STOPPING=1
/// STATUS=: one line for people; line breaks in it become blanks.
bool status(std::string_view text);
/// MAINPID=: the service goes on in this process. std::invalid_argument for a pid below 1.
bool main_pid(int pid);
/// EXTEND_TIMEOUT_USEC=: the next message comes within that time. Counts from now; beyond the
/// time-out of the unit the supervisor waits no longer than this. At least one microsecond.
bool extend_timeout(std::chrono::microseconds time);
bool keep_watchdog_quiet();  ///< WATCHDOG=1
bool trigger_watchdog();     ///< WATCHDOG=trigger: as if the time had run out

/// How often WATCHDOG=1 is expected at least, from WATCHDOG_USEC; nothing without, or when
/// WATCHDOG_PID is another process. std::invalid_argument names what is no number.
std::optional<std::chrono::microseconds> watchdog_interval();

/// Sends WATCHDOG=1 twice in each interval, from a goroutine: so a scheduler that stands still says
/// nothing, and the supervisor acts. The end of the object ends it.
class watchdog {
 public:
  /// Watches nothing.
  watchdog() noexcept = default;
  /// Takes watchdog_interval(); without one it does nothing. `alive`, if given, is asked before
  /// each message: as long as it says false, or throws, or does not return, none is sent.
  explicit watchdog(std::function<bool()> alive);
  watchdog(std::function<bool()> alive, std::chrono::microseconds interval);
  watchdog(watchdog&&) noexcept = default;
  watchdog& operator=(watchdog&&) noexcept;
  ~watchdog();

  bool running() const noexcept { return state_ != nullptr; }
  /// Messages sent, resp. left out because `alive` did not say so.
  std::uint64_t sent() const noexcept;
  std::uint64_t withheld() const noexcept;

 private:
  struct state;
  std::shared_ptr<state> state_;
};

/// A socket, or whatever the unit names, that was open before the service was started.
struct inherited_fd {
  int fd = -1;
  std::string name;  ///< FileDescriptorName=, "unknown" without one
};

/// Those of LISTEN_FDS, in the unit's order, marked to close on exec; empty when LISTEN_PID is
/// another process. The variables are taken away, so that children do not take them for theirs, and
/// a second call finds nothing. The fds are the caller's: tcp_listener::adopt() and its kin.
/// std::invalid_argument names a variable that makes no sense, and nothing was changed then.
std::vector<inherited_fd> take_listen_fds();

}  // namespace sigrun::systemd
