// SPDX-License-Identifier: Apache-2.0
//
// notify_context: a thread per subscription waits for the first signal, stops the subscription, and
// ends the context. Whoever wants the thread to end earlier puts an event without a signal into
// its channel: that takes no lock of the registry, so the end of a parent, which may come from a
// timer, is not held up.
#include <sigrun/notify_context.hpp>

#include "signal/quiet_thread.hpp"

#include <sigrun/signal_names.hpp>
#include <sigrun/sync.hpp>

#include <atomic>
#include <string>

namespace sigrun {
namespace {

std::string describe(const signal_event& event) {
  std::string text(signal_name(event.signo));
  if (event.pid != 0) {
    text += " from pid " + std::to_string(event.pid) + " (uid " + std::to_string(event.uid) + ")";
  } else if (event.origin == signal_origin::kernel) {
    text += " from the kernel";
  }
  return text;
}

/// The channel has room for the one nudge and one signal.
struct nudged_channel {
  signal_chan channel{2};
  std::atomic<bool> nudged{false};
  void nudge() {
    if (!nudged.exchange(true)) channel.try_send(signal_event{});
  }
};

struct nudge_task final : detail::context_task {
  explicit nudge_task(std::shared_ptr<nudged_channel> to) : to_(std::move(to)) {}
  void run() noexcept override { to_->nudge(); }

 private:
  std::shared_ptr<nudged_channel> to_;
};

}  // namespace

canceled_by_signal::canceled_by_signal(const signal_event& event)
    : std::runtime_error(describe(event)), event_(event) {}

struct signal_stop::state {
  explicit state(cancelable made) : ctx(std::move(made.ctx)), cancel(std::move(made.cancel)) {}
  ~state() {
    if (at_end != nullptr) {
      detail::stop_after(ctx, at_end);
      detail::drop_after(at_end);
    }
  }

  const context ctx;
  const cancel_function cancel;
  const std::shared_ptr<nudged_channel> inbox = std::make_shared<nudged_channel>();
  /// Counts the thread until the signals have their earlier disposition.
  wait_group subscribed;
  detail::after_node* at_end = nullptr;

  void wait_for_signal() {
    const signal_chan& channel = inbox->channel;
    signal_event event = channel.recv().value_or(signal_event{});
    stop(channel);  // from here a second signal has its earlier disposition
    if (event.signo == 0) channel.try_recv(event);  // one that came between the two
    if (event.signo != 0) cancel(canceled_by_signal(event));
    subscribed.done();
  }
  void unsubscribe() {
    inbox->nudge();
    subscribed.wait();
  }
};

signal_stop& signal_stop::operator=(signal_stop&& other) noexcept {
  signal_stop moved(std::move(other));
  std::swap(state_, moved.state_);
  return *this;
}

signal_stop::~signal_stop() {
  if (state_ != nullptr) state_->unsubscribe();
}

void signal_stop::operator()() {
  if (state_ == nullptr) return;
  state_->unsubscribe();
  state_->cancel();
}

signal_context notify_context(const context& parent, std::initializer_list<int> signos,
                              const notify_options& options) {
  signal_stop stop_it;
  stop_it.state_ = std::make_shared<signal_stop::state>(with_cancel(parent));
  signal_stop::state& state = *stop_it.state_;
  const context ctx = state.ctx;
  notify(state.inbox->channel, signos, options);  // first, so that misuse is found in any case
  if (ctx.ended()) {
    stop(state.inbox->channel);
    return {ctx, {}};
  }
  state.subscribed.add();
  try {
    signal::start_quiet_thread("sigrun-context", [kept = stop_it.state_] {
      kept->wait_for_signal();
    }).detach();
  } catch (...) {
    state.subscribed.done();
    stop(state.inbox->channel);
    throw;
  }
  // What throws from here on has stop_it clean up.
  state.at_end = detail::add_after(ctx, std::make_unique<nudge_task>(state.inbox));
  return {ctx, std::move(stop_it)};
}

}  // namespace sigrun
