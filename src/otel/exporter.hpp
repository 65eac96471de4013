// SPDX-License-Identifier: Apache-2.0
//
// Takes documents to the collector and to the file. Called by one thread.
#pragma once

#include <sigrun/fault_telemetry.hpp>
#include <sigrun/http_client.hpp>

#include <functional>
#include <optional>
#include <string>

namespace sigrun::otel {

class exporter {
 public:
  /// Reads the environment for what `options` leave out, and checks. Throws as
  /// fault_telemetry's constructor does.
  explicit exporter(const fault_telemetry_options& options);
  ~exporter();
  exporter(const exporter&) = delete;
  exporter& operator=(const exporter&) = delete;

  /// True: everybody who was to have it has it. `pause` waits before another try, and says whether
  /// there is to be one. A try takes at most `time_max`, and options.timeout.
  bool send(const std::string& document, std::chrono::milliseconds time_max,
            const std::function<bool(std::chrono::milliseconds)>& pause);

 private:
  enum class answer { taken, refused, again };
  answer post(const std::string& document);
  bool append(const std::string& document);
  void shorten_to(std::chrono::milliseconds time_max);

  std::string endpoint_;
  http::client_request request_;
  std::optional<http::client> client_;
  std::chrono::milliseconds timeout_;  // that client_ has
  int tries_;
  int fd_ = -1;
  std::uint64_t file_max_;
};

}  // namespace sigrun::otel
