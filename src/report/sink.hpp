// SPDX-License-Identifier: Apache-2.0
//
// Where a report goes, piece by piece, without allocation.
#pragma once

#include "base/signal_safe.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sigrun::report {

class sink {
 public:
  using target = void (*)(void* arg, std::string_view text);

  SIGRUN_SIGNAL_SAFE sink(target out, void* arg) noexcept : out_(out), arg_(arg) {}
  sink(const sink&) = delete;
  sink& operator=(const sink&) = delete;
  SIGRUN_SIGNAL_SAFE ~sink() { flush(); }

  SIGRUN_SIGNAL_SAFE sink& add(std::string_view text) noexcept;
  SIGRUN_SIGNAL_SAFE sink& add(char c) noexcept;
  SIGRUN_SIGNAL_SAFE sink& number(std::int64_t value) noexcept;
  SIGRUN_SIGNAL_SAFE sink& count(std::uint64_t value) noexcept;
  SIGRUN_SIGNAL_SAFE sink& hex(std::uint64_t value) noexcept;
  /// Without a prefix, two digits a byte.
  SIGRUN_SIGNAL_SAFE sink& bytes(const std::uint8_t* data, std::size_t size) noexcept;
  /// As a JSON string, in quotes; what is no UTF-8 becomes U+FFFD.
  SIGRUN_SIGNAL_SAFE sink& quoted(std::string_view text) noexcept;
  SIGRUN_SIGNAL_SAFE void flush() noexcept;

 private:
  target out_;
  void* arg_;
  std::size_t used_ = 0;
  char room_[1024];
};

/// A descriptor as a target. Waits for one that is full, but not for longer than `patience_ns` in
/// all; counts what it could not write. (arg of sink: the fd_target)
struct fd_target {
  int fd = -1;
  std::int64_t patience_ns = 1'000'000'000;
  /// Asks before each write, so that a descriptor without O_NONBLOCK has no more patience than one
  /// with it: a sink's pieces fit where poll(2) says that there is room, in a pipe as elsewhere.
  bool asks_first = false;
  std::uint64_t written = 0;
  std::uint64_t lost = 0;
  int error = 0;                     // why, the first time
  std::uint64_t limit = UINT64_MAX;  // bytes; beyond it everything is lost

  SIGRUN_SIGNAL_SAFE static void write(void* self, std::string_view text) noexcept;

 private:
  SIGRUN_SIGNAL_SAFE bool wait() noexcept;
};

}  // namespace sigrun::report
