// SPDX-License-Identifier: Apache-2.0
//
// What gateway.toml says, as a type.
#pragma once

#include <sigrun/config.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace gateway {

struct settings {
  // Of the process: another value needs another process, that is, an upgrade or a restart.
  std::string listen = "127.0.0.1:8080";
  std::string database = "notes.db";
  std::string page;           // a folder with index.html; empty: no page
  std::string access_log;     // a file; empty: none
  std::string crash_reports;  // a folder; empty: none
  std::string certificate;    // PEM, with `key`: HTTPS. A reload reads both files again.
  std::string key;
  std::chrono::milliseconds lame_duck{0};
  std::chrono::milliseconds deadline{20'000};

  // These are followed by a reload.
  std::string title = "Notes";
  std::uint64_t notes_max = 10'000;
  std::uint64_t note_bytes = 64 << 10;
  std::chrono::milliseconds worker_timeout{5'000};
  bool debug = false;  // endpoints that show, and break, the inside
};

/// Found by sigrun::config::load and sigrun::reloader.
void read_config(sigrun::config::section& in, settings& to);

/// Throws std::runtime_error, naming the key, when `next` cannot be had without a new process.
void must_not_differ(const settings& next, const settings& now);

}  // namespace gateway
