// SPDX-License-Identifier: Apache-2.0
//
// A context beside an operation on a descriptor: its end ends the operation.
//
//   (1) Nothing is done for it before the operation has to wait: then a task is linked in the
//       context, which has whoever waits at that side look again. As with deadlines (io_fd.hpp,
//       (4)) who waits first makes himself known and then asks whether the context has ended.
//   (2) The task has a share in the io_fd's memory: the end may be told of after the operation is
//       over, and then wakes somebody else for nothing, which everybody who waits there stands.
#pragma once

#include "poll/poller.hpp"

#include <sigrun/context.hpp>

#include <atomic>

namespace sigrun::detail {

class io_fd;

/// What io_fd says, negated, when the context has ended; no errno is that high.
inline constexpr int context_ended = 4000;

class within {
 public:
  /// nullptr: no context, and every member does nothing.
  explicit within(const context* ctx) noexcept : ctx_(ctx) {}
  ~within();
  within(const within&) = delete;
  within& operator=(const within&) = delete;

  bool ended() const noexcept {
    if (ctx_ == nullptr) return false;
    std::atomic_thread_fence(std::memory_order_seq_cst);  // (1); pairs with the one in the task
    return ctx_->ended();
  }
  /// 0; -context_ended, or -ENOMEM. Before the first wait at that side; again is no harm.
  long watch(io_fd& fd, poll::side which) noexcept;

 private:
  const context* const ctx_;
  after_node* node_ = nullptr;
};

}  // namespace sigrun::detail
