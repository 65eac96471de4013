// SPDX-License-Identifier: Apache-2.0
//
// The new process: what it is passed, and how it takes charge; and the listeners of either.
#include "io/socket.hpp"
#include "service/text.hpp"
#include "service/upgrade_core.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/go.hpp>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace sigrun::service {
namespace {

using namespace std::chrono_literals;

constexpr const char* variable = "SIGRUN_UPGRADE";
constexpr auto hello_time = 10s;  // it was sent before this process was started
constexpr auto death_time = 5s;
constexpr std::size_t name_max = 64;

int copy_of(int fd) {
  const long copy = sys::call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
  if (!sys::failed(copy)) return static_cast<int>(copy);
  throw std::system_error(static_cast<int>(-copy), std::system_category(),
                          "sigrun::upgrader: a copy of a listener");
}

// The channel that the environment names; -1 when it names none.
int channel_of_environment() {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return -1;
  const std::string value = text;
  ::unsetenv(variable);  // children of this process have no part in it
  const std::optional<std::int64_t> number = parse_number(value);
  const int fd = number && *number > 2 && *number < 1 << 30 ? static_cast<int>(*number) : -1;
  if (fd < 0 || detail::get_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_SEQPACKET) {
    throw std::invalid_argument(bad_variable(variable, value, "a channel to a predecessor"));
  }
  sys::call(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

void take_watchdog_over(int from) {
  const char* const pid = std::getenv("WATCHDOG_PID");
  if (pid == nullptr || parse_number(pid) != from) return;
  ::setenv("WATCHDOG_PID", std::to_string(sys::getpid()).c_str(), 1);
}

bool fits(const net::endpoint& is, const net::endpoint& wanted) {
  return is.address() == wanted.address() && (wanted.port() == 0 || is.port() == wanted.port());
}

}  // namespace

void upgrade_core::arrive() {
  const int fd = channel_of_environment();
  if (fd < 0) {
    in_charge_.store(true);
    return;
  }
  before_ = upgrade_channel(fd);
  arrived_ = true;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (!sys::failed(sys::call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))) {
    predecessor_.store(peer.pid);
    const long pidfd = sys::pidfd_open(peer.pid, 0);
    if (!sys::failed(pidfd)) before_pidfd_ = static_cast<int>(pidfd);
  }
  take_watchdog_over(predecessor_.load());
  try {
    hear_hello();
  } catch (const std::exception& failure) {
    before_.send({.word = upgrade_word::failed, .text = failure.what()});
    throw;
  }
}

void upgrade_core::hear_hello() {
  const std::int64_t deadline = detail::deadline_in(hello_time);
  const auto next = [&](upgrade_word wanted) {
    upgrade_message message;
    const heard what = before_.receive(message, deadline, nullptr);
    if (what == heard::message && message.word == wanted) return message;
    if (message.fd >= 0) sys::close(message.fd);
    throw std::runtime_error("sigrun::upgrader: the predecessor " +
                             (what == heard::garbage  ? "cannot be understood: " + message.text
                              : what == heard::closed ? std::string("is gone")
                              : what == heard::message
                                  ? std::string("says something out of turn")
                                  : "has not passed its listeners in " + describe(hello_time)));
  };
  const std::uint32_t count = next(upgrade_word::hello).number;
  if (count > upgrader::listeners_max) {
    throw std::runtime_error("sigrun::upgrader: the predecessor passes " + std::to_string(count) +
                             " listeners; at most " + std::to_string(upgrader::listeners_max));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    upgrade_message one = next(upgrade_word::listener);
    if (one.fd < 0) throw std::runtime_error("sigrun::upgrader: a listener without a descriptor");
    const std::size_t nul = std::min(one.text.find('\0'), one.text.size());
    inherited_.push_back({one.text.substr(0, nul), one.fd, (one.number & from_supervisor) != 0,
                          one.text.substr(std::min(nul + 1, one.text.size()))});
  }
}

// -------------------------------------------------------------------------------- the listeners

// Takes the name, and what was passed under it.
std::optional<upgrade_core::passed> upgrade_core::claim(const std::string& name) {
  const auto refuse = [&](const std::string& what) {
    throw std::invalid_argument("sigrun::upgrader::listen: the name \"" +
                                name.substr(0, name.find('\0')) + "\" " + what);
  };
  if (name.empty()) refuse("is empty");
  if (name.size() > name_max) refuse("is longer than 64 bytes");
  if (name.find('\0') != std::string::npos) refuse("has a NUL in it");
  const std::lock_guard hold(lock_);
  if (!copies_) {
    throw std::logic_error("sigrun::upgrader::listen: \"" + name + "\" comes too late");
  }
  for (const passed& one : ours_) {
    if (one.name == name) refuse("is taken");
  }
  if (ours_.size() >= upgrader::listeners_max) {
    throw std::length_error("sigrun::upgrader::listen: \"" + name + "\" is one too many; " +
                            std::to_string(upgrader::listeners_max) + " can be passed");
  }
  if (options_.supervisor_sockets && !arrived_ && !std::exchange(asked_supervisor_, true)) {
    for (systemd::inherited_fd& one : systemd::take_listen_fds()) {
      inherited_.push_back({std::move(one.name), one.fd, true, {}});
    }
  }
  std::optional<passed> found;
  const auto at = std::find_if(inherited_.begin(), inherited_.end(),
                               [&](const passed& one) { return one.name == name; });
  if (at != inherited_.end()) {
    found = std::move(*at);
    inherited_.erase(at);
  }
  ours_.push_back({name, -1, false, {}});
  return found;
}

void upgrade_core::forget(const std::string& name) noexcept {
  const std::lock_guard hold(lock_);
  for (auto one = ours_.begin(); one != ours_.end(); ++one) {
    if (one->name != name) continue;
    if (one->fd >= 0) sys::close(one->fd);
    ours_.erase(one);
    return;
  }
}

template <class Listener>
void upgrade_core::keep_and_serve(passed what, Listener listener,
                                  std::function<void(Listener)> serve) {
  const std::string name = what.name;
  what.fd = copy_of(listener.fd());
  {
    const std::lock_guard hold(lock_);
    for (passed& one : ours_) {
      if (one.name == name) one = std::move(what);
    }
  }
  const auto kept = std::make_shared<Listener>(std::move(listener));
  run_or_wait({name, [kept, serve = std::move(serve)] { serve(std::move(*kept)); }, true});
}

net::endpoint upgrade_core::listen(std::string name, const net::endpoint& at,
                                   std::function<void(net::tcp_listener)> serve,
                                   const net::tcp_listen_options& options) {
  if (!serve)
    throw std::invalid_argument("sigrun::upgrader::listen: \"" + name + "\" is not served");
  std::optional<passed> was = claim(name);
  try {
    net::tcp_listener listener;
    if (was) {
      std::error_code error;
      listener = net::tcp_listener::adopt(was->fd, error);
      if (error || !(was->from_supervisor || fits(listener.local_endpoint(), at))) {
        log_.write("upgrade: \"" + name + "\" was passed, but is not at " + at.to_string() +
                   "; a new one listens there");
        listener = {};
        was.reset();
      }
    }
    if (!listener.is_open()) listener = net::tcp_listener::listen(at, options);
    const net::endpoint where = listener.local_endpoint();
    keep_and_serve({name, -1, was && was->from_supervisor, {}}, std::move(listener),
                   std::move(serve));
    return where;
  } catch (...) {
    forget(name);
    throw;
  }
}

void upgrade_core::listen(std::string name, const net::unix_address& at,
                          std::function<void(net::unix_listener)> serve,
                          net::unix_listen_options options) {
  if (!serve)
    throw std::invalid_argument("sigrun::upgrader::listen: \"" + name + "\" is not served");
  std::optional<passed> was = claim(name);
  try {
    net::unix_listener listener;
    std::string path;
    if (was) {
      std::error_code error;
      path = was->path;
      listener = net::unix_listener::adopt(was->fd, error);
      if (error || !(was->from_supervisor || listener.local_address() == at)) {
        log_.write("upgrade: \"" + name + "\" was passed, but is not at " + at.to_string() +
                   "; a new one listens there");
        listener = {};
        was.reset();
      }
    }
    if (!listener.is_open()) {
      // Here it is known whether somebody still listens there, and removes the path if not.
      path = options.unlink_on_close && !at.is_abstract() ? at.name() : std::string();
      options.unlink_on_close = false;
      listener = net::unix_listener::listen(at, options);
    }
    keep_and_serve({name, -1, was && was->from_supervisor, std::move(path)}, std::move(listener),
                   std::move(serve));
  } catch (...) {
    forget(name);
    throw;
  }
}

void upgrade_core::when_in_charge(std::string name, std::function<void()> f) {
  if (!f) {
    throw std::invalid_argument("sigrun::upgrader::when_in_charge: \"" + name + "\" is empty");
  }
  run_or_wait({std::move(name), std::move(f), false});
}

void upgrade_core::run_or_wait(waiting what) {
  {
    const std::lock_guard hold(lock_);
    if (!in_charge_.load()) {
      waiting_.push_back(std::move(what));
      return;
    }
  }
  what.run();
}

// ------------------------------------------------------------------------------- taking charge

charge upgrade_core::take_charge() {
  charge result;
  if (arrived_) {
    result.failure = await_go();
    if (!result.failure.empty()) return result;
    try {
      run_waiting();
    } catch (...) {
      result.failure = what_of_current_exception();
      life_.successor.store(predecessor_.load());  // (5), before it can have this one stopped
      if (!before_.send({.word = upgrade_word::failed, .text = result.failure})) {
        life_.successor.store(0);
      }
      return result;
    }
    result.announced = before_.send({.word = upgrade_word::serving});
    if (!result.announced && options_.tell_supervisor) {
      tell([] { systemd::main_pid(sys::getpid()); });
    }
    goroutines_.push_back(go({.name = "upgrade predecessor"}, [this] { hear_predecessor(); }));
  }
  drop_unclaimed();
  return result;
}

// Empty: this process takes charge.
std::string upgrade_core::await_go() {
  if (!before_.send({.word = upgrade_word::ready, .number = takes_connections}) &&
      !predecessor_has_died()) {
    return "the predecessor does not listen";
  }
  upgrade_message message;
  std::string why;
  switch (before_.receive(message, detail::deadline_in(options_.timeout), &over_.ctx)) {
    case heard::message:
      if (message.fd >= 0) sys::close(message.fd);
      if (message.word == upgrade_word::go) return {};
      return message.word == upgrade_word::back ? "the predecessor goes on: " + message.text
                                                : "the predecessor says something out of turn";
    case heard::closed:
      if (predecessor_has_died()) {  // (2)
        log_.write("upgrade: the predecessor has died; this process takes charge");
        return {};
      }
      return "the predecessor has closed the channel";
    case heard::timed_out:
      why = "the predecessor has said nothing for " + describe(options_.timeout);
      break;
    case heard::canceled:
      why = "it is told to stop";
      break;
    case heard::garbage:
      why = "the predecessor cannot be understood: " + message.text;
      break;
  }
  before_.send({.word = upgrade_word::failed, .text = why});
  return why;
}

// The end of the channel comes a moment before that of the process.
bool upgrade_core::predecessor_has_died() {
  if (before_pidfd_ < 0) return true;
  const std::int64_t deadline = detail::deadline_in(death_time);
  return foreign_call([&] {
    for (;;) {
      pollfd end{before_pidfd_, POLLIN, 0};
      const sys::timespec64 left = sys::to_timespec(deadline - sys::now_ns());
      const long ready = sys::call(SYS_ppoll, &end, 1, &left, nullptr, sys::sigset_bytes);
      if (ready != -EINTR) return ready == 1;
    }
  });
}

void upgrade_core::run_waiting() {
  std::vector<waiting> all;
  {
    const std::lock_guard hold(lock_);
    in_charge_.store(true);
    all = std::exchange(waiting_, {});
  }
  std::stable_partition(all.begin(), all.end(), [](const waiting& one) { return !one.serves; });
  for (waiting& one : all) {  // (5)
    if (one.serves && over_.ctx.ended()) throw std::runtime_error("the service is told to stop");
    try {
      one.run();
    } catch (...) {
      throw std::runtime_error("\"" + one.name + "\": " + what_of_current_exception());
    }
  }
}

void upgrade_core::drop_unclaimed() {
  std::vector<passed> all;
  {
    const std::lock_guard hold(lock_);
    all = std::exchange(inherited_, {});
  }
  for (const passed& one : all) {
    log_.write("upgrade: nobody listens on \"" + one.name + "\" any more; it is closed");
    sys::close(one.fd);
    if (!one.path.empty()) sys::call(SYS_unlinkat, AT_FDCWD, one.path.c_str(), 0);
  }
}

// As long as it drains.
void upgrade_core::hear_predecessor() {
  upgrade_message message;
  for (;;) {
    const heard what = before_.receive(message, detail::wait_for_ever, &gone_.ctx);
    if (what == heard::canceled) return;
    if (what != heard::message) break;
    if (message.word == upgrade_word::connection && message.fd >= 0) {
      const bool taken = life_.take_connection(message.text, message.fd);  // (7)
      const std::lock_guard hold(lock_);
      ++(taken ? stats_.connections_taken : stats_.connections_refused);
      continue;
    }
    if (message.fd >= 0) sys::close(message.fd);
    if (message.word == upgrade_word::leaving && message.number != 0) {
      request("predecessor", message.number);
    } else if (message.word == upgrade_word::back) {
      life_.successor.store(predecessor_.load());  // (5); a SIGTERM of it comes too
      log_.write("upgrade: too late, the predecessor goes on: " + message.text);
    }
  }
  predecessor_.store(0);
  const std::lock_guard hold(lock_);
  changed_.notify_all();
}

}  // namespace sigrun::service
