// SPDX-License-Identifier: Apache-2.0
#include "report/sink.hpp"

#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <poll.h>

#include <cerrno>

namespace sigrun::report {
namespace {

// Bytes of the UTF-8 sequence at the front of `text`; 0: it is none (RFC 3629, 4).
std::size_t sequence_size(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && at(1) < 0xa0) return 0;
  if (first == 0xed && at(1) > 0x9f) return 0;  // surrogates
  if (first == 0xf0 && at(1) < 0x90) return 0;
  if (first == 0xf4 && at(1) > 0x8f) return 0;
  return size;
}

constexpr char digits[] = "0123456789abcdef";

}  // namespace

sink& sink::add(char c) noexcept {
  if (used_ == sizeof room_) flush();
  room_[used_++] = c;
  return *this;
}

sink& sink::add(std::string_view text) noexcept {
  for (const char c : text) add(c);
  return *this;
}

sink& sink::count(std::uint64_t value) noexcept {
  char text[20];
  std::size_t size = 0;
  do {
    text[size++] = digits[value % 10];
    value /= 10;
  } while (value != 0);
  while (size != 0) add(text[--size]);
  return *this;
}

sink& sink::number(std::int64_t value) noexcept {
  if (value < 0) add('-');
  const auto bits = static_cast<std::uint64_t>(value);
  return count(value < 0 ? ~bits + 1 : bits);
}

sink& sink::hex(std::uint64_t value) noexcept {
  char text[16];
  std::size_t size = 0;
  do {
    text[size++] = digits[value % 16];
    value /= 16;
  } while (value != 0);
  add("0x");
  while (size != 0) add(text[--size]);
  return *this;
}

sink& sink::bytes(const std::uint8_t* data, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i) add(digits[data[i] >> 4]).add(digits[data[i] & 15]);
  return *this;
}

sink& sink::quoted(std::string_view text) noexcept {
  add('"');
  while (!text.empty()) {
    const char c = text.front();
    const auto byte = static_cast<unsigned char>(c);
    std::size_t size = 1;
    if (c == '"' || c == '\\') {
      add('\\').add(c);
    } else if (byte < 0x20 || byte == 0x7f) {
      add("\\u00").add(digits[byte >> 4]).add(digits[byte & 15]);
    } else if (size = sequence_size(text); size != 0) {
      add(text.substr(0, size));
    } else {
      add("\\ufffd");
      size = 1;
    }
    text.remove_prefix(size);
  }
  return add('"');
}

void sink::flush() noexcept {
  if (used_ == 0) return;
  out_(arg_, {room_, used_});
  used_ = 0;
}

// Waits for room, at the cost of its patience; false: there is none. What is no descriptor, or has
// lost its reader, counts as room: write(2) says why.
bool fd_target::wait() noexcept {
  const std::int64_t before = sys::now_ns();
  pollfd wanted{fd, POLLOUT, 0};
  const sys::timespec64 most = sys::to_timespec(patience_ns > 0 ? patience_ns : 0);
  const long ready = sys::call(SYS_ppoll, &wanted, 1, &most, nullptr, 0);
  patience_ns -= sys::now_ns() - before + 1;
  return ready > 0 || (ready == -EINTR && patience_ns > 0);
}

void fd_target::write(void* arg, std::string_view text) noexcept {
  auto& self = *static_cast<fd_target*>(arg);
  const std::uint64_t room = self.limit - self.written;
  if (text.size() > room) {
    self.lost += text.size() - room;
    if (self.error == 0) self.error = EFBIG;
    text = text.substr(0, room);
  }
  while (!text.empty()) {
    if (self.asks_first && !self.wait()) {
      if (self.error == 0) self.error = EAGAIN;
      break;
    }
    const long sent = sys::write(self.fd, text);
    if (sent > 0) {
      self.written += static_cast<std::uint64_t>(sent);
      text.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (sent == -EINTR) continue;
    if (sent != -EAGAIN || self.patience_ns <= 0) {
      if (self.error == 0) self.error = sent == 0 ? EIO : static_cast<int>(-sent);
      break;
    }
    self.wait();
  }
  self.lost += text.size();
}

}  // namespace sigrun::report
