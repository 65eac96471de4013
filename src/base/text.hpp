// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/signal_safe.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sigrun::base {

/// Text built in place without allocation, for messages from handlers. What does not fit is cut.
template <std::size_t Size>
class text_buffer {
 public:
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE text_buffer& add(std::string_view text) noexcept {
    for (const char c : text) put(c);
    return *this;
  }
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE text_buffer& add(std::int64_t number) noexcept {
    if (number >= 0) return add_unsigned(static_cast<std::uint64_t>(number), 10);
    put('-');
    return add_unsigned(~static_cast<std::uint64_t>(number) + 1, 10);
  }
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE text_buffer& add(int number) noexcept {
    return add(std::int64_t{number});
  }
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE text_buffer& add_hex(std::uint64_t number) noexcept {
    return add("0x").add_unsigned(number, 16);
  }
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE text_buffer& add_unsigned(std::uint64_t number,
                                                                      unsigned base) noexcept {
    char digits[24];
    std::size_t count = 0;
    do {
      digits[count++] = "0123456789abcdef"[number % base];
      number /= base;
    } while (number != 0);
    while (count != 0) put(digits[--count]);
    return *this;
  }
  [[gnu::always_inline]] SIGRUN_SIGNAL_SAFE std::string_view view() const noexcept {
    return {bytes_, length_};
  }

 private:
  [[gnu::always_inline]] void put(char c) noexcept {
    if (length_ < Size) bytes_[length_++] = c;
  }
  std::size_t length_ = 0;
  char bytes_[Size];
};

}  // namespace sigrun::base
