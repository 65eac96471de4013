// SPDX-License-Identifier: Apache-2.0
//
// A context that a signal ends, after Go's signal.NotifyContext:
//
//   auto [ctx, stop] = sigrun::notify_context(sigrun::context(), {SIGINT, SIGTERM});
//   serve(ctx);
//   std::puts(ctx.reason().c_str());   // "SIGTERM from pid 4711 (uid 1000)"
//
// The first signal gives the signals their earlier disposition back before it ends the context: a
// second Ctrl-C always works. (In Go it is swallowed until stop is called.)
#pragma once

#include <sigrun/context.hpp>
#include <sigrun/signal.hpp>

#include <initializer_list>
#include <memory>
#include <stdexcept>

namespace sigrun {

/// The cause of a context that a signal has ended.
class canceled_by_signal : public std::runtime_error {
 public:
  explicit canceled_by_signal(const signal_event& event);
  /// The whole event: sender, value, times.
  const signal_event& event() const noexcept { return event_; }

 private:
  signal_event event_;
};

struct signal_context;

/// Keeps the subscription of a notify_context(). Its end gives the signals their earlier
/// disposition back, but leaves the context as it is; calling it ends the context too, as
/// cancelled. When either returns, a signal has its earlier disposition. Move-only.
class signal_stop {
 public:
  signal_stop() noexcept = default;
  signal_stop(signal_stop&&) noexcept = default;
  signal_stop& operator=(signal_stop&& other) noexcept;
  ~signal_stop();
  void operator()();

 private:
  friend struct signal_context;
  friend signal_context notify_context(const context&, std::initializer_list<int>,
                                       const notify_options&);
  struct state;
  std::shared_ptr<state> state_;
};

struct signal_context {
  context ctx;
  signal_stop stop;
};

/// A context below `parent` that the first of `signos` ends, with err() canceled and a
/// canceled_by_signal as its cause. The subscription ends with the first signal, with the parent,
/// or with `stop`, whichever comes first. Below a parent that has ended there is none at all.
/// Signals are taken by a thread of its own. Throws as notify() and with_cancel() do.
[[nodiscard]] signal_context notify_context(const context& parent,
                                            std::initializer_list<int> signos,
                                            const notify_options& options = {});

}  // namespace sigrun
