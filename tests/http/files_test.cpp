// SPDX-License-Identifier: Apache-2.0
//
// Files: what is served, what is not, and only as much of it as is wanted.
#include "http/http_fixture.hpp"

#include <sigrun/file.hpp>
#include <sigrun/http_files.hpp>

#include <sys/stat.h>

#include <filesystem>

namespace sigrun::http::test {
namespace {

namespace fs = std::filesystem;

class http_files_test : public http_test {
 protected:
  http_files_test() : root_("/tmp/sigrun-files-" + std::to_string(getpid())) {
    fs::remove_all(root_);
    fs::create_directories(root_ + "/www/dir/deep");
    put("www/index.html", "<p>root");
    put("www/a.txt", "0123456789");
    put("www/empty", "");
    put("www/dir/index.html", "<p>dir");
    put("www/dir/deep/x.json", "{}");
    put("www/.hidden", "hidden");
    put("www/page.css", "plain css");
    put("www/page.css.gz", "packed css");
    put("secret", "secret");
    fs::create_symlink("../secret", root_ + "/www/out");
    fs::create_symlink("/etc/passwd", root_ + "/www/absolute");
    fs::create_symlink("a.txt", root_ + "/www/in");
    fs::create_symlink("..", root_ + "/www/dir/up");
    mkfifo((root_ + "/www/pipe").c_str(), 0600);
  }
  ~http_files_test() override { fs::remove_all(root_); }

  void put(const std::string& name, std::string_view text) {
    file::open(root_ + "/" + name, file_mode::write).write_all(text);
  }
  void serve(file_options options = {}) {
    router r;
    r.handle("*", "/{path...}", files(root_ + "/www", std::move(options)));
    start(std::move(r));
  }
  int status_of(std::string_view target) { return ask(get(target)).status; }

