// SPDX-License-Identifier: Apache-2.0
//
// Says when a file may have changed. It watches the directory, because editors and deployments do
// not write into a file but put another one in its place; Kubernetes turns a link, "..data", beside
// it. Whether anything did change is for the caller to find out.
#pragma once

#include <sigrun/pipe.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace sigrun::service {

class file_watch {
 public:
  /// Throws std::system_error, naming the directory: ENOENT, ENOSPC for fs.inotify's limits.
  explicit file_watch(const std::string& path);

  /// Waits for a change and then until `settle` has passed without another, at most 20 times that.
  /// False after close().
  bool wait(std::chrono::nanoseconds settle);
  /// Wakes wait(). From any thread.
  void close() noexcept;

 private:
  enum class seen { nothing, change, lost, closed };
  seen read_events();
  bool add(std::error_code& error) noexcept;
  bool await_directory();

  std::string directory_;
  std::string name_;
  pipe_reader events_;
};

/// The hash of what a file holds now; nothing when it cannot be read. Reads at most 4 MiB.
std::optional<std::uint64_t> hash_of_file(const std::string& path);

}  // namespace sigrun::service
