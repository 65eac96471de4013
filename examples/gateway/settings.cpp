// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <sigrun/net.hpp>

#include <stdexcept>

namespace gateway {
namespace {

namespace config = sigrun::config;
using namespace std::chrono_literals;

std::string is_endpoint(const std::string& text) {
  if (sigrun::net::endpoint::parse(text)) return {};
  return "\"" + text + "\" is not ADDRESS:PORT";
}

}  // namespace

void read_config(config::section& in, settings& to) {
  in.get("listen", to.listen, is_endpoint);
  in.get("database", to.database, config::not_empty);
  in.get("page", to.page);
  in.get("access_log", to.access_log);
  in.get("crash_reports", to.crash_reports);
  in.get("certificate", to.certificate);
  in.get("key", to.key);
  in.get("lame_duck", to.lame_duck, config::at_most(1min));
  in.get("deadline", to.deadline, config::between(1s, 10min));
  in.get("title", to.title, config::not_empty);
  in.get("notes_max", to.notes_max, config::between(1, 1'000'000));
  in.get("note_bytes", to.note_bytes, config::between(1, 1 << 20));
  in.get("worker_timeout", to.worker_timeout, config::between(10ms, 1min));
  in.get("debug", to.debug);
  // What only several keys together show.
  if (to.certificate.empty() != to.key.empty()) in.fail("certificate and key go together");
  if (to.lame_duck >= to.deadline) in.fail("lame_duck", "must be shorter than the deadline");
}

void must_not_differ(const settings& next, const settings& now) {
  const auto same = [](const char* key, const auto& a, const auto& b) {
    if (a == b) return;
    throw std::runtime_error(std::string(key) + ": only a new process can have another one");
  };
  same("listen", next.listen, now.listen);
  same("database", next.database, now.database);
  same("page", next.page, now.page);
  same("access_log", next.access_log, now.access_log);
  same("crash_reports", next.crash_reports, now.crash_reports);
  same("certificate", next.certificate, now.certificate);
  same("key", next.key, now.key);
  same("lame_duck", next.lame_duck, now.lame_duck);
  same("deadline", next.deadline, now.deadline);
}

}  // namespace gateway
