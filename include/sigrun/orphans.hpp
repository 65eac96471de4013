// SPDX-License-Identifier: Apache-2.0
//
// Processes whose parent has ended before them come to this one: because it is PID 1, or because it
// asks for it (PR_SET_CHILD_SUBREAPER). Here they are reaped when they end, and each end is an
// event.
//
//   sigrun::process::orphans adopted;
//   sigrun::process::orphan one;
//   while (adopted.events().recv_for(1s, one) == sigrun::chan_status::ok) log(one.pid, one.status);
//
// No status is stolen. A child of spawn(), start() or a supervisor is never taken: the library
// knows those. Of the others nobody can see whether they were adopted, or forked by code of this
// program that will wait for them. So only those are taken that are in a process group or session
// which a child of the library has begun: what jobs and supervised children leave behind. Who
// knows that nothing else in the program forks says so with `all`, and then the rest is taken, too.
//
// Threads: everything may be called from any goroutine and any thread; nothing in a signal handler.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/process.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace sigrun::process {

struct orphans_state;

/// One that was adopted and has ended.
struct orphan {
  int pid = 0;
  int group = 0;  ///< its process group
  exit_status status{};
  std::chrono::microseconds user{0};    ///< processor time, with that of its own reaped children
  std::chrono::microseconds system{0};  ///< the same, in the kernel
  std::int64_t rss_max_kib = 0;         ///< the most memory it had at a time
};

struct orphans_options {
  /// Ask the kernel for orphans, until the object's end. Descendants that it makes meanwhile stay.
  bool subreaper = true;
  /// The program promises that nobody in it waits for children but this library.
  bool all = false;
  /// Called with each, by one goroutine, beside events(). What it throws is dropped.
  std::function<void(const orphan&)> ended{};
};

/// All but `left` only grow.
struct orphans_stats {
  std::uint64_t reaped = 0;
  std::uint64_t failed = 0;          ///< of these: did not end with exit status 0
  std::uint64_t events_dropped = 0;  ///< nobody read events(): the oldest go
  std::size_t left = 0;  ///< have ended, and may be somebody else's: zombies until he waits
};

/// One at a time in a process. Looks at each SIGCHLD, and each second.
class orphans {
 public:
  /// Subscribes SIGCHLD. std::logic_error when there is one already; std::system_error when
  /// /proc/self/task/TID/children cannot be read (CONFIG_PROC_CHILDREN).
  explicit orphans(orphans_options options = {});
  /// Ends the subscription, and puts the subreaper setting back.
  ~orphans();
  orphans(const orphans&) = delete;
  orphans& operator=(const orphans&) = delete;

  /// At most 256 wait.
  chan<orphan> events() const;
  orphans_stats stats() const;

 private:
  std::shared_ptr<orphans_state> state_;
};

}  // namespace sigrun::process
