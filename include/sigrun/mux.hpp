// SPDX-License-Identifier: Apache-2.0
//
// One router for all signals of a program: named handlers, each with a priority, a limit on how
// many of it run at once, a time limit and a rate limit; a table of them that can be listed; and an
// account of what was not handled.
//
//   sigrun::signal_mux mux;
//   mux.handle("graceful_shutdown", {SIGTERM, SIGINT},
//              [&](const sigrun::signal_event& event) { life.begin_stop(event); },
//              {.priority = 9});
//   mux.handle("reload", {SIGHUP}, [&] { config.reload(); });
//   mux.handle("rotate", {SIGUSR1}, [&] { log.reopen(); }, {.timeout = 2s});
//
// Handlers are ordinary code in goroutines, never in a signal handler. An event goes to every
// handler that has its signal. Each handler sees its events in the order in which they were taken,
// one at a time unless it says otherwise.
//
// Threads: everything may be called from any goroutine and any thread, handlers included; nothing
// in a signal handler.
#pragma once

#include <sigrun/context.hpp>
#include <sigrun/signal.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace sigrun {

namespace service {
struct mux_state;
}

struct route_options {
  /// 9 to 0. When more is due than may run at once, the highest goes first. 9 always runs.
  int priority = 5;
  /// How many of it run at the same time; 1: one after the other, in order. At least 1.
  std::uint32_t concurrency = 1;
  /// Events that wait for it; what comes beyond is a dead letter. At least 1.
  std::uint32_t waiting_max = 1024;
  /// When a handler's context ends, and when it is said to be late. 0: never. It is not ended by
  /// force, and keeps its place: what must run one after the other does.
  std::chrono::nanoseconds timeout{0};
  /// Events beyond are dead letters. `events` 0: no limit.
  rate_limit rate{};
  /// It always runs on the same thread, which runs nothing else: for libraries that keep things per
  /// thread, and I/O by SIGIO. Then `concurrency` is 1.
  bool pinned = false;
};

/// A handler, and how it does.
struct route_info {
  std::string name;
  signal_set signals;
  route_options options;
  std::size_t waiting = 0;
  std::size_t running = 0;
  std::chrono::nanoseconds running_longest{0};
  // All only grow.
  std::uint64_t handled = 0;  ///< returned
  std::uint64_t failed = 0;   ///< threw
  std::uint64_t late = 0;     ///< passed their time limit
  std::uint64_t limited = 0;  ///< dead letters by the rate limit
  std::uint64_t full = 0;     ///< dead letters, because too many waited
};

enum class dead_reason : std::uint8_t {
  no_handler,    ///< taken before its last handler was removed
  waiting_full,  ///< route_options::waiting_max
  rate_limited,
  failed,   ///< the handler threw
  removed,  ///< its handler was removed before its turn
};
std::string_view to_string(dead_reason reason) noexcept;

/// An event that a handler did not handle.
struct dead_letter {
  signal_event event;
  std::string route;  ///< the handler's name; empty for no_handler
  dead_reason reason = dead_reason::no_handler;
  std::string failure;  ///< what it threw
};

struct mux_options {
  /// Handlers that run at once, of all together, but those with priority 9 and pinned ones. At
  /// least 1.
  std::uint32_t running_max = 64;
  /// A line for each handler that is late or throws; stderr by default. As graceful_options::log.
  std::function<void(std::string_view)> log{};
};

class signal_mux {
  using state = service::mux_state;
  using function = std::function<void(const signal_event&, const context&)>;

 public:
  /// std::invalid_argument, naming the member, for options out of range.
  explicit signal_mux(mux_options options = {});
  /// As close().
  ~signal_mux();
  signal_mux(const signal_mux&) = delete;
  signal_mux& operator=(const signal_mux&) = delete;

  /// From now on `signos` go to f(event, ctx), f(event) or f(). A handler of that name is replaced:
  /// events that wait go to the new one, those it runs are finished; none is lost or doubled. When
  /// it returns, the signals are subscribed. Throws std::invalid_argument, naming the member, for
  /// options out of range, an empty name or no signal; std::logic_error after close(); what
  /// notify() throws. Nothing has changed then.
  template <class F>
  void handle(std::string name, std::initializer_list<int> signos, F f,
              const route_options& options = {}) {
    add(std::move(name), signos, as_function(std::move(f)), options);
  }
  /// Takes a handler away; false when there is none of that name. Events that wait for it are dead
  /// letters; returns when those it runs have returned, but the one that calls this. Signals that
  /// no handler has any more get their earlier disposition back.
  bool remove(std::string_view name);

  /// The handlers, by priority and name; and the same as text, a line each.
  std::vector<route_info> table() const;
  std::string table_text() const;
  /// The last dead letters, at most 64, oldest first; and how many there were.
  std::vector<dead_letter> dead_letters() const;
  std::uint64_t dead_letter_count() const noexcept;

  /// Ends all subscriptions, and returns when everything that was taken has been handled. Must not
  /// be called by a handler. The second call does nothing.
  void close();

 private:
  template <class F>
  static function as_function(F f) {
    if constexpr (std::is_invocable_v<F&, const signal_event&, const context&>) {
      return f;
    } else if constexpr (std::is_invocable_v<F&, const signal_event&>) {
      return [f = std::move(f)](const signal_event& event, const context&) mutable { f(event); };
    } else {
      return [f = std::move(f)](const signal_event&, const context&) mutable { f(); };
    }
  }
  void add(std::string name, std::initializer_list<int> signos, function f,
           const route_options& options);

  std::shared_ptr<state> state_;
};

}  // namespace sigrun
