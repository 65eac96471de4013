// SPDX-License-Identifier: Apache-2.0
//
// The end of a service, in order: on SIGTERM or Ctrl-C it says that it is leaving, takes no new
// work, finishes what it has, and ends with a true exit status, within a time it can promise.
//
//   int main() {
//     return sigrun::run_service([](sigrun::graceful& life) {
//       auto listener = sigrun::net::tcp_listener::listen(*sigrun::net::endpoint::parse("[::]:7"));
//       life.accept("echo", std::move(listener), [](sigrun::net::tcp_stream& peer) {
//         char bytes[4096];
//         while (std::size_t n = peer.read(bytes)) peer.write_all({bytes, n});
//       });
//       life.serve();
//     });
//   }
//
// Three phases follow the signal:
//   listen   is_ready() is false and STOPPING=1 is sent, and for the lame-duck time everything is
//            served as before, while load balancers look elsewhere
//   refuse   listeners are closed, after what the kernel had queued for them was accepted; the
//            context stopping() ends; begin() admits nothing more; servers answer 503
//   drain    what was admitted is waited for; then the hooks that close what it needed
// Each has hooks, in the order of their priority, and a budget; all together have a deadline. A
// second signal cuts short, a third kills. At the deadline, resp. the second signal, it is said
// what still runs, and the process ends with exit status 128 + signal.
//
// Threads: everything may be called from any goroutine and any thread; nothing in a signal handler.
#pragma once

#include <sigrun/context.hpp>
#include <sigrun/go.hpp>
#include <sigrun/net.hpp>
#include <sigrun/signal_event.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace sigrun {

namespace service {
struct graceful_state;
}

enum class stop_phase : std::uint8_t { serving, listen, refuse, drain, ended };
std::string_view to_string(stop_phase phase) noexcept;

/// How the process ends when everything was finished in time. Otherwise, always: exit status 128 +
/// signal; without a signal 1.
enum class exit_as : std::uint8_t {
  signal,  ///< killed by the signal, truly, as shells, systemd and Kubernetes expect
  code,    ///< exit status 128 + signal
  zero,    ///< exit status 0
};

struct graceful_options {
  /// What begins the end: SIGTERM and SIGINT. Empty: only begin_stop() does.
  std::vector<int> signals{15, 2};
  /// From the first signal to the end of the process.
  std::chrono::nanoseconds deadline = std::chrono::seconds(30);
  /// How long the phase `listen` goes on serving; 5 to 15 s behind a load balancer.
  std::chrono::nanoseconds lame_duck{0};
  /// At most that long for the hooks of `listen`, beside the lame-duck time, and for `refuse`.
  std::chrono::nanoseconds listen_budget = std::chrono::seconds(5);
  std::chrono::nanoseconds refuse_budget = std::chrono::seconds(5);
  /// At most that long for `drain`; what is left of the deadline anyway.
  std::chrono::nanoseconds drain_budget = std::chrono::hours(24);
  exit_as clean = exit_as::signal;
  /// Past the deadline, and at a second signal, the process is ended, however it hangs. False: only
  /// serve() returns, for programs that contain a service among other things.
  bool end_process = true;
  /// READY=1, STOPPING=1, STATUS= and EXTEND_TIMEOUT_USEC= are sent when a supervisor listens.
  bool tell_supervisor = true;
  /// SIGRUN_STOP_GRACE ("30", "30s"), which says when the supervisor will kill, lowers the
  /// deadline to a tenth, at most 2 s, before that.
  bool heed_grace = true;
  /// Where it says what it does, a line at a time, without line break; stderr by default. Called by
  /// one thread at a time. What it throws is dropped.
  std::function<void(std::string_view)> log{};
};

/// How it went. `still_running` is what the end has cut off.
struct stop_outcome {
  int signo = 0;           ///< the signal that began it; 0: begin_stop()
  int pid = 0;             ///< its sender
  bool forced = false;     ///< the deadline passed, or a second signal came
  bool cut_short = false;  ///< by a second signal
  std::string failure{};   ///< of the goroutine whose exception began it; empty otherwise
  std::vector<std::string> failed_hooks{};  ///< "name: what it threw", or "name: still runs"
  std::vector<std::string> still_running{};
  std::chrono::nanoseconds took{0};  ///< from the first signal on
  int successor = 0;                 ///< as graceful::successor()
  /// As a shell would show it: 128 + signal, or 1 after a failure or begin_stop() past its
  /// deadline, or 0.
  int shell_code() const noexcept { return signo != 0 ? 128 + signo : forced || !failure.empty(); }
};

