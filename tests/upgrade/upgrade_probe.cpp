// SPDX-License-Identifier: Apache-2.0
//
// A service to be upgraded, with all kinds of listeners. It writes a line when it is in charge,
// "serving PID HTTP-PORT ECHO-PORT", and one when it ends. What it does otherwise is said in its
// environment:
//   PROBE_AS          of a process that an upgrade started: how it fails, see fail_as()
//   PROBE_TIMEOUT_MS  upgrade_options::timeout
//   PROBE_UNIX        a path to listen on
//   PROBE_CHECK       "throw" or "hang": upgrade_options::check
//   PROBE_CONFIG      a file to reload on SIGHUP
// SIGUSR1 lets the requests go on that wait in GET /hold.
#include <sigrun/children.hpp>
#include <sigrun/http_router.hpp>
#include <sigrun/http_service.hpp>
#include <sigrun/process.hpp>
#include <sigrun/reload.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/upgrade.hpp>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>

namespace {

using namespace std::chrono_literals;

std::string setting(const char* name) {
  const char* const text = std::getenv(name);
  return text != nullptr ? text : "";
}

void say(const std::string& text) {
  const std::string line = text + "\n";
  if (::write(1, line.data(), line.size()) < 0) std::abort();
}

void wait_for_end() {
  for (;;) ::pause();
}

// A message of the protocol, as another program might send it.
void send_words(int fd, std::uint16_t version, std::uint16_t word, const char* text = "") {
  struct {
    char magic[4] = {'S', 'G', 'U', 'P'};
    std::uint16_t version = 0;
    std::uint16_t word = 0;
    std::uint32_t number = 0;
    char text[100] = {};
  } message;
  message.version = version;
  message.word = word;
  std::strncpy(message.text, text, sizeof message.text - 1);
  ::send(fd, &message, 12 + std::strlen(text), MSG_NOSIGNAL);
}

int fail_as(const std::string& how) {
  const int fd = std::atoi(setting("SIGRUN_UPGRADE").c_str());
  constexpr std::uint16_t ready = 3;
  constexpr char go = 4;
  constexpr std::uint16_t serving = 5;
  if (how == "exit") return 3;
  if (how == "crash") sigrun::process::die_by(SIGSEGV);
  if (how == "hang") {
    ::signal(SIGTERM, SIG_IGN);
    say("hanging");
    wait_for_end();
  }
  if (how == "close") {
    ::close(fd);
    wait_for_end();
  }
  if (how == "garbage") {
    ::send(fd, "hello", 5, MSG_NOSIGNAL);
    wait_for_end();
  }
  if (how == "version") {
    send_words(fd, 99, ready);
    wait_for_end();
  }
  if (how == "out of turn") {
    send_words(fd, 1, serving);
    wait_for_end();
  }
  send_words(fd, 1, ready);
  if (how == "die after ready") return 4;
  char byte[2000];
  do {
    pollfd wait{fd, POLLIN, 0};
    ::poll(&wait, 1, -1);
  } while (::recv(fd, byte, sizeof byte, 0) > 0 && byte[6] != go);
  if (how == "die after go") return 5;
  wait_for_end();
  return 6;
}

std::string record_text(const sigrun::upgrade_record& record) {
  return std::string(to_string(record.outcome)) + "|" + std::string(to_string(record.failure)) +
         "|" + record.what + "|" + std::to_string(record.requests) + "\n";
}

sigrun::upgrade_record upgrade_without_descriptors(sigrun::upgrader& upgrade) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  sigrun::upgrade_record record = upgrade.upgrade();
  ::setrlimit(RLIMIT_NOFILE, &before);
  return record;
}

std::string stats_text(const sigrun::upgrader& upgrade) {
  const sigrun::upgrade_stats s = upgrade.stats();
  return "requests " + std::to_string(s.requests) + " late " + std::to_string(s.too_late) +
         " attempts " + std::to_string(s.attempts) + " upgraded " + std::to_string(s.upgraded) +
         " rolled_back " + std::to_string(s.rolled_back) + " passed_on " +
         std::to_string(s.passed_on) + " pid " + std::to_string(::getpid()) + " predecessor " +
         std::to_string(upgrade.predecessor()) + " taken " + std::to_string(s.connections_taken) +
         "\n";
}

