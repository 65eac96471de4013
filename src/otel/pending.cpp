// SPDX-License-Identifier: Apache-2.0
#include "otel/pending.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace sigrun::otel {
namespace {

constexpr std::string_view tail = ".json";
constexpr std::string_view sent_tail = ".sent.json";

bool is_pending(std::string_view name) noexcept {
  return name.starts_with("crash-") && name.ends_with(tail) && !name.ends_with(sent_tail);
}

}  // namespace

std::vector<std::string> pending_reports(const std::string& directory) {
  std::vector<std::string> found;
  std::error_code error;
  std::filesystem::directory_iterator at(directory, error);
  const std::filesystem::directory_iterator end;
  while (!error && at != end) {
    if (is_pending(at->path().filename().string())) found.push_back(at->path().string());
    at.increment(error);
  }
  // The time in the name has ten digits until the year 2286.
  std::sort(found.begin(), found.end());
  return found;
}

claimed_report::claimed_report(std::string path) : path_(std::move(path)) {
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  struct stat opened {};
  struct stat named {};
  const bool mine = ::fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) &&
                    ::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::stat(path_.c_str(), &named) == 0 &&
                    named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
  if (mine) {
    fd_ = fd;
  } else {
    ::close(fd);
  }
}

claimed_report::~claimed_report() {
  if (fd_ >= 0) ::close(fd_);
}

std::string claimed_report::read(std::size_t size_max) const {
  std::string text;
  char piece[16384];
  for (;;) {
    const ssize_t n = ::pread(fd_, piece, sizeof piece, static_cast<off_t>(text.size()));
    if (n == 0) return text;
    if (n < 0 || text.size() + static_cast<std::size_t>(n) > size_max) return {};
    text.append(piece, static_cast<std::size_t>(n));
  }
}

bool claimed_report::mark_sent() const {
  const std::string stem = path_.substr(0, path_.size() - tail.size());
  return std::rename(path_.c_str(), (stem + std::string(sent_tail)).c_str()) == 0;
}

}  // namespace sigrun::otel
