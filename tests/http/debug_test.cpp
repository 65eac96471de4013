// SPDX-License-Identifier: Apache-2.0
//
// The dump of goroutines over HTTP: what it shows, and to whom.
#include "http/http_fixture.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/http_debug.hpp>
#include <sigrun/http_router.hpp>

namespace sigrun::http::test {
namespace {

constexpr std::string_view path = "/debug/pprof/goroutine";

class http_debug_test : public http_test {
 protected:
  // The first dump's handler for SIGURG stays, which is no leak of a test's.
  static void SetUpTestSuite() {
    go([] { static_cast<void>(goroutine_stacks()); }).join();
  }
  void serve(const goroutine_dump_options& options = {}) {
    router r;
    r.get(path, goroutine_dump(options));
    r.get("/", [](request&, response& p) { p.text("served"); });
    start(std::move(r));
  }
  reply dump(const std::string& host, const std::string& more = "", const char* form = "2") {
    return ask("GET " + std::string(path) + "?debug=" + form + " HTTP/1.1\r\nHost: " + host +
               "\r\n" + more + "\r\n");
  }
};

TEST_F(http_debug_test, a_dump_has_every_goroutine_and_the_server_goes_on) {
  serve();
  chan<int> never(0);
  goroutine waiter = go({.name = "waits here"}, [never] { never.recv(); });
  reply shown;
  do {
    shown = dump("localhost:8080");
    ASSERT_EQ(shown.status, 200) << shown.body;
  } while (shown.body.find("[chan receive, name=waits here") == std::string::npos);
  EXPECT_EQ(shown.field("content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(shown.field("cache-control"), "no-store");
  EXPECT_EQ(shown.body.substr(0, 10), "goroutine ");
  EXPECT_EQ(ask(get("/")).body, "served");
  never.close();
  waiter.join();
}

TEST_F(http_debug_test, other_forms_are_refused_by_name) {
  serve();
  const reply refused = dump("localhost", "", "1");
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("debug is \"1\""), std::string::npos) << refused.body;
  const reply none = ask("GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(none.status, 400);
}

TEST_F(http_debug_test, only_who_sits_here_and_means_it_is_shown_one) {
  serve();
  for (const char* const host :
       {"localhost", "LocalHost:80", "127.0.0.1", "127.8.0.1:1", "[::1]", "[::1]:80"}) {
    EXPECT_EQ(dump(host).status, 200) << host;
  }
  for (const char* const host : {"elsewhere.example", "localhost.example:80", "192.0.2.1",
                                 "[2001:db8::1]:80", "127.0.0.1.example"}) {
    EXPECT_EQ(dump(host).status, 403) << host;
  }
  EXPECT_EQ(dump("localhost", "X-Forwarded-For: 192.0.2.1\r\n").status, 403);
  EXPECT_EQ(dump("localhost", "Forwarded: for=192.0.2.1\r\n").status, 403);
}

TEST_F(http_debug_test, a_program_that_guards_it_itself_may_open_it) {
  serve({.local_only = false});
  EXPECT_EQ(dump("elsewhere.example").status, 200);
}

}  // namespace
}  // namespace sigrun::http::test
