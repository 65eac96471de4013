// SPDX-License-Identifier: Apache-2.0
//
// Crash reports that nobody has exported yet.
//
//   crash-TIME-PID.json ── claim ──▶ locked (flock) ── mark_sent ──▶ crash-TIME-PID.sent.json
//            ▲                          │
//            └──── the claim ends ──────┘
//
//   (1) A claim is a lock on the open file, so it ends with the process whatever happens to it.
//   (2) Who has claimed looks whether the name still leads to that file: another may have sent it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sigrun::otel {

/// Full paths, the oldest first; of files that are none of ours nothing is said.
std::vector<std::string> pending_reports(const std::string& directory);

class claimed_report {
 public:
  /// (1), (2).
  explicit claimed_report(std::string path);
  ~claimed_report();
  claimed_report(const claimed_report&) = delete;
  claimed_report& operator=(const claimed_report&) = delete;

  bool is_mine() const noexcept { return fd_ >= 0; }
  /// All of it; empty when it cannot be read, or is larger than `size_max`.
  std::string read(std::size_t size_max) const;
  /// False: it could not be renamed, and will be exported again.
  bool mark_sent() const;

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace sigrun::otel
