// SPDX-License-Identifier: Apache-2.0
//
// The access log: what a line says, and that no disk holds a request up.
#include "http/http_fixture.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/file.hpp>
#include <sigrun/http_log.hpp>

#include <cstdio>
#include <regex>
#include <stdexcept>

namespace sigrun::http::test {
namespace {

class http_access_log_test : public http_test {
 protected:
  http_access_log_test() : path_("/tmp/sigrun-access-" + std::to_string(getpid())) {
    std::remove(path_.c_str());
  }
  ~http_access_log_test() override { std::remove(path_.c_str()); }
  const std::string path_;
};

void hello(request&, response& p) { p.text("hello\n"); }

access_record record() {
  access_record r;
  r.at = std::chrono::system_clock::from_time_t(784111777);
  r.took = 1234567ns;
  r.remote = "[2001:db8::1]:4711";
  r.method = "GET";
  r.target = "/a\"b\\c\n";
  r.host = "test";
  r.user_agent = "me\x1b[31m";
  r.status = 200;
  r.bytes_sent = 42;
  return r;
}

TEST_F(http_access_log_test, a_line_cannot_be_forged) {
  EXPECT_EQ(format_access(record(), log_format::combined),
            "2001:db8::1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a\\x22b\\x5cc\\x0a HTTP/1.1\" 200 "
            "42 \"-\" \"me\\x1b[31m\" 1.235");
  EXPECT_EQ(format_access(record(), log_format::json),
            "{\"time\":784111777.000,\"remote\":\"[2001:db8::1]:4711\",\"method\":\"GET\","
            "\"target\":\"/a\\\"b\\\\c\\u000a\",\"host\":\"test\",\"user_agent\":\"me\\u001b[31m\","
            "\"referer\":\"\",\"version\":1.1,\"status\":200,\"bytes\":42,\"secure\":false,"
            "\"ms\":1.235}");
}

TEST_F(http_access_log_test, each_request_has_its_line_refused_ones_too) {
  access_log log(path_);
  start(hello, {.access_log = log.sink()});
  ask(get("/one", "User-Agent: test\r\nReferer: here\r\n"));
  ask("nonsense\r\n\r\n");
  ask("GET /hostless HTTP/1.1\r\n\r\n");
  stop();
  ASSERT_TRUE(log.flush(20s));
  const std::string lines = read_file(path_);
  EXPECT_TRUE(std::regex_search(
      lines,
      std::regex("(^|\n)127\\.0\\.0\\.1 - - \\[[^\\]]+\\] \"GET /one HTTP/1\\.1\" 200 6 \"here\" "
                 "\"test\" [0-9.]+\n")))
      << lines;
  EXPECT_NE(lines.find("\"GET /hostless HTTP/1.1\" 400 "), std::string::npos) << lines;
  EXPECT_EQ(log.statistics().written, 3u);
}

TEST_F(http_access_log_test, a_full_disk_holds_nobody_up_and_is_counted) {
  access_log log("/dev/full");
  start(hello, {.access_log = log.sink()});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(get("/")).status, 200);
  stop();
  ASSERT_TRUE(log.flush(20s));
  const access_log_statistics s = log.statistics();
  EXPECT_EQ(s.failed, 3u);
  EXPECT_EQ(s.written, 0u);
  EXPECT_NE(s.last_error.find("No space left"), std::string::npos) << s.last_error;
}

TEST_F(http_access_log_test, a_writer_that_hangs_costs_lines_and_no_requests) {
  chan<int> entered(1);
  chan<int> go_on(1);
  access_log log(
      [&](std::string_view) {
        entered.try_send(1);
        go_on.recv();
      },
      {.lines_max = 2});
  start(hello, {.access_log = log.sink()});
  EXPECT_EQ(ask(get("/")).status, 200);
  entered.recv();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(get("/")).status, 200);
  stop();
  EXPECT_EQ(log.statistics().dropped, 3u);
  go_on.close();
  EXPECT_TRUE(log.flush(20s));
  EXPECT_EQ(log.statistics().written, 3u);
}

TEST_F(http_access_log_test, what_waits_is_bounded_in_bytes_too) {
  chan<int> entered(1);
  chan<int> go_on(1);
  access_log log(
      [&](std::string_view) {
        entered.try_send(1);
        go_on.recv();
      },
      {.bytes_max = 1000});
  const access_sink sink = log.sink();
  sink(record());
  entered.recv();
  for (int i = 0; i < 100; ++i) sink(record());
  EXPECT_GT(log.statistics().dropped, 80u);
  go_on.close();
  EXPECT_TRUE(log.flush(20s));
}

TEST_F(http_access_log_test, a_writer_that_throws_is_counted) {
  access_log log([](std::string_view) { throw std::runtime_error("no"); });
  log.sink()(record());
  EXPECT_TRUE(log.flush(20s));
  EXPECT_EQ(log.statistics().failed, 1u);
  EXPECT_EQ(log.statistics().last_error, "no");
}

TEST_F(http_access_log_test, after_reopen_lines_go_to_the_new_file) {
  access_log log(path_);
  const access_sink sink = log.sink();
  sink(record());
  ASSERT_TRUE(log.flush(20s));
  const std::string old = path_ + ".1";
  ASSERT_EQ(std::rename(path_.c_str(), old.c_str()), 0);
  log.reopen();
  sink(record());
  ASSERT_TRUE(log.flush(20s));
  EXPECT_EQ(read_file(old), read_file(path_));
  EXPECT_FALSE(read_file(path_).empty());
  std::remove(old.c_str());
  EXPECT_THROW(access_log("/nowhere/at/all"), std::system_error);
}

TEST_F(http_access_log_test, a_sink_may_outlive_its_log) {
  access_sink sink;
  {
    access_log log(path_);
    sink = log.sink();
    sink(record());
  }
  sink(record());
  const std::string lines = read_file(path_);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1);
}

}  // namespace
}  // namespace sigrun::http::test
