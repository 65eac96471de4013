// SPDX-License-Identifier: Apache-2.0
//
// TLS: what is good enough to be used, what is refused and why, and certificates exchanged while
// connections go on. The certificates are made here, by the openssl command.
#include "http/http_fixture.hpp"

#include <sigrun/file.hpp>
#include <sigrun/http_client.hpp>
#include <sigrun/http_tls.hpp>
#include <sigrun/websocket.hpp>

#include <cstdlib>
#include <filesystem>

namespace sigrun::http::test {
namespace {

namespace fs = std::filesystem;

/// Certificates for all tests of the process, made once.
class authority {
 public:
  static const authority& get() {
    static const authority one;
    return one;
  }
  std::string file(const std::string& name) const { return folder_ + "/" + name; }

  authority() : folder_("/tmp/sigrun-tls-" + std::to_string(getpid())) {
    fs::create_directories(folder_);
    ca("ca");
    ca("other-ca");
    signed_by("ca", "server", "DNS:localhost,IP:127.0.0.1", "30");
    signed_by("ca", "second", "DNS:localhost,IP:127.0.0.1", "60");
    signed_by("ca", "elsewhere", "DNS:elsewhere.example", "30");
    signed_by("ca", "client", "DNS:client", "30");
    signed_by("other-ca", "stranger", "DNS:localhost,IP:127.0.0.1", "30");
    run("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 "
        "-out old.pem && cp server.key old.key");
  }
  ~authority() { fs::remove_all(folder_); }

 private:
  void run(const std::string& command) const {
    EXPECT_EQ(std::system(("cd " + folder_ + " && (" + command + ") >>log 2>&1").c_str()), 0)
        << command;
  }
  void ca(const std::string& name) const {
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "
        "/CN=" +
        name + " -keyout " + name + ".key -out " + name + ".pem");
  }
  void signed_by(const std::string& ca, const std::string& name, const std::string& names,
                 const std::string& days) const {
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name +
        " -keyout " + name + ".key -out " + name + ".csr && printf 'subjectAltName=" + names +
        "' >" + name + ".ext && openssl x509 -req -in " + name + ".csr -CA " + ca + ".pem -CAkey " +
        ca + ".key -CAcreateserial -days " + days + " -extfile " + name + ".ext -out " + name +
        ".pem");
  }
  const std::string folder_;
};

class http_tls_test : public http_test {
 protected:
  static std::string file(const std::string& name) { return authority::get().file(name); }
  static tls_files named(const std::string& name) {
    return {file(name + ".pem"), file(name + ".key")};
  }
  server& secure(const std::shared_ptr<tls_certificates>& certificates, handler h = hello,
                 server_options options = {}) {
    return start(std::move(h), std::move(options), {.tls = certificates});
  }
  static void hello(request& q, response& p) { p.text(q.is_secure() ? "secure\n" : "plain\n"); }
  std::string base() const { return "https://" + at_.to_string(); }
  static client_options trusting() {
    client_options how;
    how.ca_file = file("ca.pem");
    return how;
  }
  /// Why a call fails.
  std::string refusal(const client_options& how) {
    try {
      client(how).get(base());
    } catch (const tls_error& error) {
      return error.what();
    }
    return "it went well";
  }
};

