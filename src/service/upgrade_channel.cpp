// SPDX-License-Identifier: Apache-2.0
#include "service/upgrade_channel.hpp"
#include "io/io_fd.hpp"
#include "io/within.hpp"
#include "sys/file.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace sigrun::service {
namespace {

using poll::side;

struct header {
  char magic[4];
  std::uint16_t version;
  std::uint16_t word;
  std::uint32_t number;
};
constexpr char magic[4] = {'S', 'G', 'U', 'P'};

[[noreturn]] void refuse(long result, const char* what) {
  throw std::system_error(static_cast<int>(-result), std::system_category(), what);
}

// More than one would be somebody else's idea; there is room so that they can be closed.
constexpr std::size_t fds_max = 4;

struct packet {
  char bytes[sizeof(header) + upgrade_channel::text_max];
  alignas(cmsghdr) char control[CMSG_SPACE(fds_max * sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr message{};

  packet() noexcept {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
  }
};

// The first descriptor of a message; others are closed.
int take_fd(msghdr& message) noexcept {
  int first = -1;
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(one) + i * sizeof(int), sizeof fd);
      if (first < 0) {
        first = fd;
      } else {
        sys::close(fd);
      }
    }
  }
  return first;
}

heard read_packet(packet& from, std::size_t size, upgrade_message& into) {
  into.fd = take_fd(from.message);
  header head{};
  if (size >= sizeof head) std::memcpy(&head, from.bytes, sizeof head);
  if (size < sizeof head || (from.message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      std::memcmp(head.magic, magic, sizeof magic) != 0) {
    into.text = "it says something that is no message of an upgrade";
  } else if (head.version != upgrade_channel::version) {
    into.text = "it speaks version " + std::to_string(head.version) + " of upgrades, here it is " +
                std::to_string(upgrade_channel::version);
  } else if (head.word < static_cast<int>(upgrade_word::hello) ||
             head.word > static_cast<int>(upgrade_word::connection)) {
    into.text = "it says a word that is unknown, " + std::to_string(head.word);
  } else {
    into.word = static_cast<upgrade_word>(head.word);
    into.number = head.number;
    into.text.assign(from.bytes + sizeof head, size - sizeof head);
    return heard::message;
  }
  if (into.fd >= 0) sys::close(std::exchange(into.fd, -1));
  return heard::garbage;
}

}  // namespace

std::pair<int, int> upgrade_channel::make_pair() {
  int fds[2];
  const long made =
      sys::call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
  if (sys::failed(made)) refuse(made, "sigrun::upgrader: socketpair");
  return {fds[0], fds[1]};
}

upgrade_channel::upgrade_channel(int fd) {
  long error = 0;
  fd_ = detail::io_fd::open(fd, detail::fd_kind::unix_stream, error);
  if (fd_ == nullptr) refuse(error, "sigrun::upgrader: channel");
}

upgrade_channel& upgrade_channel::operator=(upgrade_channel&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, nullptr);
  }
  return *this;
}

void upgrade_channel::close() noexcept {
  if (fd_ != nullptr) std::exchange(fd_, nullptr)->drop_handle();
}

bool upgrade_channel::send(const upgrade_message& message) noexcept {
  if (fd_ == nullptr) return false;
  header head{};
  std::memcpy(head.magic, magic, sizeof magic);
  head.version = version;
  head.word = static_cast<std::uint16_t>(message.word);
  head.number = message.number;
  const std::size_t text = std::min(message.text.size(), text_max);
  packet out;
  std::memcpy(out.bytes, &head, sizeof head);
  if (text != 0) std::memcpy(out.bytes + sizeof head, message.text.data(), text);
  out.part.iov_len = sizeof head + text;
  if (message.fd >= 0) {
    out.message.msg_control = out.control;
    out.message.msg_controllen = CMSG_SPACE(sizeof(int));
    cmsghdr* const beside = CMSG_FIRSTHDR(&out.message);
    beside->cmsg_level = SOL_SOCKET;
    beside->cmsg_type = SCM_RIGHTS;
    beside->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(beside), &message.fd, sizeof message.fd);
  }
  return !sys::failed(sys::call(SYS_sendmsg, fd_->fd(), &out.message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

heard upgrade_channel::receive(upgrade_message& into, std::int64_t deadline_ns,
                               const context* ctx) {
  into = {};
  if (fd_ == nullptr) return heard::closed;
  packet in;
  detail::within inside(ctx);
  long error = fd_->begin(side::read, &inside);
  long got = 0;
  if (error == 0) {
    do {
      in.message.msg_control = in.control;
      in.message.msg_controllen = sizeof in.control;
      got = sys::call(SYS_recvmsg, fd_->fd(), &in.message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (got != -EAGAIN) break;
      error = fd_->wait(side::read, deadline_ns, &inside);
    } while (error == 0);
    fd_->end(side::read);
  }
  if (error == -detail::context_ended || error == -ECANCELED) return heard::canceled;
  if (error == -EAGAIN || error == -ETIMEDOUT) return heard::timed_out;
  if (error != 0) refuse(error, "sigrun::upgrader: channel");
  if (got <= 0) return heard::closed;  // a reset too: it went with something of ours unread
  return read_packet(in, static_cast<std::size_t>(got), into);
}

}  // namespace sigrun::service
