// SPDX-License-Identifier: Apache-2.0
#include <sigrun/detail/descriptors.hpp>

#include "sys/file.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <cstdint>

namespace sigrun::detail {

int copy_descriptor(int fd) noexcept {
  return static_cast<int>(sys::call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0));
}

int make_bell() noexcept { return static_cast<int>(sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

void ring_bell(int fd) noexcept {
  const std::uint64_t one = 1;
  sys::write(fd, &one, sizeof one);  // fails only when it rings as loud as it can
}

void silence_bell(int fd) noexcept {
  std::uint64_t count = 0;
  sys::read(fd, &count, sizeof count);
}

int wait_for_descriptors(pollfd* entries, std::size_t count) noexcept {
  // ppoll, because arm64 has no poll.
  return static_cast<int>(sys::call(SYS_ppoll, entries, count, nullptr, nullptr, 0));
}

void close_descriptor(int fd) noexcept { sys::close(fd); }

}  // namespace sigrun::detail
