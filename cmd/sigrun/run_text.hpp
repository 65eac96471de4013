// SPDX-License-Identifier: Apache-2.0
//
// Lines of text written with one write(2) each, so that lines of the runner and of its child do not
// mix. No stdio: its buffers and locale code would cost more start-up than the rest of the runner.
#pragma once

#include "sys/file.hpp"

#include <cerrno>
#include <cstdint>
#include <string_view>

namespace sigrun::cmd {

/// Collects text and writes it to a file descriptor when destroyed. What does not fit is written
/// first, so nothing is cut.
class text_line {
 public:
  explicit text_line(int fd) noexcept : fd_(fd) {}
  text_line(const text_line&) = delete;
  text_line& operator=(const text_line&) = delete;
  ~text_line() { flush(); }

  text_line& add(std::string_view text) noexcept {
    for (const char c : text) put(c);
    return *this;
  }
  text_line& add_char(char c) noexcept {
    put(c);
    return *this;
  }
  text_line& add(std::int64_t number) noexcept {
    if (number < 0) put('-');
    // Negating in unsigned arithmetic keeps the smallest number right.
    const auto bits = static_cast<std::uint64_t>(number);
    return add_unsigned(number < 0 ? ~bits + 1 : bits);
  }
  text_line& add(int number) noexcept { return add(std::int64_t{number}); }
  text_line& add_unsigned(std::uint64_t number, unsigned width = 1) noexcept {
    char digits[24];
    unsigned count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0 || count < width);
    while (count != 0) put(digits[--count]);
    return *this;
  }

  void flush() noexcept {
    std::size_t done = 0;
    while (done < length_) {
      const long written = sys::write(fd_, bytes_ + done, length_ - done);
      if (written == -EINTR) continue;
      if (written <= 0) {
        error_ = written == 0 ? ENOSPC : static_cast<int>(-written);
        break;
      }
      done += static_cast<std::size_t>(written);
    }
    length_ = 0;
  }
  /// Positive errno of the last write that failed; 0: all is written.
  int error() const noexcept { return error_; }

 private:
  void put(char c) noexcept {
    if (length_ == sizeof bytes_) flush();
    bytes_[length_++] = c;
  }

  int fd_;
  int error_ = 0;
  std::size_t length_ = 0;
  char bytes_[2048];
};

}  // namespace sigrun::cmd
