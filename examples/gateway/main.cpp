// SPDX-License-Identifier: Apache-2.0
//
//   gateway CONFIG.toml        then open http://127.0.0.1:8080/
//
// A small service with everything that a service needs around its own work: notes over HTTP, a feed
// of their changes over WebSocket, a worker in a process of its own; a configuration that is loaded
// again while it runs, probes, an access log, reports of crashes, and an end that loses nothing.
// `./dev demo` drives it, and shows what came of it.
//
//   SIGTERM, SIGINT   ends in three phases                  SIGUSR1       opens the log again
//   SIGHUP            loads the configuration again         SIGUSR2       a new executable takes
//   over SIGRTMIN+1        a monitor's beat
//
// This file puts the parts together; each has a pair of files of its own.
#include <sigrun/crash.hpp>
#include <sigrun/dump.hpp>
#include <sigrun/http_service.hpp>
#include <sigrun/systemd.hpp>
#include <sigrun/upgrade.hpp>

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "api.hpp"

namespace {

using namespace std::chrono_literals;
namespace http = sigrun::http;

// What steers the process, in one table: `curl …/status` shows how often each has run.
void route_signals(sigrun::signal_mux& signals, sigrun::graceful& life,
                   sigrun::reloader<gateway::settings>& config, sigrun::upgrader& upgrade,
                   http::access_log* log, gateway::beats& monitor) {
  signals.handle("graceful_shutdown", {SIGTERM, SIGINT},
                 [&life](const sigrun::signal_event& event) { life.begin_stop(event); },
                 {.priority = 9});
  signals.handle("reload", {SIGHUP}, [&config] { config.reload(); });
  signals.handle("upgrade", {SIGUSR2}, [&upgrade] { upgrade.upgrade(); });
  signals.handle("rotate_log", {SIGUSR1}, [log] {
    if (log != nullptr) log->reopen();
  });
  // Each beat counts, and none is merged: real-time signals are queued, by the kernel and here.
  signals.handle("beats", {sigrun::signal_rt_min + 1},
                 [&monitor](const sigrun::signal_event& event) { monitor.take(event); },
                 {.priority = 2, .waiting_max = 100'000});
}

http::service_options server_options(http::access_log* log) {
  http::service_options how;
  if (log != nullptr) how.server.access_log = log->sink();
  how.server.on_failure = [](const http::handler_failure& failed) {
    std::fprintf(stderr, "gateway: %.*s %.*s: %.*s\n", static_cast<int>(failed.method.size()),
                 failed.method.data(), static_cast<int>(failed.target.size()), failed.target.data(),
                 static_cast<int>(failed.what.size()), failed.what.data());
  };
  // When it ends: a request that is on its way on a connection that was kept is served as well.
  how.refuse = {.serve = true, .idle_grace = 500ms};
  return how;
}

void serve(sigrun::graceful& life, const char* program, const char* file) {
  // The certificates are read again with the configuration, and both or none are accepted.
  std::shared_ptr<http::tls_certificates> certificates;
  sigrun::reload_options how;
  how.signals = {};  // the router has SIGHUP
  how.watch = true;
  sigrun::reloader<gateway::settings> config(
      file, how,
      {.prepare =
           [&](const gateway::settings& next, const gateway::settings* now) {
             if (now != nullptr) gateway::must_not_differ(next, *now);
           },
       .changed =
           [&](const gateway::settings&, const gateway::settings&) {
             if (certificates != nullptr) certificates->reload();
           }});
  const gateway::settings start = *config.load();
  if (!start.certificate.empty()) {
    certificates = http::tls_certificates::load({start.certificate, start.key});
  }

  // From the inside out: what is used is there before its users, and goes after them.
  std::unique_ptr<http::access_log> log;
  if (!start.access_log.empty()) log = std::make_unique<http::access_log>(start.access_log);
  gateway::store notes(start.database);
  gateway::feed changes(notes);
  gateway::worker child({program, "--worker"});
  gateway::beats monitor;
  life.on(sigrun::stop_phase::drain, 5, "worker", [&] { child.stop(); });
  if (log != nullptr) life.on(sigrun::stop_phase::drain, 1, "log", [&] { log->flush(); });

  sigrun::signal_mux signals;
  gateway::parts parts{life, config, signals, log.get(), notes, changes, child, monitor};
  http::service web(life, "http", gateway::routes(parts), server_options(log.get()));

  // The socket is the predecessor's when this process takes over from one, or the supervisor's, or
  // our own. It is served as soon as this process is in charge.
  sigrun::upgrade_options by_router;
  by_router.signals = {};
  sigrun::upgrader upgrade(life, by_router);
  const auto address = upgrade.listen("http", *sigrun::net::endpoint::parse(start.listen),
                                      [&](sigrun::net::tcp_listener listener) {
                                        web.serve(std::move(listener), {.tls = certificates});
                                      });
  route_signals(signals, life, config, upgrade, log.get(), monitor);
  // Who hangs in the store holds up every request: the supervisor hears nothing then, and acts.
  const sigrun::systemd::watchdog watchdog([&] {
    notes.await_turn();
    return !life.cut().ended();
  });
  const sigrun::dump_on_request dumps;  // `sigrun dump PID`
  life.ready();
  std::printf("gateway %d: listening on %s\n", static_cast<int>(getpid()),
              address.to_string().c_str());
  std::fflush(stdout);
  life.serve();
  // Nobody is routed to any more, before what the handlers refer to goes.
  signals.close();
}

int main_of(const char* program, const char* file) {
  // How it ends is settled before it begins; serve() reads the rest, and reads it again.
  const auto start = sigrun::config::load<gateway::settings>(file);
  if (!start.crash_reports.empty()) {
    sigrun::install_crash_reports({.directory = start.crash_reports, .program = "gateway"});
  }
  sigrun::graceful_options how;
  how.signals = {};  // the router has them
  how.deadline = start.deadline;
  how.lame_duck = start.lame_duck;
  return sigrun::run_service(how, [&](sigrun::graceful& life) { serve(life, program, file); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--worker") == 0) return gateway::work();
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CONFIG.toml\n", argv[0]);
    return 2;
  }
  try {
    return main_of(argv[0], argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gateway: %s\n", error.what());
    return 1;
  }
}
