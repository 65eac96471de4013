// SPDX-License-Identifier: Apache-2.0
//
// What every goroutine is doing, with its stack, while the service goes on: docs/crash-reports.md.
//
//   std::fputs(sigrun::goroutine_stacks().c_str(), stderr);
//
//   goroutine 7 [chan receive, 2 minutes, name=parser]:
//   parser::next(...)
//           /usr/bin/server:0 +0x1f
//   created by main(...) in goroutine 1
//           …
//
// The form is that of Go's runtime (debug=2 of its goroutine profile), so readers of that, such as
// panicparse, read this. Goroutines that run at the moment are shown too: their thread is asked by
// a SIGURG, and walks its own stack in the handler.
#pragma once

#include <sigrun/signal.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

namespace sigrun {

/// How much a dump may be.
struct dump_options {
  /// Goroutines beyond these are counted, not shown.
  std::size_t goroutines_max = 100'000;
  /// Stacks are no longer walked after this; at least a millisecond. A thread that does not answer
  /// costs 50 ms of it.
  std::chrono::nanoseconds time_max = std::chrono::seconds(5);
  /// The scheduler's own frames too.
  bool system = false;
};

/// The dump as text, the calling goroutine first. Any thread or goroutine; not in a handler. One at
/// a time: others wait for up to `time_max` and then throw std::system_error (ETIMEDOUT).
/// Throws std::bad_alloc.
std::string goroutine_stacks(const dump_options& options = {});

/// The same, written to a descriptor as it goes, nothing kept. ETIMEDOUT as above, and what
/// write(2) said when not all could be written.
void write_goroutine_stacks(int fd, const dump_options& options = {});

/// While it lives, the signal has the dump written to a descriptor, by a thread of its own, and the
/// program goes on: for a service that hangs, `kill -USR2 PID`. Signals that come while a dump is
/// written make one more. Dumps that could not be written in full are counted.
class dump_on_signal {
 public:
  /// Throws what notify() throws, and std::system_error when there is no thread to be had.
  explicit dump_on_signal(int signo = SIGUSR2, int fd = 2, const dump_options& options = {});
  /// Waits for a dump that is being written.
  ~dump_on_signal();
  dump_on_signal(const dump_on_signal&) = delete;
  dump_on_signal& operator=(const dump_on_signal&) = delete;

  std::uint64_t written() const noexcept { return written_.load(); }
  std::uint64_t failed() const noexcept { return failed_.load(); }

 private:
  void serve() noexcept;

  const int fd_;
  const dump_options options_;
  signal_chan signals_;
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::thread thread_;
};

/// While it lives, `sigrun dump PID` gets the dump, by a thread of this object's own, and the
/// program goes on. It listens at a Unix socket in the abstract namespace, named after the process;
/// the process's own user and root are served, others are turned away. One at a time; who does not
/// read is cut off after `time_max`. A child of fork does not answer.
class dump_on_request {
 public:
  /// std::system_error when the name is taken (there is one in this process already, or another
  /// process has it), and when there is no socket or thread to be had.
  explicit dump_on_request(const dump_options& options = {});
  /// Waits for a dump that is being written.
  ~dump_on_request();
  dump_on_request(const dump_on_request&) = delete;
  dump_on_request& operator=(const dump_on_request&) = delete;

  std::uint64_t written() const noexcept { return written_.load(); }
  std::uint64_t failed() const noexcept { return failed_.load(); }    ///< not written in full
  std::uint64_t refused() const noexcept { return refused_.load(); }  ///< another user's

 private:
  void serve() noexcept;
  void answer(int to) noexcept;

  const dump_options options_;
  int listening_ = -1;
  int stop_ = -1;
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::thread thread_;
};

}  // namespace sigrun
