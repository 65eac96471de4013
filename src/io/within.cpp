// SPDX-License-Identifier: Apache-2.0
#include "io/within.hpp"

#include "io/io_fd.hpp"

#include <cerrno>
#include <memory>
#include <new>

namespace sigrun::detail {
namespace {

class look_again final : public context_task {
 public:
  look_again(io_fd& fd, poll::side which) noexcept : fd_(fd), which_(which) { fd.add_memory(); }
  ~look_again() override { fd_.drop_memory(); }
  look_again(const look_again&) = delete;
  look_again& operator=(const look_again&) = delete;

  void run() noexcept override {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // within.hpp, (1)
    fd_.look_again(which_);
  }

 private:
  io_fd& fd_;
  const poll::side which_;
};

}  // namespace

within::~within() {
  if (node_ == nullptr) return;
  stop_after(*ctx_, node_);
  drop_after(node_);
}

long within::watch(io_fd& fd, poll::side which) noexcept {
  if (ctx_ == nullptr || node_ != nullptr) return 0;
  if (ctx_->ended()) return -context_ended;
  try {
    node_ = add_after(*ctx_, std::make_unique<look_again>(fd, which));
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
  return 0;
}

}  // namespace sigrun::detail
