// SPDX-License-Identifier: Apache-2.0
//
// The access log in a spdlog logger: its own program, because spdlog takes long to compile.
#include "http/http_fixture.hpp"

#include <sigrun/http_log.hpp>
#include <sigrun/spdlog.hpp>

#include <spdlog/sinks/ostream_sink.h>

#include <memory>
#include <sstream>

namespace sigrun::http::test {
namespace {

class http_spdlog_test : public http_test {};

TEST_F(http_spdlog_test, each_request_is_a_message_of_the_logger) {
  std::ostringstream out;
  auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(out);
  auto logger = std::make_shared<spdlog::logger>("access", sink);
  logger->set_pattern("[%n %l] %v");
  access_log log(spdlog_writer(logger), {.format = log_format::json});
  start([](request&, response& p) { p.text("hello\n"); }, {.access_log = log.sink()});
  for (const char* const target : {"/a", "/b"}) EXPECT_EQ(ask(get(target)).status, 200);
  stop();
  ASSERT_TRUE(log.flush(20s));
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_TRUE(text.starts_with("[access info] {\"time\":")) << text;
  EXPECT_NE(text.find("\"target\":\"/b\""), std::string::npos) << text;
  EXPECT_EQ(log.statistics().written, 2u);
}

TEST_F(http_spdlog_test, no_logger_is_refused) {
  EXPECT_THROW(spdlog_writer(nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace sigrun::http::test