/// What is in flight in a server of its own kind: HTTP, a message consumer. One graceful calls it,
/// each function at most once and in this order, from goroutines.
class drainable {
 public:
  drainable() = default;
  drainable(const drainable&) = delete;
  drainable& operator=(const drainable&) = delete;
  virtual ~drainable() = default;
  /// Phase `listen` has begun: still serves everything.
  virtual void leaving() {}
  /// Close listeners, turn keep-alive off, close what is idle, answer new work with a refusal. Must
  /// not wait for work in flight.
  virtual void refuse() = 0;
  /// Wait until nothing is in flight, or until `cut` ends.
  virtual void drain(const context& cut) = 0;
  /// The time is over: cut connections off. Must not block.
  virtual void cut_off() noexcept = 0;
  /// What is in flight, in a few words; for reports.
  virtual std::string in_flight() const { return {}; }
};

struct accept_options {
  /// Connections at once; more wait in the kernel's queue. At least 1.
  std::uint32_t connections_max = 10'000;
  /// In the phase `refuse` those who read see the end of the stream, and what the peer sends later
  /// is dropped: for protocols in which a connection that reads is idle.
  bool end_reads = false;
};

class upgrader;

class graceful {
  using state = service::graceful_state;

 public:
  /// Subscribes the signals. Throws std::invalid_argument, naming the member, for a deadline,
  /// budget or lame-duck time that is negative, a lame-duck time not below the deadline, and for
  /// signals as notify() does. An inherited SIG_IGN of SIGINT or SIGHUP is honoured.
  explicit graceful(graceful_options options = {});
  /// Ends stopping() and cut(), and waits for the goroutines of go() and accept(), unless the end
  /// was forced.
  ~graceful();
  graceful(const graceful&) = delete;
  graceful& operator=(const graceful&) = delete;

  // --------------------------------------------------------------------------------- what ends

  /// Runs hook() in that phase, in a goroutine of its own; the next one waits for it, for `timeout`
  /// at most, and the phase's budget at most. Priorities 9 to 0, highest first; equal ones in the
  /// order of registration. Hooks of `drain` run when nothing is in flight any more, or when 3/4
  /// of the phase's time are over. What a hook throws is logged and the next one runs.
  /// std::invalid_argument for another phase or priority; std::logic_error after the phase began.
  void on(stop_phase phase, int priority, std::string name, std::function<void()> hook,
          std::chrono::nanoseconds timeout = std::chrono::seconds(5));

  /// Runs f(stopping()), or f(), in a goroutine that the phase `drain` waits for. An exception that
  /// leaves it is logged and begins the end, with exit status 1.
  template <class F>
  void go(std::string name, F f) {
    start_worker(std::move(name), as_worker(std::move(f)));
  }

  /// Serves a listener: handler(stream, cut()), or handler(stream), in a goroutine for each
  /// connection. What leaves a handler ends its connection, and is counted. Without descriptors it
  /// waits for some. At the end of the time connections are closed, which wakes their handlers.
  template <class F>
  void accept(std::string name, net::tcp_listener listener, F handler, accept_options how = {}) {
    start_acceptor(std::move(name), std::move(listener),
                   as_handler<net::tcp_stream>(std::move(handler)), how);
  }
  template <class F>
  void accept(std::string name, net::unix_listener listener, F handler, accept_options how = {}) {
    start_acceptor(std::move(name), std::move(listener),
                   as_handler<net::unix_stream>(std::move(handler)), how);
  }

  /// Drains what is in flight elsewhere.
  void add(std::string name, std::shared_ptr<drainable> what);

  /// One piece of work, as long as the object lives; `drain` waits for it. Empty, and false, from
  /// the phase `refuse` on: such work must be refused.
  class ticket {
   public:
    ticket() noexcept = default;
    ticket(ticket&& other) noexcept
        : state_(std::move(other.state_)), entry_(std::exchange(other.entry_, nullptr)) {}
    ticket& operator=(ticket&& other) noexcept {
      ticket moved(std::move(other));
      std::swap(state_, moved.state_);
      std::swap(entry_, moved.entry_);
      return *this;
    }
    ~ticket() {
      if (entry_ != nullptr) leave();
    }
    explicit operator bool() const noexcept { return entry_ != nullptr; }

