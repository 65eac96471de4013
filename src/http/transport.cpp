// SPDX-License-Identifier: Apache-2.0
#include "http/transport.hpp"

#include "sys/syscall.hpp"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <type_traits>

namespace sigrun::http::detail {
namespace {

template <class Stream>
class plain_transport final : public transport {
 public:
  explicit plain_transport(Stream stream) : stream_(std::move(stream)) {}

  std::size_t read(mutable_buffer into, std::error_code& error) noexcept override {
    return stream_.read(into, error);
  }
  void write(std::span<const const_buffer> from, std::error_code& error) noexcept override {
    stream_.writev_all(from, error);
  }
  void shutdown_write() noexcept override {
    std::error_code gone;
    stream_.shutdown_write(gone);
  }
  net::stream& stream() noexcept override { return stream_; }
  std::string remote() const override {
    if constexpr (std::is_same_v<Stream, net::tcp_stream>) {
      std::error_code gone;
      return stream_.remote_endpoint(gone).to_string();
    } else {
      return "unix";
    }
  }

 private:
  Stream stream_;
};

}  // namespace

std::unique_ptr<transport> make_transport(net::tcp_stream stream) {
  return std::make_unique<plain_transport<net::tcp_stream>>(std::move(stream));
}
std::unique_ptr<transport> make_transport(net::unix_stream stream) {
  return std::make_unique<plain_transport<net::unix_stream>>(std::move(stream));
}

pending look_at(net::stream& stream) noexcept {
  char byte;
  const long n = sys::call(SYS_recvfrom, stream.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);
  if (n > 0) return pending::bytes;
  return n == -EAGAIN || n == -EINTR ? pending::nothing : pending::end;
}

void discard_pending(net::stream& stream) noexcept {
  char room[4096];
  for (int i = 0; i < 16 && recv(stream.fd(), room, sizeof room, MSG_DONTWAIT) > 0; ++i) {
  }
}

}  // namespace sigrun::http::detail
