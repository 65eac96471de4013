// SPDX-License-Identifier: Apache-2.0
//
// Children that goroutines talk to and wait for, and children that are kept running.
//
//   auto sort = sigrun::process::start({"sort"}, {.pipe_in = true, .pipe_out = true});
//   sort.in.write_all(text);
//   sort.in.close();
//   const std::string sorted = read_all(sort.out);
//   const sigrun::process::exit_status how = sort.wait();   // parks the goroutine, no thread
//
//   sigrun::process::supervisor workers;
//   workers.add({.name = "indexer", .arguments = {"/usr/bin/indexer", "--serve"}});
//   for (const auto& event : workers.events()) log(event);
//
// Threads: a job is one caller's at a time, but signal() and stop() may be called beside a wait(),
// and its streams are as <sigrun/pipe.hpp> says. A supervisor may be used from everywhere. Nothing
// may be called in a signal handler.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/context.hpp>
#include <sigrun/pipe.hpp>
#include <sigrun/process.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sigrun::process {

struct job_state;
struct supervisor_state;

struct start_options {
  /// As for spawn(). `new_process_group` is always on: a job is a group of its own.
  spawn_options spawn{};
  bool pipe_in = false;   ///< job::in is what the child reads as fd 0
  bool pipe_out = false;  ///< job::out is what it writes to fd 1
  bool pipe_err = false;  ///< job::err, fd 2
};

/// A child in a process group of its own, with pipes. Move-only. The end of the object neither
/// kills nor waits; the child is reaped then when it ends, and the pipes are closed.
class job {
 public:
  job() noexcept = default;
  job(job&&) noexcept = default;
  job& operator=(job&&) noexcept = default;

  pipe_writer in;
  pipe_reader out;
  pipe_reader err;

  /// 0 without a child.
  int pid() const noexcept;
  /// To the child, resp. to all of its group. False: it has ended, resp. the group is empty; never
  /// reaches a later process of that number. Throws std::system_error for what is not permitted and
  /// for what is no signal.
  bool signal(int signo) const;
  bool signal_group(int signo) const;

  /// Until the child has ended; again, the same. A goroutine is parked, a thread sleeps. Throws
  /// std::logic_error without a child, std::system_error (ECHILD) when somebody else took its
  /// status.
  exit_status wait();
  /// The same, in a context: nothing when that ends first.
  std::optional<exit_status> wait(const context& ctx);
  std::optional<exit_status> wait_for(std::chrono::nanoseconds time);
  /// `signo` to the group; SIGKILL to what is left of it when the child has ended, or when `grace`
  /// is over. Then as wait(). A group that stopped itself is continued, so that it sees the signal.
  exit_status stop(std::chrono::nanoseconds grace = std::chrono::seconds(5), int signo = 15);

 private:
  friend job start(const std::vector<std::string>&, const start_options&);
  std::shared_ptr<job_state> state_;
};

/// Starts a job. Throws as spawn() does, and std::invalid_argument when `spawn.files` names a
/// descriptor that is to be a pipe.
job start(const std::vector<std::string>& arguments, const start_options& options = {});

// ------------------------------------------------------------------------------------ supervision

enum class restart : std::uint8_t { never, on_failure, always };

struct child_spec {
  std::string name;
  std::vector<std::string> arguments;
  start_options options{};
  /// A failure is any end but exit status 0. A child that cannot be started failed too.
  restart when = restart::on_failure;
  /// Before the first restart; twice that before the next, and so on, at most backoff_max. Each
  /// wait is shortened by up to a fifth, by chance, so that children do not come back all at once.
  std::chrono::nanoseconds backoff_min = std::chrono::milliseconds(100);
  std::chrono::nanoseconds backoff_max = std::chrono::seconds(30);
  /// A child that has run for that long begins again with backoff_min and no failures.
  std::chrono::nanoseconds healthy_after = std::chrono::seconds(10);
  /// After that many failures in a row it is given up. 0: never.
  std::uint32_t failures_max = 0;
  /// How it is ended: see job::stop().
  int stop_signal = 15;
  std::chrono::nanoseconds grace = std::chrono::seconds(5);
  /// Called with each child that was started, in the goroutine that will wait for it: to start
  /// goroutines that read its pipes, which must be gone when `ended` returns. May be empty.
  std::function<void(job&)> started{};
  std::function<void(const exit_status&)> ended{};
};

struct child_event {
  enum class kind : std::uint8_t {
    started,
    start_failed,  ///< `what` says why
    ended,         ///< `status` says how
    waits,         ///< for `wait`, and is started again then
    given_up,      ///< failures_max; or it ended and is not to be restarted
    stopped,       ///< by remove() or stop()
  };
  kind what_happened = kind::started;
  std::string name;
  int pid = 0;
  exit_status status{};
  std::chrono::nanoseconds wait{0};
  std::string what{};
};
std::string_view to_string(child_event::kind kind) noexcept;

/// One child, as it is now.
struct child_info {
  std::string name;
  int pid = 0;  ///< 0: does not run now
  std::uint64_t starts = 0;
  std::uint32_t failures = 0;  ///< in a row
  std::chrono::nanoseconds up{0};
  bool given_up = false;
};

/// Children that are started again when they end. Each has a goroutine.
class supervisor {
 public:
  supervisor();
  /// As stop().
  ~supervisor();
  supervisor(const supervisor&) = delete;
  supervisor& operator=(const supervisor&) = delete;

  /// Starts one, at once. Throws std::invalid_argument, naming the member, for a bad spec and a
  /// name that is taken; std::logic_error after stop(). That a program cannot be started is an
  /// event, and tried again.
  void add(child_spec spec);
  /// Ends one and returns when it has ended; false when there is none of that name.
  bool remove(std::string_view name);
  /// Ends all, at the same time, and returns when they have ended; closes events().
  void stop();

  std::vector<child_info> children() const;
  /// What happens, in order. At most 256 wait; the oldest are dropped then, and counted.
  chan<child_event> events() const;
  std::uint64_t events_dropped() const noexcept;

 private:
  std::shared_ptr<supervisor_state> state_;
};

}  // namespace sigrun::process
