// SPDX-License-Identifier: Apache-2.0
//
// What was read from a connection and not used yet.
//
//   pin() holds the bytes before it where they are: views into a head stay good while more is
//   read. When there is no room behind them, what was not used goes on in a new block, and the old
//   one is kept until unpin().
#pragma once

#include <sigrun/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace sigrun::http::detail {

class input_buffer {
 public:
  static constexpr std::size_t first_size = 4 << 10;
  static constexpr std::size_t body_size = 16 << 10;

  bool empty() const noexcept { return begin_ == end_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  std::string_view view() const noexcept { return {block_.get() + begin_, size()}; }
  void take(std::size_t count) noexcept { begin_ += count; }

  /// Everything up to here stays in place.
  void pin() noexcept { pinned_ = begin_; }
  void unpin() noexcept {
    pinned_ = 0;
    kept_.reset();
    if (begin_ != end_) return;
    begin_ = end_ = 0;
    if (size_ <= first_size) return;
    block_.reset();  // who waits for a request need not hold what a body took
    size_ = 0;
  }

  /// Room for at least `wanted` bytes behind what is there.
  mutable_buffer prepare(std::size_t wanted) {
    if (size_ - end_ < wanted) make_room(wanted);
    return {block_.get() + end_, size_ - end_};
  }
  void commit(std::size_t count) noexcept { end_ += count; }

 private:
  void make_room(std::size_t wanted) {
    if (size_ - pinned_ >= size() + wanted) {
      std::memmove(block_.get() + pinned_, block_.get() + begin_, size());
      end_ = pinned_ + size();
      begin_ = pinned_;
      return;
    }
    const std::size_t bytes = std::max(first_size, std::max(2 * size(), size() + wanted));
    std::unique_ptr<char[]> fresh(new char[bytes]);
    if (size() != 0) std::memcpy(fresh.get(), block_.get() + begin_, size());
    if (pinned_ != 0 && kept_ == nullptr) kept_ = std::move(block_);
    block_ = std::move(fresh);
    end_ = size();
    begin_ = pinned_ = 0;
    size_ = bytes;
  }

  std::unique_ptr<char[]> block_;
  std::unique_ptr<char[]> kept_;
  std::size_t size_ = 0;
  std::size_t pinned_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace sigrun::http::detail
