// SPDX-License-Identifier: Apache-2.0
//
// A supervisor for tests: the other end of NOTIFY_SOCKET.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>

namespace sigrun::test {

class supervisor_socket {
 public:
  explicit supervisor_socket(bool abstract = true) {
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    static int serial = 0;
    const std::string tail =
        "sigrun-test-" + std::to_string(::getpid()) + "-" + std::to_string(++serial);
    name_ = abstract ? "@" + tail : "/tmp/" + tail;
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::memcpy(at.sun_path, name_.data(), name_.size());
    if (abstract) at.sun_path[0] = '\0';
    const auto size =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size() + (abstract ? 0 : 1));
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&at), size) != 0) std::abort();
    // A message that does not come is a failure, not a hang.
    const timeval limit{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  }
  ~supervisor_socket() {
    ::close(fd_);
    if (name_[0] == '/') ::unlink(name_.c_str());
    ::unsetenv("NOTIFY_SOCKET");
  }
  supervisor_socket(const supervisor_socket&) = delete;
  supervisor_socket& operator=(const supervisor_socket&) = delete;

  /// The next message; "" when none has come for 20 s.
  std::string receive() const {
    char text[4096];
    const ssize_t got = ::recv(fd_, text, sizeof text, 0);
    return got < 0 ? std::string() : std::string(text, static_cast<std::size_t>(got));
  }
  /// The next that begins like this; others are skipped.
  std::string receive(const std::string& begin) const {
    for (;;) {
      std::string message = receive();
      if (message.empty() || message.compare(0, begin.size(), begin) == 0) return message;
    }
  }
  bool nothing_waits() const {
    char byte;
    return ::recv(fd_, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
  }
  const std::string& name() const { return name_; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  std::string name_;
};

}  // namespace sigrun::test
