// SPDX-License-Identifier: Apache-2.0
//
// notify_stop: a thread per subscription waits for the first signal and requests the stop, so that
// stop_callbacks run on a thread that nobody else needs.
#include "signal/quiet_thread.hpp"

#include <optional>

namespace sigrun {

struct stop_subscription::state {
  explicit state(std::size_t capacity) : channel(capacity) {}
  signal_chan channel;
  std::thread waiter;
  std::mutex lock;
  std::optional<signal_event> cause;

  ~state() {
    if (!channel.closed()) channel.close();
    if (!waiter.joinable()) return;
    // A stop_callback may hold the last reference: the thread cannot join itself.
    if (waiter.get_id() == std::this_thread::get_id()) {
      waiter.detach();
    } else {
      waiter.join();
    }
  }
};

stop_subscription& stop_subscription::operator=(stop_subscription&&) noexcept = default;
stop_subscription::~stop_subscription() = default;

const signal_event* stop_subscription::cause() const noexcept {
  if (state_ == nullptr) return nullptr;
  const std::lock_guard hold{state_->lock};
  return state_->cause ? &*state_->cause : nullptr;
}

stop_subscription notify_stop(std::stop_source& source, std::initializer_list<int> signos,
                              const notify_options& options) {
  stop_subscription result;
  result.state_ = std::make_shared<stop_subscription::state>(1);
  notify(result.state_->channel, signos, options);
  // The thread has the channel and the source, not the state: whoever drops the last reference to
  // the state ends the thread by closing the channel.
  const std::weak_ptr<stop_subscription::state> weak = result.state_;
  result.state_->waiter = signal::start_quiet_thread(
      "sigrun-stop", [channel = result.state_->channel, source, weak]() mutable {
        const std::optional<signal_event> event = channel.recv();
        if (!event) return;
        if (const auto state = weak.lock()) {
          const std::lock_guard hold{state->lock};
          state->cause = *event;
        }
        stop(channel);  // from here a second signal has its older disposition
        source.request_stop();
      });
  return result;
}

}  // namespace sigrun
