// SPDX-License-Identifier: Apache-2.0
//
// The bytes under HTTP: TCP or a Unix socket, with or without TLS.
#pragma once

#include <sigrun/net.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <system_error>

namespace sigrun::http::detail {

class transport {
 public:
  virtual ~transport() = default;
  transport(const transport&) = delete;
  transport& operator=(const transport&) = delete;

  /// As stream::read: 0 at the end. One reader beside one writer.
  virtual std::size_t read(mutable_buffer into, std::error_code& error) noexcept = 0;
  /// All of it.
  virtual void write(std::span<const const_buffer> from, std::error_code& error) noexcept = 0;
  /// Nothing more is sent; with TLS it says so first.
  virtual void shutdown_write() noexcept = 0;
  /// For deadlines and close(); not for bytes.
  virtual net::stream& stream() noexcept = 0;
  virtual std::string remote() const = 0;
  /// Makes the connection ready; nothing to do without TLS.
  virtual void handshake(std::error_code& error) noexcept { error.clear(); }
  virtual bool secure() const noexcept { return false; }
  /// Why it failed, where that is more than an error code.
  virtual std::string why() const { return {}; }
  /// Whether bytes wait in this object, decoded, where the kernel does not know of them.
  virtual bool holds_bytes() const noexcept { return false; }

 protected:
  transport() = default;
};

std::unique_ptr<transport> make_transport(net::tcp_stream stream);
std::unique_ptr<transport> make_transport(net::unix_stream stream);

/// Whether a read would find something now, the end included, or nothing (yet).
enum class pending { nothing, bytes, end };
pending look_at(net::stream& stream) noexcept;
/// Takes what has come by now, up to 64 KiB, and throws it away.
void discard_pending(net::stream& stream) noexcept;

}  // namespace sigrun::http::detail
