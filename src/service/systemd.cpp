// SPDX-License-Identifier: Apache-2.0
//
// One datagram a message, on a socket of its own each time, as sd_notify(3) does: a service that is
// chrooted, restarted under another supervisor or handed over keeps nothing that could be stale.
#include "service/believed_ready.hpp"
#include "service/text.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/systemd.hpp>

#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace sigrun::systemd {
namespace {

constexpr int send_limit_seconds = 2;
std::atomic<bool> is_ready{false};

std::error_code as_error(long result) noexcept {
  return {static_cast<int>(-result), std::system_category()};
}

// The kernel's form of "@name" and "/path"; 0 when it is neither.
socklen_t to_address(std::string_view name, sockaddr_un& to) noexcept {
  if (name.size() < 2 || (name[0] != '/' && name[0] != '@')) return 0;
  if (name.size() >= sizeof to.sun_path) return 0;
  to = {};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, name.data(), name.size());
  if (name[0] == '@') to.sun_path[0] = '\0';
  // An abstract name ends with the address, a path with its NUL.
  const std::size_t tail = name[0] == '@' ? 0 : 1;
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + tail);
}

long send_datagram(const sockaddr_un& to, socklen_t size, std::string_view text) noexcept {
  const long fd = sys::call(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  long result =
      sys::call(SYS_sendto, fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT, &to, size);
  if (result == -EAGAIN) {
    // The listener's queue is full: wait for it, but not for ever, and hold up no goroutine.
    const timeval limit{send_limit_seconds, 0};
    sys::call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    result = foreign_call([&] {
      return sys::call(SYS_sendto, fd, text.data(), text.size(), MSG_NOSIGNAL, &to, size);
    });
    if (result == -EAGAIN) result = -ETIMEDOUT;
  }
  sys::close(static_cast<int>(fd));
  return result;
}

// A number of the environment, if its process is meant: `pid_name`'s value is ours, or it is unset.
bool meant_for_us(const char* pid_name) {
  const char* const pid = std::getenv(pid_name);
  if (pid == nullptr) return true;
  const std::optional<std::int64_t> number = service::parse_number(pid);
  if (!number) throw std::invalid_argument(service::bad_variable(pid_name, pid, "a process id"));
  return *number == sys::getpid();
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

}  // namespace

bool believed_ready() noexcept { return is_ready.load(); }
void believe_ready(bool is) noexcept { is_ready.store(is); }

bool supervised() noexcept {
  const char* const name = std::getenv("NOTIFY_SOCKET");
  return name != nullptr && *name != '\0';
}

bool notify(std::string_view assignments, std::error_code& error) noexcept {
  error.clear();
  if (!supervised()) return false;
  sockaddr_un to;
  const socklen_t size = to_address(std::getenv("NOTIFY_SOCKET"), to);
  if (size == 0) {
    error = std::make_error_code(std::errc::invalid_argument);
    return false;
  }
  const long result = send_datagram(to, size, assignments);
  if (sys::failed(result)) error = as_error(result);
  return !error;
}

bool notify(std::string_view assignments) {
  std::error_code error;
  const bool sent = notify(assignments, error);
  if (error) {
    const char* const name = std::getenv("NOTIFY_SOCKET");
    throw std::system_error(error, std::string("sigrun::systemd::notify: NOTIFY_SOCKET=") +
                                       (name != nullptr ? name : ""));
  }
  return sent;
}

bool ready() {
  is_ready.store(true);
  return notify("READY=1");
}
bool reloading() {
  return notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(sys::now_ns() / 1000));
}
bool stopping() {
  is_ready.store(false);
  return notify("STOPPING=1");
}
bool status(std::string_view text) {
  std::string line = "STATUS=" + std::string(text);
  for (char& c : line) {
    if (c == '\n' || c == '\r' || c == '\0') c = ' ';
  }
  return notify(line);
}
bool main_pid(int pid) {
  if (pid < 1) {
    throw std::invalid_argument("sigrun::systemd::main_pid: " + std::to_string(pid) +
                                " is no process id");
  }
  return notify("MAINPID=" + std::to_string(pid));
}
bool extend_timeout(std::chrono::microseconds time) {
  return notify("EXTEND_TIMEOUT_USEC=" + std::to_string(time.count() < 1 ? 1 : time.count()));
}
bool keep_watchdog_quiet() { return notify("WATCHDOG=1"); }
bool trigger_watchdog() { return notify("WATCHDOG=trigger"); }

