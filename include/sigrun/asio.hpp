// SPDX-License-Identifier: Apache-2.0
//
// Channels in a Boost.Asio program (1.81): a receive as an asynchronous operation with any
// completion token.
//
//   sigrun::asio::async_recv(ch, io.get_executor(),
//       [](boost::system::error_code error, sigrun::signal_event event) { … });
//   auto event = co_await sigrun::asio::async_recv(ch, executor, boost::asio::use_awaitable);
//
// Not part of sigrun.hpp; the program links Boost. Header only.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/detail/descriptors.hpp>

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

namespace sigrun::asio {
namespace detail {

template <class T, class Executor>
class recv_operation {
 public:
  recv_operation(chan<T> ch, const Executor& executor) : ch_(std::move(ch)), executor_(executor) {}

  template <class Self>
  void operator()(Self& self, boost::system::error_code error = {}) {
    if (step_ == step::ready) return self.complete(error_, std::move(value_));
    if (step_ == step::starting) {
      // A receive that was cancelled has taken nothing, so every kind of cancellation is fine.
      self.reset_cancellation_state(boost::asio::enable_total_cancellation());
    } else if (error) {
      return finish(self, error);
    }
    switch (ch_.recv_for(std::chrono::nanoseconds{0}, value_)) {
      case chan_status::ok:
        return finish(self, {});
      case chan_status::closed:
        return finish(self, boost::asio::error::eof);
      case chan_status::timeout:
        break;
    }
    // Another receiver was faster, or the wake was for another channel.
    if (self.cancelled() != boost::asio::cancellation_type::none) {
      return finish(self, boost::asio::error::operation_aborted);
    }
    wait(self);
  }

 private:
  enum class step { starting, waiting, ready };
  using descriptor = boost::asio::posix::basic_stream_descriptor<Executor>;

  // The completion handler must never run inside the initiating call, hence the post.
  template <class Self>
  void finish(Self& self, boost::system::error_code error) {
    const bool initiating = step_ == step::starting;
    error_ = error;
    step_ = step::ready;
    descriptor_.reset();  // before the handler, which may drop the last handle
    if (!initiating) return self.complete(error_, std::move(value_));
    const Executor executor = executor_;
    boost::asio::post(executor, std::move(self));
  }

  template <class Self>
  void wait(Self& self) {
    if (!descriptor_) {
      // A reactor takes each descriptor once, and several operations may wait on one channel.
      boost::system::error_code error;
      try {
        const int copy = sigrun::detail::copy_descriptor(ch_.fd());
        if (copy < 0) error.assign(-copy, boost::system::system_category());
        if (!error) {
          descriptor_ = std::make_unique<descriptor>(executor_);
          descriptor_->assign(copy, error);
          if (error) sigrun::detail::close_descriptor(copy);
        }
      } catch (const std::system_error& e) {
        error.assign(e.code().value(), boost::system::system_category());
      }
      if (error) return finish(self, error);
    }
    step_ = step::waiting;
    descriptor& waiter = *descriptor_;  // stays put while `self` moves
    waiter.async_wait(boost::asio::posix::descriptor_base::wait_read, std::move(self));
  }

  chan<T> ch_;
  Executor executor_;
  std::unique_ptr<descriptor> descriptor_;
  boost::system::error_code error_;
  T value_{};
  step step_ = step::starting;
};

}  // namespace detail

/// Receives one value. Completes, never inside this call, with signature
/// void(boost::system::error_code, T): no error and the value; boost::asio::error::eof when the
/// channel is closed and drained; boost::asio::error::operation_aborted when it was cancelled; or
/// the system's error when there is no descriptor left (EMFILE). With an error the value is T{}.
///
/// Cancellation: through the token's cancellation slot (terminal, partial and total alike). A
/// cancelled receive has taken no value. The operation keeps a handle, so the channel stays open
/// until it completes. Any number of operations, loops and threads may receive on one channel; each
/// value goes to one of them.
///
/// Throws std::logic_error for an empty handle. T must be default-constructible and
/// move-assignable.
template <class T, class Executor, class CompletionToken>
auto async_recv(chan<T> ch, const Executor& executor, CompletionToken&& token) {
  static_assert(std::is_default_constructible_v<T> && std::is_move_assignable_v<T>);
  if (!ch) throw std::logic_error("sigrun::asio::async_recv on an empty handle");
  return boost::asio::async_compose<CompletionToken, void(boost::system::error_code, T)>(
      detail::recv_operation<T, Executor>(std::move(ch), executor), token, executor);
}

}  // namespace sigrun::asio
