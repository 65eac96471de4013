// SPDX-License-Identifier: Apache-2.0
//
// Our streams under Beast's synchronous HTTP, and Asio's synchronous algorithms.
#include <sigrun/beast.hpp>
#include <sigrun/go.hpp>

#include <gtest/gtest.h>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <unistd.h>

#include <string>

namespace sigrun {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

static_assert(beast::is_sync_stream<net::tcp_stream>::value);
static_assert(beast::is_sync_stream<net::unix_stream>::value);
static_assert(beast::is_sync_read_stream<pipe_reader>::value);
static_assert(!beast::is_sync_write_stream<pipe_reader>::value);
static_assert(beast::is_sync_write_stream<pipe_writer>::value);

class beast_test : public ::testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};

// Beast's parsers want more stack than a small goroutine has.
constexpr go_options roomy{.stack_size = std::size_t{256} << 10};

TEST_F(beast_test, http_goes_both_ways_until_the_end_of_the_stream) {
  auto ends = net::unix_stream::pair();
  auto& client = ends.first;
  auto& server = ends.second;
  goroutine answering = go(roomy, [&stream = server] {
    beast::flat_buffer buffer;
    for (;;) {
      http::request<http::string_body> request;
      boost::system::error_code error;
      http::read(stream, buffer, request, error);
      if (error == http::error::end_of_stream) return stream.shutdown_write();
      ASSERT_FALSE(error) << error.message();
      http::response<http::string_body> response(http::status::ok, request.version());
      response.body() = "you asked for " + std::string(request.target());
      response.prepare_payload();
      http::write(stream, response);
    }
  });
  goroutine asking = go(roomy, [&stream = client] {
    beast::flat_buffer buffer;
    for (const char* const target : {"/one", "/two"}) {
      http::request<http::empty_body> request(http::verb::get, target, 11);
      http::write(stream, request);
      http::response<http::string_body> response;
      http::read(stream, buffer, response);
      EXPECT_EQ(response.body(), std::string("you asked for ") + target);
    }
    stream.shutdown_write();
    char rest[1];
    EXPECT_EQ(stream.read(rest), 0u);
  });
  asking.join();
  answering.join();
}

TEST_F(beast_test, errors_compare_equal_to_asios) {
  auto ends = net::unix_stream::pair();
  auto& here = ends.first;
  auto& there = ends.second;
  boost::system::error_code error;
  char room[8];
  there.close();
  EXPECT_EQ(here.read_some(boost::asio::buffer(room), error), 0u);
  EXPECT_EQ(error, boost::asio::error::eof);
  here.write_some(boost::asio::buffer("x", 1), error);
  EXPECT_EQ(error, boost::asio::error::broken_pipe);
  here.close();
  here.read_some(boost::asio::buffer(room), error);
  EXPECT_EQ(error, boost::asio::error::bad_descriptor);
  EXPECT_THROW(here.read_some(boost::asio::buffer(room)), std::system_error);
}

TEST_F(beast_test, asios_own_algorithms) {
  auto ends = make_pipe();
  auto& reader = ends.first;
  auto& writer = ends.second;
  boost::asio::write(writer, boost::asio::buffer("one line\nand more", 17));
  std::string text;
  const std::size_t length =
      boost::asio::read_until(reader, boost::asio::dynamic_buffer(text), '\n');
  EXPECT_EQ(text.substr(0, length), "one line\n");
}

}  // namespace
}  // namespace sigrun
