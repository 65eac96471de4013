// SPDX-License-Identifier: Apache-2.0
//
// Channels in a libuv loop: a callback per value.
//
//   sigrun::libuv::watcher<sigrun::signal_event> watcher(loop, ch,
//       [](std::optional<sigrun::signal_event> event) { … });
//
// Not part of sigrun.hpp; the program links libuv. Header only.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/detail/descriptors.hpp>

#include <uv.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace sigrun::libuv {

/// Calls `callback` on the loop's thread with each value of the channel, and with nullopt once when
/// it is closed and drained, after which the watcher no longer keeps the loop alive.
///
/// It holds a handle, so the channel stays open while the watcher lives. It belongs to the loop's
/// thread: make and destroy it there, also inside its own callback. Destroying it ends the calls at
/// once; the loop must run once more to free what uv_close() leaves behind. Any number of watchers,
/// loops and threads may receive on one channel; each value goes to one of them.
template <class T>
class watcher {
 public:
  using callback = std::function<void(std::optional<T>)>;

  /// Throws std::logic_error for an empty handle, std::system_error when libuv or the system
  /// refuses (EMFILE).
  watcher(uv_loop_t* loop, chan<T> ch, callback function) {
    if (!ch) throw std::logic_error("sigrun::libuv::watcher on an empty handle");
    auto made = std::make_unique<state>(std::move(ch), std::move(function));
    // A loop takes each descriptor once, and several watchers may watch one channel.
    made->fd = sigrun::detail::copy_descriptor(made->ch.fd());
    if (made->fd < 0) throw_error(-made->fd, "fcntl(F_DUPFD_CLOEXEC)");
    if (const int error = uv_poll_init(loop, &made->poll, made->fd)) {
      sigrun::detail::close_descriptor(made->fd);
      throw_error(-error, "uv_poll_init");
    }
    state_ = made.release();  // from here on libuv knows it, and only uv_close frees it
    state_->poll.data = state_;
    if (const int error = uv_poll_start(&state_->poll, UV_READABLE, on_readable)) {
      end();
      throw_error(-error, "uv_poll_start");
    }
  }
  watcher(watcher&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  watcher& operator=(watcher&& other) noexcept {
    if (this != &other) {
      end();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }
  ~watcher() { end(); }

 private:
  // So many values at a time: a flood must not starve the loop's other handles.
  static constexpr int burst_max = 64;

  struct state {
    state(chan<T> c, callback f) : ch(std::move(c)), function(std::move(f)) {}
    uv_poll_t poll{};
    chan<T> ch;
    callback function;
    int fd = -1;
    bool ended = false;
  };

  [[noreturn]] static void throw_error(int error, const char* what) {
    throw std::system_error(error, std::system_category(),
                            std::string("sigrun::libuv::watcher: ") + what);
  }

  static void on_readable(uv_poll_t* poll, int /*status*/, int /*events*/) {
    // An error is no other than "look": what is wrong with the channel, the receive says.
    auto* const self = static_cast<state*>(poll->data);
    for (int i = 0; i < burst_max && !self->ended; ++i) {
      T value{};
      switch (self->ch.recv_for(std::chrono::nanoseconds{0}, value)) {
        case chan_status::ok:
          self->function(std::optional<T>(std::move(value)));
          break;
        case chan_status::timeout:
          return;
        case chan_status::closed:
          uv_poll_stop(poll);
          self->function(std::nullopt);
          return;
      }
    }
  }

  void end() noexcept {
    if (state_ == nullptr) return;
    state* const self = std::exchange(state_, nullptr);
    self->ended = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&self->poll),
             [](uv_handle_t* handle) { delete static_cast<state*>(handle->data); });
    sigrun::detail::close_descriptor(self->fd);  // uv_close has taken it off the loop
  }

  state* state_ = nullptr;
};

}  // namespace sigrun::libuv
