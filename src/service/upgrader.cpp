// SPDX-License-Identifier: Apache-2.0
#include "service/upgrade_core.hpp"
#include "sys/file.hpp"

#include <sys/auxv.h>
#include <unistd.h>

#include <climits>
#include <stdexcept>

namespace sigrun {
namespace {

std::string read_link(const char* path) {
  char buffer[PATH_MAX];
  const ssize_t size = ::readlink(path, buffer, sizeof buffer);
  return size < 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(size));
}

// A list of texts that end with NUL each, as /proc has them.
std::vector<std::string> read_list(const char* path) {
  const long fd = sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (sys::failed(fd)) return {};
  std::string all;
  char buffer[4096];
  for (long got; (got = sys::read(static_cast<int>(fd), buffer, sizeof buffer)) > 0;) {
    all.append(buffer, static_cast<std::size_t>(got));
  }
  sys::close(static_cast<int>(fd));
  std::vector<std::string> list;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find('\0', at), all.size());
    list.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  return list;
}

}  // namespace

std::string_view to_string(upgrade_outcome outcome) noexcept {
  switch (outcome) {
    case upgrade_outcome::upgraded:
      return "upgraded";
    case upgrade_outcome::rolled_back:
      return "rolled back";
    case upgrade_outcome::too_late:
      break;
  }
  return "too late";
}

std::string_view to_string(upgrade_failure failure) noexcept {
  constexpr std::string_view names[upgrade_failures] = {"none",      "not started", "ended",
                                                        "timed out", "refused",     "protocol",
                                                        "check",     "stopping",    "predecessor"};
  const auto at = static_cast<std::size_t>(failure);
  return at < upgrade_failures ? names[at] : "unknown";
}

// As the kernel was asked to start it: symbolic links in it are not resolved, so that one which is
// turned is followed. /proc/self/exe names the file itself, which may be gone.
std::vector<std::string> service::start_command() {
  const char* const given = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
  std::string path = given != nullptr ? given : "";
  if (path.empty() || path.starts_with("/dev/fd/")) path = read_link("/proc/self/exe");
  if (!path.starts_with('/')) path = read_link("/proc/self/cwd") + "/" + path;
  std::vector<std::string> command = read_list("/proc/self/cmdline");
  if (command.empty()) command.emplace_back();
  command[0] = std::move(path);
  return command;
}

std::vector<std::string> service::environment_for_successor(const std::vector<std::string>& added) {
  const auto name_of = [](std::string_view text) { return text.substr(0, text.find('=')); };
  std::vector<std::string> all;
  for (char** one = environ; one != nullptr && *one != nullptr; ++one) {
    bool replaced = name_of(*one) == "SIGRUN_UPGRADE";
    for (const std::string& other : added) replaced |= name_of(other) == name_of(*one);
    if (!replaced) all.emplace_back(*one);
  }
  all.insert(all.end(), added.begin(), added.end());
  return all;
}

// ----------------------------------------------------------------------------------- the handle

upgrader::upgrader(graceful& life, upgrade_options options)
    : core_(std::make_shared<service::upgrade_core>(*life.state_, std::move(options))) {
  {
    const std::lock_guard hold(life.state_->lock);
    if (life.state_->take_charge) {
      throw std::logic_error("sigrun::upgrader: the service has one already");
    }
    life.state_->take_charge = [core = std::weak_ptr(core_)] {
      const auto alive = core.lock();
      return alive ? alive->take_charge() : service::charge{};
    };
  }
  try {
    core_->arrive();
    core_->start_goroutines();
    life.add("upgrade", core_);
  } catch (...) {
    core_->stop();
    const std::lock_guard hold(life.state_->lock);
    life.state_->take_charge = nullptr;
    throw;
  }
}

upgrader::~upgrader() { core_->stop(); }

net::endpoint upgrader::listen(std::string name, const net::endpoint& at,
                               std::function<void(net::tcp_listener)> serve,
                               const net::tcp_listen_options& options) {
  return core_->listen(std::move(name), at, std::move(serve), options);
}
void upgrader::listen(std::string name, const net::unix_address& at,
                      std::function<void(net::unix_listener)> serve,
                      const net::unix_listen_options& options) {
  core_->listen(std::move(name), at, std::move(serve), options);
}
void upgrader::when_in_charge(std::string name, std::function<void()> f) {
  core_->when_in_charge(std::move(name), std::move(f));
}
upgrade_record upgrader::upgrade() { return core_->ask(); }
bool upgrader::is_successor() const noexcept { return core_->is_successor(); }
bool upgrader::in_charge() const noexcept { return core_->in_charge(); }
int upgrader::predecessor() const noexcept { return core_->predecessor(); }
std::vector<upgrade_record> upgrader::history() const { return core_->history(); }
upgrade_stats upgrader::stats() const { return core_->stats(); }

}  // namespace sigrun