std::optional<std::chrono::microseconds> watchdog_interval() {
  const char* const text = std::getenv("WATCHDOG_USEC");
  if (text == nullptr || *text == '\0') return std::nullopt;
  const std::optional<std::int64_t> number = service::parse_number(text);
  if (!number || *number < 1) {
    throw std::invalid_argument(
        service::bad_variable("WATCHDOG_USEC", text, "a number of microseconds above 0"));
  }
  if (!meant_for_us("WATCHDOG_PID")) return std::nullopt;
  return std::chrono::microseconds(*number);
}

std::vector<inherited_fd> take_listen_fds() {
  constexpr int first = 3;  // SD_LISTEN_FDS_START
  const char* const text = std::getenv("LISTEN_FDS");
  if (text == nullptr || !meant_for_us("LISTEN_PID")) return {};
  const std::optional<std::int64_t> count = service::parse_number(text);
  if (!count || *count < 0 || *count > INT_MAX - first) {
    throw std::invalid_argument(service::bad_variable("LISTEN_FDS", text, "a number of fds"));
  }
  std::vector<std::string> names;
  if (const char* const list = std::getenv("LISTEN_FDNAMES")) names = split(list, ':');
  std::vector<inherited_fd> found;
  for (int i = 0; i < static_cast<int>(*count); ++i) {
    const int fd = first + i;
    const long flags = sys::call(SYS_fcntl, fd, F_GETFD);
    if (sys::failed(flags)) {
      throw std::invalid_argument(service::bad_variable(
          "LISTEN_FDS", text, "right: fd " + std::to_string(fd) + " is not open"));
    }
    const auto at = static_cast<std::size_t>(i);
    found.push_back({fd, at < names.size() && !names[at].empty() ? names[at] : "unknown"});
  }
  for (const inherited_fd& one : found) sys::call(SYS_fcntl, one.fd, F_SETFD, FD_CLOEXEC);
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  return found;
}

// -------------------------------------------------------------------------------- the watchdog

struct watchdog::state {
  mutex lock;
  cond changed;
  bool over = false;
  std::function<bool()> alive;
  std::chrono::microseconds pause{};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> withheld{0};

  bool ask() noexcept {
    if (!alive) return true;
    try {
      return alive();
    } catch (...) {
      return false;
    }
  }
  void run() {
    for (;;) {
      std::error_code unheard;  // the supervisor notices by itself that it hears nothing
      const bool said = ask() && notify("WATCHDOG=1", unheard);
      ++(said ? sent : withheld);
      lock.lock();
      const auto until = std::chrono::steady_clock::now() + pause;
      const bool ends = changed.wait_until(lock, until, [this] { return over; });
      lock.unlock();
      if (ends) return;
    }
  }
};

watchdog::watchdog(std::function<bool()> alive) {
  if (const auto interval = watchdog_interval()) *this = watchdog(std::move(alive), *interval);
}

watchdog::watchdog(std::function<bool()> alive, std::chrono::microseconds interval)
    : state_(std::make_shared<state>()) {
  if (interval.count() < 2) {
    throw std::invalid_argument("sigrun::systemd::watchdog: an interval of " +
                                std::to_string(interval.count()) + " us is too short");
  }
  state_->alive = std::move(alive);
  state_->pause = interval / 2;
  go({.name = "watchdog"}, [state = state_] { state->run(); });
}

watchdog& watchdog::operator=(watchdog&& other) noexcept {
  if (this != &other) {
    watchdog old(std::move(*this));
    state_ = std::move(other.state_);
  }
  return *this;
}

watchdog::~watchdog() {
  if (state_ == nullptr) return;
  state_->lock.lock();
  state_->over = true;
  state_->changed.notify_all();
  state_->lock.unlock();
}

std::uint64_t watchdog::sent() const noexcept { return state_ ? state_->sent.load() : 0; }
std::uint64_t watchdog::withheld() const noexcept { return state_ ? state_->withheld.load() : 0; }

}  // namespace sigrun::systemd
