// SPDX-License-Identifier: Apache-2.0
#include "http/transport.hpp"

#include <sys/socket.h>

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
  const ssize_t n = recv(stream.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 ? pending::bytes : n == 0 ? pending::end : pending::nothing;
}

}  // namespace sigrun::http::detail
