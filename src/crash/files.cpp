// SPDX-License-Identifier: Apache-2.0
#include "crash/files.hpp"

#include "sigsafe/signal_stack.hpp"
#include "sys/file.hpp"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

namespace sigrun::crash {
namespace {

long open_at(const std::string& path, int flags) noexcept {
  return sys::call(SYS_openat, AT_FDCWD, path.c_str(), flags, 0600);
}

std::vector<std::string> names_in(int directory) {
  std::vector<std::string> names;
  const long copy = sys::call(SYS_openat, directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (sys::failed(copy)) return names;
  DIR* const list = ::fdopendir(static_cast<int>(copy));
  if (list == nullptr) {
    sys::close(static_cast<int>(copy));
    return names;
  }
  while (const dirent* entry = ::readdir(list)) names.emplace_back(entry->d_name);
  ::closedir(list);
  return names;
}

// ".crash-TIME-PID.json.part"
bool is_left_behind(std::string_view name) noexcept {
  constexpr std::string_view tail = ".json.part";
  if (!name.starts_with(".crash-") || !name.ends_with(tail)) return false;
  name.remove_suffix(tail.size());
  const std::size_t dash = name.rfind('-');
  const int pid = std::atoi(std::string(name.substr(dash + 1)).c_str());
  return pid > 0 && sys::kill(pid, 0) == -ESRCH;
}

}  // namespace

open_file::~open_file() {
  if (fd_ >= 0) sys::close(fd_);
}

open_file open_or_throw(const std::string& path, int flags) {
  const long fd = open_at(path, flags);
  if (sys::failed(fd)) {
    throw std::system_error(static_cast<int>(-fd), std::system_category(),
                            "sigrun::install_crash_reports: " + path);
  }
  return open_file(static_cast<int>(fd));
}

open_file open_directory(const std::string& path) {
  sys::call(SYS_mkdirat, AT_FDCWD, path.c_str(), 0700);
  return open_or_throw(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void remove_old_reports(int directory, std::size_t keep) {
  std::vector<std::string> reports;
  for (const std::string& name : names_in(directory)) {
    if (is_left_behind(name)) {
      sys::call(SYS_unlinkat, directory, name.c_str(), 0);
    } else if (name.starts_with("crash-") && name.ends_with(".json")) {
      reports.push_back(name);
    }
  }
  // The time in the name has ten digits until the year 2286.
  std::sort(reports.begin(), reports.end());
  for (std::size_t i = 0; i + keep - 1 < reports.size(); ++i) {
    sys::call(SYS_unlinkat, directory, reports[i].c_str(), 0);
  }
}

void close_old(const report::crash_config& config) noexcept {
  for (const int spare : config.spare_fds) sys::close(spare);
  if (config.directory_fd >= 0) sys::close(config.directory_fd);
  if (config.owns_text_fd) sys::close(config.text_fd);
}

void give_this_thread_a_signal_stack() {
  auto block = std::make_unique<sigsafe::thread_block>();
  const long made = sigsafe::make_signal_stack(*block);
  if (sys::failed(made)) {
    throw std::system_error(static_cast<int>(-made), std::system_category(),
                            "sigrun::install_crash_reports: a signal stack");
  }
  // It stays as long as the thread may need it; who has one already gets none.
  if (block->stack_low != nullptr) static_cast<void>(block.release());
}

}  // namespace sigrun::crash
