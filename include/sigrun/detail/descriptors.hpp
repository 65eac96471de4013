// SPDX-License-Identifier: Apache-2.0
//
// What the adapters need of the system. Each returns the kernel's value, a negated error number on
// failure, because errno's address must not be cached across a change of thread.
#pragma once

#include <cstddef>

struct pollfd;

namespace sigrun::detail {

/// A copy that closes on exec. (fcntl(2), F_DUPFD_CLOEXEC)
int copy_descriptor(int fd) noexcept;
/// An eventfd that never blocks and closes on exec, and its two sides. (eventfd(2))
int make_bell() noexcept;
void ring_bell(int fd) noexcept;
void silence_bell(int fd) noexcept;
/// Without a time-out; how many are ready. (poll(2))
int wait_for_descriptors(pollfd* entries, std::size_t count) noexcept;
void close_descriptor(int fd) noexcept;

}  // namespace sigrun::detail
