// SPDX-License-Identifier: Apache-2.0
//
// What an old process and a new one say to each other: messages over a pair of SOCK_SEQPACKET
// sockets, so each arrives whole or not at all, with descriptors beside them.
//
//   old ──▶ new   hello, listener*, then: go, back, leaving, connection*
//   new ──▶ old   ready, serving, failed
//
// Every message begins with a magic number and the version of all of this. Another version, another
// size and an unknown kind are `garbage`: nothing more of them is looked at.
#pragma once

#include <sigrun/context.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace sigrun::detail {
class io_fd;
}

namespace sigrun::service {

enum class upgrade_word : std::uint16_t {
  hello = 1,  ///< number: listeners that follow; text: nothing yet
  listener,   ///< number: listener_flags; text: name, NUL, path to remove; with its descriptor
  ready,      ///< number: ready_flags
  go,
  serving,
  failed,      ///< text: why
  back,        ///< text: why the old one goes on
  leaving,     ///< number: requests for an upgrade that came too late for the old one
  connection,  ///< text: the server's name; with its descriptor
};

/// For `listener`.
inline constexpr std::uint32_t from_supervisor = 1;
/// For `ready`: it knows the word `connection`.
inline constexpr std::uint32_t takes_connections = 1;

struct upgrade_message {
  upgrade_word word = upgrade_word::hello;
  std::uint32_t number = 0;
  std::string text{};
  int fd = -1;  ///< the receiver's to close
};

enum class heard : std::uint8_t {
  message,
  closed,     ///< the other end is gone
  timed_out,  ///< the deadline passed
  canceled,   ///< the context has ended, or the channel was closed here
  garbage,    ///< `text` says what
};

/// One end. Messages may be sent beside a receive(); one receives at a time.
class upgrade_channel {
 public:
  static constexpr std::uint16_t version = 1;
  static constexpr std::size_t text_max = 1024;

  upgrade_channel() noexcept = default;
  /// Takes `fd` over, also when this throws std::system_error.
  explicit upgrade_channel(int fd);
  upgrade_channel(upgrade_channel&& other) noexcept : fd_(std::exchange(other.fd_, nullptr)) {}
  upgrade_channel& operator=(upgrade_channel&& other) noexcept;
  ~upgrade_channel() { close(); }

  bool is_open() const noexcept { return fd_ != nullptr; }
  /// Never waits. False: the other end is gone, or does not read.
  bool send(const upgrade_message& message) noexcept;
  heard receive(upgrade_message& into, std::int64_t deadline_ns, const context* ctx);
  void close() noexcept;

  /// Two numbers of connected sockets: they do not block, and close on exec. std::system_error.
  static std::pair<int, int> make_pair();

 private:
  detail::io_fd* fd_ = nullptr;
};

}  // namespace sigrun::service
