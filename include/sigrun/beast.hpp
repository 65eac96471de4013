// SPDX-License-Identifier: Apache-2.0
//
// Streams in the synchronous algorithms of Boost.Asio and Boost.Beast (1.81): with this header
// every stream and pipe end is a SyncReadStream or SyncWriteStream with boost::system::error_code.
//
//   auto stream = sigrun::net::tcp_stream::connect("localhost", "80");
//   boost::beast::http::write(stream, request);
//   boost::beast::http::read(stream, buffer, response);
//
// The calls block their goroutine, and nobody else; give it a larger stack, 256 KiB, because
// Beast's parsers use some. beast::websocket::stream wants an executor, which these streams have
// not. Not part of sigrun.hpp; header only.
#pragma once

#include <sigrun/net.hpp>
#include <sigrun/pipe.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>

#include <system_error>

namespace sigrun::detail {

/// The end of a stream is boost::asio::error::eof, and the system's errors are in Boost's system
/// category, so that they compare equal to boost::asio::error's.
template <>
struct stream_error<boost::system::error_code> {
  static boost::system::error_code from(const std::error_code& error) {
    if (error == stream_errc::end_of_stream) return end();
    if (error.category() == std::system_category()) {
      return {error.value(), boost::system::system_category()};
    }
    return boost::system::error_code(error);
  }
  static boost::system::error_code end() { return boost::asio::error::eof; }
};

}  // namespace sigrun::detail
