// SPDX-License-Identifier: Apache-2.0
//
// http_server [PORT [FOLDER [CERTIFICATE KEY]]]
//
// A server with most of what docs/http.md tells of: routes, middleware, files, an access log on
// stderr, a WebSocket echo, TLS. SIGHUP reads the certificate again, SIGTERM and Ctrl-C end it when
// what is under way was answered.
#include <sigrun/go.hpp>
#include <sigrun/http_files.hpp>
#include <sigrun/http_server.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/websocket.hpp>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace http = sigrun::http;

http::router routes(const std::string& folder) {
  http::router r;
  r.use([](http::handler next) -> http::handler {
    return [next](http::request& q, http::response& p) {
      p.set("X-Content-Type-Options", "nosniff");
      next(q, p);
    };
  });
  r.get("/hello/{name}", [](http::request& q, http::response& p) {
    p.text("hello, " + std::string(q.param("name")) + "\n");
  });
  r.post("/upper", [](http::request& q, http::response& p) {
    char part[4096];
    while (const std::size_t count = q.read(part)) {
      for (std::size_t i = 0; i < count; ++i) {
        if (part[i] >= 'a' && part[i] <= 'z') part[i] = static_cast<char>(part[i] - 'a' + 'A');
      }
      p.write({part, count});
    }
  });
  r.get("/echo", [](http::request& q, http::response& p) {
    auto ws = http::websocket::accept(q, p);
    while (auto message = ws.read()) ws.write(message->kind, message->data);
  });
  r.get("/{path...}", http::files(folder));
  return r;
}

void reload(http::tls_certificates& certificates) {
  try {
    certificates.reload();
    std::printf("certificate %llu\n", static_cast<unsigned long long>(certificates.version()));
  } catch (const http::tls_error& error) {
    std::printf("the certificate stays: %s\n", error.what());
  }
}

int serve(const std::vector<std::string>& arguments) {
  const std::string port = !arguments.empty() ? arguments[0] : "0";
  std::shared_ptr<http::tls_certificates> certificates;
  if (arguments.size() > 3) {
    certificates = http::tls_certificates::load({arguments[2], arguments[3]});
  }
  http::access_log log(
      [](std::string_view lines) { std::fwrite(lines.data(), 1, lines.size(), stderr); });
  http::server server(routes(arguments.size() > 1 ? arguments[1] : "."),
                      {.access_log = log.sink()});

  sigrun::chan<sigrun::signal_event> signals(4);
  sigrun::notify(signals, SIGTERM, SIGINT, SIGHUP);
  const auto at = server.listen(sigrun::net::endpoint::parse("127.0.0.1:" + port).value(),
                                {.tls = certificates});
  std::printf("listening on %s\n", at.to_string().c_str());
  std::fflush(stdout);
  for (const sigrun::signal_event& event : signals) {
    if (event.signo != SIGHUP) break;
    if (certificates != nullptr) reload(*certificates);
  }
  const bool drained = server.shutdown(30s);
  const auto seen = server.statistics();
  std::printf("%s after %llu requests\n", drained ? "drained" : "cut off",
              static_cast<unsigned long long>(seen.requests));
  return drained ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return sigrun::run([&arguments] {
    try {
      return serve(arguments);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "http_server: %s\n", error.what());
      return 2;
    }
  });
}
