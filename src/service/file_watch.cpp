// SPDX-License-Identifier: Apache-2.0
#include "service/file_watch.hpp"

#include "service/config_tree.hpp"
#include "sys/syscall.hpp"

#include <sigrun/file.hpp>

#include <sys/inotify.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace sigrun::service {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t interesting = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE |
                                      IN_DELETE | IN_ATTRIB | IN_ONLYDIR | IN_DELETE_SELF |
                                      IN_MOVE_SELF;
constexpr auto look_again = 1s;  // for a directory that is gone
constexpr int settles_max = 20;

}  // namespace

file_watch::file_watch(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  directory_ = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  name_ = slash == std::string::npos ? path : path.substr(slash + 1);
  const long fd = sys::call(SYS_inotify_init1, IN_CLOEXEC | IN_NONBLOCK);
  if (sys::failed(fd)) {
    throw std::system_error(static_cast<int>(-fd), std::system_category(), "sigrun: inotify");
  }
  events_ = pipe_reader::adopt(static_cast<int>(fd));
  std::error_code error;
  if (!add(error)) throw std::system_error(error, "sigrun: watch of " + directory_);
}

bool file_watch::add(std::error_code& error) noexcept {
  const long result =
      sys::call(SYS_inotify_add_watch, events_.fd(), directory_.c_str(), interesting);
  error.clear();
  if (sys::failed(result)) error.assign(static_cast<int>(-result), std::system_category());
  return !error;
}

// One batch of events, until the read deadline.
file_watch::seen file_watch::read_events() {
  alignas(inotify_event) char bytes[4096];
  std::error_code error;
  const std::size_t size = events_.read({bytes, sizeof bytes}, error);
  if (error == std::errc::timed_out) return seen::nothing;
  if (error) return seen::closed;
  bool change = false;
  for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
    inotify_event event;
    std::memcpy(&event, bytes + at, sizeof event);
    const char* const name = bytes + at + sizeof event;
    if ((event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0) return seen::lost;
    if ((event.mask & IN_Q_OVERFLOW) != 0) change = true;
    if (event.len != 0 && (name_ == name || std::strncmp(name, "..", 2) == 0)) change = true;
    at += sizeof event + event.len;
  }
  return change ? seen::change : seen::nothing;
}

bool file_watch::await_directory() {
  std::error_code error;
  while (!add(error)) {
    events_.set_read_deadline_in(look_again, error);
    if (error || read_events() == seen::closed) return false;
  }
  return true;
}

bool file_watch::wait(std::chrono::nanoseconds settle) {
  using clock = std::chrono::steady_clock;
  std::error_code error;
  bool change = false;
  clock::time_point settled = clock::time_point::max();
  clock::time_point latest = clock::time_point::max();
  for (;;) {
    events_.set_read_deadline(settled, error);
    if (error) return false;
    const seen what = read_events();
    if (what == seen::closed || (what == seen::lost && !await_directory())) return false;
    const clock::time_point now = clock::now();
    if (what == seen::nothing) {
      if (change && now >= settled) return true;
      continue;
    }
    if (!change) latest = now + settle * settles_max;
    change = true;
    settled = std::min(now + settle, latest);
  }
}

void file_watch::close() noexcept {
  std::error_code error;
  events_.close(error);
}

std::optional<std::uint64_t> hash_of_file(const std::string& path) {
  try {
    return config::detail::hash_of(config::detail::read_bounded(path));
  } catch (const std::system_error&) {
    return std::nullopt;
  }
}

}  // namespace sigrun::service