   private:
    friend class graceful;
    void leave() noexcept;
    std::shared_ptr<state> state_;
    void* entry_ = nullptr;
  };
  [[nodiscard]] ticket begin(std::string name);

  // ------------------------------------------------------- connections that outlive a process

  /// For servers: `take` is called, in a goroutine, with connections that the predecessor's server
  /// of that name passes on: each is as good as one that was just accepted. What it throws ends the
  /// connection. An empty function: no more, and none is being taken when this returns.
  void take_connections(const std::string& name, std::function<void(net::tcp_stream)> take);
  /// For servers, from the phase `refuse` on: passes a connection on to the successor's server of
  /// that name, which reads what has come on it and will; the caller closes `fd`. False, and
  /// nothing has happened: there is no successor, it takes none, or this is no TCP socket. Waits
  /// for a second at most.
  bool pass_connection(const std::string& name, int fd) const noexcept;

  // ------------------------------------------------------------------------------- the service

  /// Says that it is ready, waits for the end to begin, and for it to be done. With end_process it
  /// does not return when it was forced, and the deadline goes on until this object is gone: what
  /// runs after serve() is held to it too. Later calls return the same.
  const stop_outcome& serve();
  /// For servers that are ready later: is_ready() is true from now on, READY=1 is sent. serve()
  /// does it when nobody has.
  void ready();
  /// Begins the end without a signal, resp. with the one that `event` is. Later ones count as
  /// second signals when `event` is one.
  void begin_stop();
  void begin_stop(const signal_event& event);

  /// For load balancers: ready, and serving.
  bool is_ready() const noexcept;
  stop_phase phase() const noexcept;
  /// The process that serves from here on (<sigrun/upgrade.hpp>): the one that has taken over, or
  /// the predecessor, when this one failed as it took charge. 0: there is none.
  int successor() const noexcept;
  /// Ends when the phase `refuse` begins, with a canceled_by_signal as its cause if there was one.
  const context& stopping() const noexcept;
  /// Ends at the deadline, or at the second signal.
  const context& cut() const noexcept;
  /// What is left until the deadline; the whole of it before the end has begun.
  std::chrono::nanoseconds remaining() const noexcept;
  /// The deadline that holds, with the supervisor's grace heeded.
  std::chrono::nanoseconds deadline() const noexcept;
  /// What is in flight, "name, 4.2 s", oldest first, at most 100; and their number.
  std::vector<std::string> in_flight() const;
  std::size_t in_flight_count() const noexcept;
  /// Connections that were ended by what left their handler.
  std::uint64_t failed_connections() const noexcept;

 private:
  friend class upgrader;
  template <class F>
  friend int run_service(graceful_options, F);

  template <class F>
  static std::function<void(const context&)> as_worker(F f) {
    if constexpr (std::is_invocable_v<F&, const context&>) {
      return f;
    } else {
      return [f = std::move(f)](const context&) mutable { f(); };
    }
  }
  template <class Stream, class F>
  static std::function<void(Stream&, const context&)> as_handler(F f) {
    if constexpr (std::is_invocable_v<F&, Stream&, const context&>) {
      return f;
    } else {
      return [f = std::move(f)](Stream& stream, const context&) mutable { f(stream); };
    }
  }
  void start_worker(std::string name, std::function<void(const context&)> work);
  void start_acceptor(std::string name, net::tcp_listener listener,
                      std::function<void(net::tcp_stream&, const context&)> handler,
                      const accept_options& how);
  void start_acceptor(std::string name, net::unix_listener listener,
                      std::function<void(net::unix_stream&, const context&)> handler,
                      const accept_options& how);

  std::shared_ptr<state> state_;
};

/// Ends the process as `outcome` and `clean` say: does not return for exit_as::signal after a
/// signal, where stdio is flushed and the process dies by it. Otherwise what main() should return.
int end_service(const stop_outcome& outcome, exit_as clean);

/// A service as a main program: f(graceful&) is the main goroutine; when it returns, and its
/// locals are gone, the process ends as the outcome of serve() says, with 0 when that was not
/// called. What f throws is rethrown.
template <class F>
int run_service(graceful_options options, F f) {
  stop_outcome outcome;
  const exit_as clean = options.clean;
  run([&] {
    graceful life(std::move(options));
    f(life);
    if (life.phase() == stop_phase::ended) outcome = life.serve();
  });
  return end_service(outcome, clean);
}
template <class F>
int run_service(F f) {
  return run_service(graceful_options{}, std::move(f));
}

}  // namespace sigrun
