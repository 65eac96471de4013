// SPDX-License-Identifier: Apache-2.0
//
// Which handler answers which path, and what stands around it.
#include "http/http_fixture.hpp"

namespace sigrun::http::test {
namespace {

class http_router_test : public http_test {
 protected:
  std::string body_of(std::string_view target) { return ask(get(target)).body; }
};

handler says(std::string text) {
  return [text](request& q, response& p) {
    std::string all = text;
    for (const char* const name : {"id", "part", "path"}) {
      if (!q.param(name).empty()) all += " " + std::string(q.param(name));
    }
    p.text(all);
  };
}

TEST_F(http_router_test, a_literal_goes_before_a_parameter_and_that_before_the_rest) {
  router r;
  r.get("/", says("root"));
  r.get("/users/{id}", says("user"));
  r.get("/users/new", says("new"));
  r.get("/users/{id}/{part}", says("part"));
  r.get("/users/new/form", says("form"));
  r.get("/files/{path...}", says("files"));
  r.get("/files/readme", says("readme"));
  r.get("/{path...}", says("rest"));
  start(std::move(r));
  EXPECT_EQ(body_of("/"), "root");
  EXPECT_EQ(body_of("/users/7"), "user 7");
  EXPECT_EQ(body_of("/users/new"), "new");
  EXPECT_EQ(body_of("/users/new/form"), "form");
  EXPECT_EQ(body_of("/users/new/other"), "part new other") << "comes back from the literal";
  EXPECT_EQ(body_of("/users/7/x"), "part 7 x");
  EXPECT_EQ(body_of("/users/"), "rest users/") << "a parameter is not empty";
  EXPECT_EQ(body_of("/files/"), "files");
  EXPECT_EQ(body_of("/files/readme"), "readme");
  EXPECT_EQ(body_of("/files/a/b//c/"), "files a/b//c/");
  EXPECT_EQ(body_of("/elsewhere/at/all?x=1"), "rest elsewhere/at/all");
}

TEST_F(http_router_test, segments_are_compared_decoded_and_an_escaped_slash_is_none) {
  router r;
  r.get("/a b/{id}", says("found"));
  r.get("/files/{path...}", says("files"));
  start(std::move(r));
  EXPECT_EQ(body_of("/a%20b/x%2Fy"), "found x/y");
  EXPECT_EQ(body_of("/%61%20b/%C3%A4"), "found \xc3\xa4");
  EXPECT_EQ(body_of("/files/..%2f../etc"), "files ../../etc") << "not normalized";
  EXPECT_EQ(ask(get("/a%20b/")).status, 404);
}

TEST_F(http_router_test, other_methods_are_answered_405_with_what_is_allowed) {
  router r;
  r.get("/both", says("get")).post("/both", says("post"));
  r.handle("*", "/any", says("any"));
  r.del("/gone/{id}", says("deleted"));
  r.handle("HEAD", "/head", [](request&, response& p) { p.set("X-Own", "head"); });
  start(std::move(r));
  EXPECT_EQ(ask(post("/both", "")).body, "post");
  const reply refused = ask("PUT /both HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(refused.field("allow"), "GET, HEAD, POST, OPTIONS");
  const reply options = ask("OPTIONS /both HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.field("allow"), "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 204);
  EXPECT_EQ(ask("BREW /any HTTP/1.1\r\nHost: a\r\n\r\n").body, "any");
  EXPECT_EQ(ask("DELETE /gone/3 HTTP/1.1\r\nHost: a\r\n\r\n").body, "deleted 3");
  EXPECT_EQ(ask(get("/gone/3")).status, 405);
  const reply head = ask("HEAD /both HTTP/1.1\r\nHost: a\r\n\r\n", true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("content-length"), "3");
  EXPECT_EQ(ask("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n", true).field("x-own"), "head");
  EXPECT_EQ(ask(get("/nowhere")).status, 404);
}

TEST_F(http_router_test, middleware_stands_around_the_routes_that_come_after_it) {
  router r;
  r.get("/outside", says("outside"));
  r.use([](handler next) -> handler {
    return [next](request& q, response& p) {
      p.add("X-Trace", "first");
      next(q, p);
    };
  });
  r.use([](handler next) -> handler {
    return [next](request& q, response& p) {
      p.add("X-Trace", "second");
      if (q.header_value("Authorization").empty()) throw error(401, "who are you?");
      next(q, p);
    };
  });
  r.get("/inside/{id}", says("inside"));
  start(std::move(r));
  EXPECT_EQ(ask(get("/outside")).field("x-trace"), "");
  const reply in = ask(get("/inside/1", "Authorization: me\r\n"));
  EXPECT_EQ(in.body, "inside 1");
  EXPECT_EQ(in.fields.find("x-trace")->second, "first");
  EXPECT_EQ(in.fields.count("x-trace"), 2u);
  EXPECT_EQ(ask(get("/inside/1")).status, 401);
}

TEST_F(http_router_test, not_found_can_be_replaced) {
  router r;
  r.get("/a", says("a"));
  r.not_found([](request& q, response& p) { p.status(404).text("no " + std::string(q.path())); });
  start(std::move(r));
  EXPECT_EQ(body_of("/b"), "no /b");
}

TEST_F(http_router_test, patterns_that_make_no_sense_are_refused_by_name) {
  router r;
  const handler h = says("");
  r.get("/a/{id}", h);
  for (const char* const pattern : {"", "a", "/{", "/a{id}", "/{}", "/{a b}", "/{...}",
                                    "/{x...}/more", "/{x}/{x}", "/a/{id}"}) {
    try {
      r.get(pattern, h);
      ADD_FAILURE() << pattern;
    } catch (const std::invalid_argument& refused) {
      EXPECT_NE(std::string(refused.what()).find("\"" + std::string(pattern) + "\""),
                std::string::npos);
    }
  }
  EXPECT_THROW(r.handle("B AD", "/x", h), std::invalid_argument);
  EXPECT_THROW(r.get("/x", nullptr), std::invalid_argument);
  EXPECT_THROW(r.use(nullptr), std::invalid_argument);
  EXPECT_THROW(r.not_found(nullptr), std::invalid_argument);
}

TEST_F(http_router_test, a_path_of_thousands_of_segments_is_looked_up_like_others) {
  router r;
  r.get("/{a}/{b}/{c}/{d}", says("four"));
  r.get("/{path...}", says("rest"));
  start(std::move(r));
  std::string path;
  for (int i = 0; i < 4000; ++i) path += "/a";
  EXPECT_EQ(ask(get(path)).status, 200);
  EXPECT_EQ(ask(get(std::string(8000, '/'))).status, 200);
}

}  // namespace
}  // namespace sigrun::http::test
