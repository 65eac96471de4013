// SPDX-License-Identifier: Apache-2.0
//
// Work that is done outside: a child reads texts from its standard input and writes what it found
// in them to its standard output. A supervisor starts it again when it ends, and who was waiting
// for an answer asks the next one.
#pragma once

#include <sigrun/children.hpp>
#include <sigrun/sync.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gateway {

/// The child: ends with its input. What main() returns.
int work();

/// The other side. Any number of goroutines may use one.
class worker {
 public:
  /// `command` starts the child, which runs work().
  explicit worker(std::vector<std::string> command);
  /// As stop().
  ~worker();
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  /// The child's answer: one line of JSON. Survives the child's end, by asking again. Throws
  /// http::error(503) when there is no answer within `wait`.
  std::string summary(std::string_view text, std::chrono::milliseconds wait);
  void stop() { child_.stop(); }
  sigrun::process::child_info info() const;

 private:
  struct session;
  void begin(sigrun::process::job& child);
  void end();

  sigrun::mutex lock_;
  sigrun::cond changed_;
  std::shared_ptr<session> session_;   // nullptr: no child at the moment
  sigrun::process::supervisor child_;  // last: its end calls end()
};

}  // namespace gateway