  const std::string root_;
};

TEST_F(http_files_test, what_lies_in_the_folder_is_served) {
  serve();
  const reply a = ask(get("/a.txt"));
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(a.body, "0123456789");
  EXPECT_EQ(a.field("content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(a.field("accept-ranges"), "bytes");
  EXPECT_NE(a.field("last-modified"), "");
  EXPECT_EQ(ask(get("/")).body, "<p>root");
  EXPECT_EQ(ask(get("/")).field("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(ask(get("/dir/")).body, "<p>dir");
  EXPECT_EQ(ask(get("/dir/deep/x.json")).field("content-type"), "application/json");
  EXPECT_EQ(ask(get("//dir//deep/x.json")).body, "{}");
  EXPECT_EQ(ask(get("/empty")).field("content-length"), "0");
  EXPECT_EQ(ask(get("/in")).body, "0123456789") << "a link that stays inside";
  const reply head = ask("HEAD /a.txt HTTP/1.1\r\nHost: a\r\n\r\n", true);
  EXPECT_EQ(head.field("content-length"), "10");
  EXPECT_EQ(head.field("etag"), a.field("etag"));
  const reply refused = ask(post("/a.txt", ""));
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(refused.field("allow"), "GET, HEAD");
}

TEST_F(http_files_test, nothing_else_is) {
  serve();
  for (const char* const target :
       {"/../secret", "/%2e%2e/secret", "/dir/../../secret", "/..%2fsecret",
        "/dir/..%2f..%2fsecret", "/out", "/absolute", "/dir/up/../../secret", "/.hidden",
        "/dir/deep/", "/pipe", "/a.txt/", "/a.txt/x", "/./a.txt", "/nothing"}) {
    EXPECT_EQ(status_of(target), 404) << target;
  }
  EXPECT_EQ(ask("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n").status, 400);
  EXPECT_EQ(status_of("/" + std::string(5000, 'x')), 404);
  EXPECT_THROW(files(root_ + "/nowhere"), std::system_error);
  EXPECT_THROW(files(root_ + "/www/a.txt"), std::system_error);
}

TEST_F(http_files_test, a_folder_is_redirected_to_its_slash_and_to_no_other_host) {
  serve();
  const reply r = ask(get("/dir?x=1"));
  EXPECT_EQ(r.status, 301);
  EXPECT_EQ(r.field("location"), "./dir/?x=1");
  EXPECT_EQ(ask(get("//evil.example/..%2fdir")).status, 404);
  EXPECT_EQ(ask(get("//dir")).field("location"), "./dir/");
}

TEST_F(http_files_test, options_are_kept_to) {
  serve({.index = "", .cache_control = "max-age=60", .hidden = true, .precompressed = false});
  EXPECT_EQ(status_of("/dir/"), 404);
  EXPECT_EQ(status_of("/"), 404);
  EXPECT_EQ(ask(get("/.hidden")).body, "hidden");
  const reply r = ask(get("/page.css", "Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(r.body, "plain css");
  EXPECT_EQ(r.field("cache-control"), "max-age=60");
  EXPECT_EQ(r.field("vary"), "");
}

TEST_F(http_files_test, what_is_compressed_already_is_sent_so) {
  serve();
  const reply packed = ask(get("/page.css", "Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(packed.body, "packed css");
  EXPECT_EQ(packed.field("content-encoding"), "gzip");
  EXPECT_EQ(packed.field("content-type"), "text/css; charset=utf-8");
  EXPECT_EQ(packed.field("vary"), "Accept-Encoding");
  const reply plain = ask(get("/page.css"));
  EXPECT_EQ(plain.body, "plain css");
  EXPECT_NE(plain.field("etag"), packed.field("etag"));
}

TEST_F(http_files_test, what_a_cache_has_already_is_not_sent_again) {
  serve();
  const reply a = ask(get("/a.txt"));
  const std::string tag = a.field("etag");
  const std::string date = a.field("last-modified");
  const auto with = [&](const std::string& field) { return ask(get("/a.txt", field + "\r\n")); };
  const reply same = with("If-None-Match: \"x\", W/" + tag);
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.field("etag"), tag);
  EXPECT_EQ(with("If-None-Match: *").status, 304);
  EXPECT_EQ(with("If-None-Match: \"x\"").status, 200);
  EXPECT_EQ(with("If-Modified-Since: " + date).status, 304);
  EXPECT_EQ(with("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT").status, 200);
  EXPECT_EQ(with("If-Modified-Since: nonsense").status, 200);
  EXPECT_EQ(with("If-None-Match: \"x\"\r\nIf-Modified-Since: " + date).status, 200)
      << "the tag goes before the date";
  EXPECT_EQ(with("If-Match: " + tag).status, 200);
  EXPECT_EQ(with("If-Match: \"x\"").status, 412);
  EXPECT_EQ(with("If-Match: W/" + tag).status, 412) << "a weak one proves nothing";
  EXPECT_EQ(with("If-Unmodified-Since: Sunday, 06-Nov-94 08:49:37 GMT").status, 412);
  EXPECT_EQ(with("If-Unmodified-Since: " + date).status, 200);
}

TEST_F(http_files_test, a_range_is_sent_alone) {
  serve();
  const auto range = [&](const std::string& text, const std::string& more = {}) {
    return ask(get("/a.txt", "Range: " + text + "\r\n" + more));
  };
  const reply first = range("bytes=0-3");
  EXPECT_EQ(first.status, 206);
  EXPECT_EQ(first.body, "0123");
  EXPECT_EQ(first.field("content-range"), "bytes 0-3/10");
  EXPECT_EQ(range("bytes=4-").body, "456789");
  EXPECT_EQ(range("bytes=-3").body, "789");
  EXPECT_EQ(range("bytes=-99").body, "0123456789");
  EXPECT_EQ(range("bytes=8-99").body, "89");
  EXPECT_EQ(range("Bytes = 1-1").body, "1");
  for (const char* const none : {"bytes=10-", "bytes=-0", "bytes=99-100"}) {
    const reply r = range(none);
    EXPECT_EQ(r.status, 416) << none;
    EXPECT_EQ(r.field("content-range"), "bytes */10");
  }
  for (const char* const ignored :
       {"bytes=", "bytes=a-b", "bytes=3-1", "lines=1-2", "bytes=0-3,2-5",
        "bytes=99999999999999999999-", "bytes=1", "bytes=--1"}) {
    const reply r = range(ignored);
    EXPECT_EQ(r.status, 200) << ignored;
    EXPECT_EQ(r.body, "0123456789");
  }
  const std::string tag = ask(get("/a.txt")).field("etag");
  EXPECT_EQ(range("bytes=0-3", "If-Range: " + tag + "\r\n").status, 206);
  EXPECT_EQ(range("bytes=0-3", "If-Range: \"x\"\r\n").status, 200);
  EXPECT_EQ(range("bytes=0-3", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n").status, 200);
  EXPECT_EQ(ask(get("/empty", "Range: bytes=0-\r\n")).status, 416);
}

TEST_F(http_files_test, several_ranges_are_sent_as_parts) {
  serve();
  const reply r = ask(get("/a.txt", "Range: bytes=0-1,-2\r\n"));
  EXPECT_EQ(r.status, 206);
  EXPECT_TRUE(r.complete);
  const std::string type = r.field("content-type");
  ASSERT_TRUE(type.starts_with("multipart/byteranges; boundary="));
  const std::string b = "\r\n--" + type.substr(type.find('=') + 1);
  const std::string part = "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes ";
  EXPECT_EQ(r.body, b + part + "0-1/10\r\n\r\n01" + b + part + "8-9/10\r\n\r\n89" + b + "--\r\n");
  std::string many = "bytes=0-0";
  for (int i = 0; i < 20; ++i) many += ",2-2";
  EXPECT_EQ(ask(get("/a.txt", "Range: " + many + "\r\n")).status, 200);
}

TEST_F(http_files_test, a_file_that_shrinks_meanwhile_is_not_taken_for_whole) {
  start([&](request&, response& p) {
    const file f = file::open(root_ + "/www/a.txt");
    p.set("Content-Length", "1000");
    p.send_file(f.fd(), 0, 1000);
  });
  const reply r = ask(get("/"));
  EXPECT_EQ(r.status, 200);
  EXPECT_FALSE(r.complete);
}

TEST_F(http_files_test, a_large_file_arrives_whole) {
  std::string big;
  for (int i = 0; i < 300'000; ++i) big += std::to_string(i) + "\n";
  put("www/big", big);
  start([&](request& q, response& p) { send_file(q, p, root_ + "/www/big"); });
  const reply r = ask(get("/"));
  EXPECT_EQ(r.field("content-type"), "application/octet-stream");
  EXPECT_TRUE(r.body == big);
  wire w = connect();
  w.send(get("/") + get("/", "Range: bytes=1000000-1000009\r\n"));
  EXPECT_TRUE(w.read().body == big);
  EXPECT_EQ(w.read().body, big.substr(1'000'000, 10));
}

}  // namespace
}  // namespace sigrun::http::test