// What a child of ours has: its files and what is in its environment about upgrades.
std::string look_into_a_child() {
  auto child = sigrun::process::start({"/bin/sh", "-c", "ls -l /proc/self/fd; env | grep UPGRADE"},
                                      {.pipe_out = true});
  std::string all;
  char part[4096];
  while (const std::size_t n = child.out.read(part)) all.append(part, n);
  child.wait();
  return all;
}

struct settings {
  int number = 0;
};
void read_config(sigrun::config::section& in, settings& to) { in.require("number", to.number); }

void be_told_to_stop(const sigrun::graceful& life) {
  ::kill(::getpid(), SIGTERM);
  life.stopping().done().recv();
}

void run_probe(sigrun::graceful& life) {
  const bool successor = std::getenv("SIGRUN_UPGRADE") != nullptr;
  sigrun::upgrade_options options;
  if (const auto limit = setting("PROBE_TIMEOUT_MS"); !limit.empty()) {
    options.timeout = std::chrono::milliseconds(std::atoi(limit.c_str()));
  }
  options.kill_grace = 200ms;
  const std::string check = setting("PROBE_CHECK");
  if (check == "throw") {
    options.check = [] { throw std::runtime_error("the store is busy"); };
  } else if (check == "hang" && !successor) {
    options.check = [] {
      say("checking");
      const sigrun::chan<bool> never(1);
      never.recv();
    };
  }
  sigrun::upgrader upgrade(life, options);
  std::optional<sigrun::reloader<settings>> config;
  if (const auto file = setting("PROBE_CONFIG"); !file.empty()) config.emplace(file);

  const sigrun::signal_chan go_on(4);
  sigrun::notify(go_on, SIGUSR1);
  sigrun::http::router routes;
  routes.get("/pid", [](auto&, auto& p) { p.text(std::to_string(::getpid())); });
  routes.get("/hold", [&](auto&, auto& p) {
    say("holding");
    go_on.recv();
    p.text("held by " + std::to_string(::getpid()));
  });
  routes.get("/upgrade", [&](auto&, auto& p) { p.text(record_text(upgrade.upgrade())); });
  routes.get("/upgrade_without_descriptors",
             [&](auto&, auto& p) { p.text(record_text(upgrade_without_descriptors(upgrade))); });
  routes.get("/stats", [&](auto&, auto& p) { p.text(stats_text(upgrade)); });
  routes.get("/child", [](auto&, auto& p) { p.text(look_into_a_child()); });
  routes.get("/number", [&](auto&, auto& p) { p.text(std::to_string(config->load()->number)); });
  routes.get("/readyz", sigrun::http::readiness(life));
  sigrun::http::service_options served;
  served.handed_on.idle_grace = 300ms;
  sigrun::http::service web(life, "http", std::move(routes), served);

  const sigrun::net::endpoint anywhere{sigrun::net::ip_address::loopback_v4(), 0};
  const auto http = upgrade.listen("http", anywhere, [&](auto listener) {
    web.serve(std::move(listener));
    if (successor && setting("PROBE_AS") == "throw: told to stop late") be_told_to_stop(life);
  });
  const auto echo = upgrade.listen("echo", anywhere, [&](auto listener) {
    life.accept("echo", std::move(listener), [](sigrun::net::tcp_stream& peer) {
      char bytes[256];
      while (const std::size_t n = peer.read(bytes)) peer.write_all(std::string_view(bytes, n));
    });
  });
  if (const auto path = setting("PROBE_UNIX"); !path.empty()) {
    upgrade.listen("unix", sigrun::net::unix_address(path),
                   [&](auto listener) { web.serve(std::move(listener)); });
  }
  if (successor && setting("PROBE_AS") == "throw") throw std::runtime_error("no store");
  upgrade.when_in_charge("announcement", [&, successor] {
    if (successor && setting("PROBE_AS") == "throw in charge") throw std::runtime_error("no luck");
    if (successor && setting("PROBE_AS") == "throw: told to stop") be_told_to_stop(life);
    say("serving " + std::to_string(::getpid()) + " " + std::to_string(http.port()) + " " +
        std::to_string(echo.port()));
  });
  life.serve();
}

}  // namespace

int main() {
  ::alarm(110);  // whatever becomes of the test
  const std::string as = setting("PROBE_AS");
  if (std::getenv("SIGRUN_UPGRADE") != nullptr && !as.empty() && !as.starts_with("throw")) {
    return fail_as(as);
  }
  sigrun::graceful_options options;
  options.deadline = 20s;
  try {
    return sigrun::run_service(options, run_probe);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "probe: %s\n", failure.what());
    return 9;
  }
}
