// SPDX-License-Identifier: Apache-2.0
//
// What moves bytes through an io_fd. Every function tries first and waits only when the kernel has
// nothing, so that a request that is there costs one system call; -EINTR is tried again. With a
// context each also ends with the context, and the error is context_ended.
#pragma once

#include "io/io_fd.hpp"

#include <sigrun/buffer.hpp>
#include <sigrun/detail/io_handle.hpp>

#include <span>

struct sockaddr;

namespace sigrun::detail {

/// At least one byte unless there is room for none; 0 at the end of the stream.
io_result read_some(io_fd& fd, std::span<const mutable_buffer> into,
                    const context* ctx = nullptr) noexcept;
/// All of it, or io_result::end_of_stream.
io_result read_full(io_fd& fd, mutable_buffer into, const context* ctx = nullptr) noexcept;
/// At least one byte unless there is none, resp. all.
io_result write_some(io_fd& fd, std::span<const const_buffer> from,
                     const context* ctx = nullptr) noexcept;
io_result write_all(io_fd& fd, std::span<const const_buffer> from,
                    const context* ctx = nullptr) noexcept;
/// `count` bytes of the file from `offset` on, or up to its end.
io_result send_file(io_fd& fd, int file, std::int64_t offset, std::size_t count) noexcept;
/// The next connection's descriptor, or a negated error.
long accept_next(io_fd& listener, const context* ctx = nullptr) noexcept;

}  // namespace sigrun::detail