TEST_F(http_tls_test, requests_are_answered_over_tls) {
  server& s = secure(tls_certificates::load(named("server")), [](request& q, response& p) {
    EXPECT_TRUE(q.is_secure());
    p.text(q.body());
  });
  EXPECT_TRUE(s.listeners().at(0).secure);
  client c(trusting());
  const std::string large(500'000, 'x');
  EXPECT_EQ(c.post(base() + "/", "text/plain", "hello").body, "hello");
  EXPECT_TRUE(c.post(base() + "/", "text/plain", large).body == large);
  EXPECT_EQ(c.idle(), 1u);
  EXPECT_EQ(s.statistics().connections, 1u);
}

TEST_F(http_tls_test, a_client_refuses_a_server_it_cannot_trust) {
  secure(tls_certificates::load(named("server")));
  EXPECT_NE(refusal({}).find("certificate"), std::string::npos);
  client_options other = trusting();
  other.ca_file = file("other-ca.pem");
  EXPECT_NE(refusal(other).find("certificate"), std::string::npos);
  client_options blind;
  blind.verify = false;
  EXPECT_EQ(client(blind).get(base()).status, 200);
  secure(tls_certificates::load(named("elsewhere")));
  EXPECT_NE(refusal(trusting()).find("mismatch"), std::string::npos) << refusal(trusting());
  client_options nowhere = trusting();
  nowhere.ca_file = "/nowhere";
  EXPECT_NE(refusal(nowhere).find("/nowhere"), std::string::npos);
}

TEST_F(http_tls_test, a_client_without_a_certificate_is_refused_where_one_is_wanted) {
  tls_files files = named("server");
  files.client_ca = file("ca.pem");
  server& s = secure(tls_certificates::load(files));
  EXPECT_THROW(client(trusting()).get(base()), std::exception);
  client_options stranger = trusting();
  stranger.certificate = file("stranger.pem");
  stranger.key = file("stranger.key");
  EXPECT_THROW(client(stranger).get(base()), std::exception);
  until([&] { return s.statistics().handshake_failures == 2; });
  client_options known = trusting();
  known.certificate = file("client.pem");
  known.key = file("client.key");
  EXPECT_EQ(client(known).get(base()).body, "secure\n");
}

TEST_F(http_tls_test, files_that_are_no_good_are_refused_by_name) {
  const auto problem = [](const tls_files& files) -> std::string {
    try {
      tls_certificates::load(files);
    } catch (const tls_error& error) {
      return error.what();
    }
    return "it went well";
  };
  EXPECT_NE(problem({"/nowhere.pem", file("server.key")}).find("/nowhere.pem"), std::string::npos);
  EXPECT_NE(problem({file("server.pem"), "/nowhere.key"}).find("/nowhere.key"), std::string::npos);
  EXPECT_NE(problem({file("server.key"), file("server.key")}).find("server.key"),
            std::string::npos);
  EXPECT_NE(problem({file("server.pem"), file("second.key")}).find("second.key"),
            std::string::npos);
  EXPECT_NE(problem(named("old")).find("expired"), std::string::npos) << problem(named("old"));
  tls_files files = named("server");
  files.client_ca = "/nowhere.ca";
  EXPECT_NE(problem(files).find("/nowhere.ca"), std::string::npos);
}

TEST_F(http_tls_test, new_certificates_are_for_new_connections_and_open_ones_go_on) {
  auto certificates = tls_certificates::load(named("server"));
  secure(certificates);
  const auto before = certificates->expires();
  client kept(trusting());
  EXPECT_EQ(kept.get(base()).status, 200);
  certificates->reload(named("second"));
  EXPECT_EQ(certificates->version(), 2u);
  EXPECT_GT(certificates->expires(), before);
  EXPECT_EQ(kept.get(base()).status, 200);
  EXPECT_EQ(server_->statistics().connections, 1u);
  EXPECT_EQ(client(trusting()).get(base()).status, 200);
  // One that is no good leaves what was there.
  EXPECT_THROW(certificates->reload(named("old")), tls_error);
  EXPECT_EQ(certificates->version(), 2u);
  EXPECT_EQ(client(trusting()).get(base()).status, 200);
  certificates->reload(named("stranger"));
  EXPECT_THROW(client(trusting()).get(base()), tls_error);
  EXPECT_EQ(kept.get(base()).status, 200);
}

TEST_F(http_tls_test, what_is_no_tls_is_closed) {
  server& s = secure(tls_certificates::load(named("server")));
  wire w = connect();
  w.send(get("/"));
  w.stream().shutdown_write();
  EXPECT_EQ(w.read_all().find("HTTP"), std::string::npos);
  until([&] { return s.statistics().handshake_failures == 1; });
  EXPECT_EQ(client(trusting()).get(base()).status, 200);
}

TEST_F(http_tls_test, a_handshake_that_does_not_go_on_is_given_up) {
  server_options options;
  options.timeouts.header = 50ms;
  server& s = secure(tls_certificates::load(named("server")), hello, options);
  wire w = connect();
  w.send("\x16\x03\x01");
  EXPECT_TRUE(w.ended());
  EXPECT_EQ(s.statistics().handshake_failures, 1u);
}

TEST_F(http_tls_test, websocket_and_files_go_over_it) {
  secure(tls_certificates::load(named("server")), [](request& q, response& p) {
    if (q.path() == "/ws") {
      websocket ws = websocket::accept(q, p);
      while (auto message = ws.read()) ws.write(message->data);
      return;
    }
    const sigrun::file f = sigrun::file::open(file("server.pem"));
    p.set("Content-Length", std::to_string(f.size()));
    p.send_file(f.fd(), 0, f.size());
  });
  EXPECT_EQ(client(trusting()).get(base() + "/").body, sigrun::read_file(file("server.pem")));
  websocket ws = websocket::connect("wss://" + at_.to_string() + "/ws", {}, trusting());
  ws.write(std::string(100'000, 'w'));
  EXPECT_EQ(ws.read()->data.size(), 100'000u);
  ws.close();
  EXPECT_EQ(ws.read(), std::nullopt);
}

}  // namespace
}  // namespace sigrun::http::test
