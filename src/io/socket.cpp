// SPDX-License-Identifier: Apache-2.0
#include "io/socket.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace sigrun::detail {

socket_address::socket_address(const net::endpoint& from) noexcept : socket_address() {
  const net::ip_address& address = from.address();
  if (address.is_v4()) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(from.port());
    std::memcpy(&v4.sin_addr, address.bytes().data(), sizeof v4.sin_addr);
    size = sizeof v4;
  } else {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(from.port());
    std::memcpy(&v6.sin6_addr, address.bytes().data(), sizeof v6.sin6_addr);
    v6.sin6_scope_id = address.scope();
    size = sizeof v6;
  }
}

net::endpoint socket_address::to_endpoint() const noexcept {
  if (any.sa_family == AF_INET) {
    net::ip_address::v4_bytes bytes{};
    std::memcpy(bytes.data(), &v4.sin_addr, sizeof v4.sin_addr);
    return {net::ip_address(bytes), ntohs(v4.sin_port)};
  }
  net::ip_address::v6_bytes bytes{};
  std::memcpy(bytes.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
  return {net::ip_address(bytes, v6.sin6_scope_id), ntohs(v6.sin6_port)};
}

long socket_address::assign(const net::unix_address& from) noexcept {
  const std::string& name = from.name();
  if (name.size() > net::unix_address::path_max) return -ENAMETOOLONG;
  if (!from.is_abstract() && name.find('\0') != name.npos) return -EINVAL;
  local.sun_family = AF_UNIX;
  const std::size_t skip = from.is_abstract() ? 1 : 0;  // an abstract name begins with a NUL
  std::copy(name.begin(), name.end(), local.sun_path + skip);
  // A path ends with a NUL, which is there already, and counts.
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
  return 0;
}

net::unix_address socket_address::to_unix() const {
  constexpr std::size_t head = offsetof(sockaddr_un, sun_path);
  if (any.sa_family != AF_UNIX || size <= head) return {};
  const std::string_view bytes(local.sun_path, std::min<std::size_t>(size, sizeof local) - head);
  if (bytes[0] == '\0') return net::unix_address::abstract(bytes.substr(1));
  const std::string_view path = bytes.substr(0, bytes.find('\0'));
  // What begins with "@" would be read as abstract.
  return path.starts_with('@') ? "./" + std::string(path) : std::string(path);
}

long make_socket(int family) noexcept {
  return sys::call(SYS_socket, family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

long bind_socket(int fd, const socket_address& at) noexcept {
  return sys::call(SYS_bind, fd, &at.any, at.size);
}

long set_option(int fd, int level, int name, int value) noexcept {
  return sys::call(SYS_setsockopt, fd, level, name, &value, sizeof value);
}

long get_option(int fd, int level, int name) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  const long result = sys::call(SYS_getsockopt, fd, level, name, &value, &size);
  return sys::failed(result) ? result : value;
}

long get_name(int fd, bool remote, socket_address& at) noexcept {
  at.size = sizeof at.room;
  return sys::call(remote ? SYS_getpeername : SYS_getsockname, fd, &at.any, &at.size);
}

long set_blocking(int fd, bool blocking) noexcept {
  const long flags = sys::call(SYS_fcntl, fd, F_GETFL);
  if (sys::failed(flags)) return flags;
  const long wanted = blocking ? flags & ~long{O_NONBLOCK} : flags | O_NONBLOCK;
  return wanted == flags ? 0 : sys::call(SYS_fcntl, fd, F_SETFL, wanted);
}

long check_socket(int fd, int family, int other_family, bool listening) noexcept {
  const long domain = get_option(fd, SOL_SOCKET, SO_DOMAIN);
  if (sys::failed(domain)) return domain == -ENOTSOCK ? -EINVAL : domain;
  const bool fits = (domain == family || domain == other_family) &&
                    get_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM &&
                    get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == (listening ? 1 : 0);
  return fits ? 0 : -EINVAL;
}

io_fd* open_or_error(fd_owner& fd, fd_kind kind, std::error_code& error) noexcept {
  long result = 0;
  io_fd* const made = io_fd::open(fd.release(), kind, result);
  failed(result, error);
  return made;
}

}  // namespace sigrun::detail
