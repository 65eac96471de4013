// SPDX-License-Identifier: Apache-2.0
//
// A small service with all that a supervisor wants of it: sockets that were open before it (systemd
// socket activation) or its own, a configuration that SIGHUP or a change of the file loads again,
// readiness, a watchdog, a child that is kept running, and an end in phases on SIGTERM.
//
//   example_greeter CONFIG.toml       then: printf 'World\n' | nc 127.0.0.1 7007
//   ./deploy has its unit, its container and its Kubernetes manifest.
#include <sigrun/children.hpp>
#include <sigrun/graceful.hpp>
#include <sigrun/mux.hpp>
#include <sigrun/reload.hpp>
#include <sigrun/systemd.hpp>

#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

using namespace std::chrono_literals;

struct settings {
  std::string listen = "127.0.0.1:0";
  std::string greeting = "Hello";
  std::vector<std::string> helper;
};
void read_config(sigrun::config::section& in, settings& to) {
  in.get("listen", to.listen, sigrun::config::not_empty);
  in.get("greeting", to.greeting, sigrun::config::not_empty);
  in.get("helper", to.helper);
}

sigrun::net::tcp_listener open_listener(const settings& now) {
  const auto given = sigrun::systemd::take_listen_fds();
  if (!given.empty()) return sigrun::net::tcp_listener::adopt(given[0].fd);
  const auto at = sigrun::net::endpoint::parse(now.listen);
  if (!at) throw std::invalid_argument("listen: " + now.listen + " is not ADDRESS:PORT");
  return sigrun::net::tcp_listener::listen(*at);
}

void serve(sigrun::graceful& life, const char* file) {
  sigrun::reload_options how;
  how.signals = {};  // the router has it
  how.watch = true;
  sigrun::reloader<settings> config(file, how);

  sigrun::signal_mux signals;
  signals.handle("graceful_shutdown", {SIGTERM, SIGINT},
                 [&](const sigrun::signal_event& event) { life.begin_stop(event); },
                 {.priority = 9});
  signals.handle("reload", {SIGHUP}, [&] { config.reload(); });

  sigrun::process::supervisor helpers;
  if (!config.load()->helper.empty()) {
    helpers.add({.name = "helper", .arguments = config.load()->helper});
  }
  life.on(sigrun::stop_phase::drain, 5, "helpers", [&] { helpers.stop(); });

  sigrun::net::tcp_listener listener = open_listener(*config.load());
  std::printf("listening on %s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);
  life.accept("greetings", std::move(listener), [&](sigrun::net::tcp_stream& peer) {
    peer.set_read_deadline_in(10s);
    std::string name;
    char c = 0;
    while (name.size() < 100 && peer.read({&c, 1}) == 1 && c != '\n') name += c;
    const std::string answer = config.load()->greeting + ", " + name + "!\n";
    peer.write_all(std::string_view(answer));
  });
  const sigrun::systemd::watchdog watchdog([&] { return !life.cut().ended(); });
  life.serve();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CONFIG.toml|CONFIG.json\n", argv[0]);
    return 2;
  }
  sigrun::graceful_options how;
  how.signals = {};  // the router has them
  how.deadline = 20s;
  try {
    return sigrun::run_service(how, [&](sigrun::graceful& life) { serve(life, argv[1]); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
