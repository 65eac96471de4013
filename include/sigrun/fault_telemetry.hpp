// SPDX-License-Identifier: Apache-2.0
//
// Faults that were caught, and crashes of earlier runs, as OpenTelemetry spans with an `exception`
// event, sent in OTLP/JSON to a collector, a file, or both. docs/telemetry.md.
//
//   sigrun::install_crash_reports({.directory = "/var/lib/server/crashes"});
//   sigrun::fault_telemetry telemetry({.endpoint = "http://localhost:4318/v1/traces",
//                                      .crash_directory = "/var/lib/server/crashes"});
//
// In the CMake target sigrun::otel, which needs sigrun::http. Not for handlers.
//
// Sources: OpenTelemetry's semantic conventions for exceptions on spans; OTLP 1, JSON encoding and
// OTLP/HTTP.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sigrun {

struct fault_telemetry_options {
  /// Where documents are posted: "http://host:4318/v1/traces". Empty: the environment's
  /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, then OTEL_EXPORTER_OTLP_ENDPOINT and "/v1/traces".
  std::string endpoint = {};
  /// Sent with each: a token, say.
  std::vector<std::pair<std::string, std::string>> headers = {};
  /// Where each document is appended as a line; made with mode 0600.
  std::string file = {};
  /// Bytes that the file may have; what would make it larger is not exported.
  std::uint64_t file_max = std::uint64_t{64} << 20;
  /// `service.name`. Empty: OTEL_SERVICE_NAME, then "unknown_service:PROGRAM".
  std::string service_name = {};
  std::string service_version = {};
  /// That of crash_options: reports in it that were not exported yet are. Empty: none.
  std::string crash_directory = {};
  /// Reports that are exported at one start, the oldest first. The rest stay for the next.
  std::size_t reports_max = 64;
  /// Caught faults that wait for export; more are dropped, and counted. At least 1.
  std::size_t queue_max = 256;
  /// For one try. At the end of this object's life for all that is left together.
  std::chrono::milliseconds timeout{5000};
  /// How often a document is tried when nobody answers, or answers with 429, 502, 503 or 504. At
  /// least 1; a second, two, … lie in between.
  int tries = 3;
};

/// What became of faults and reports.
struct fault_telemetry_counts {
  std::uint64_t faults = 0;          ///< exported
  std::uint64_t faults_dropped = 0;  ///< the queue was full
  std::uint64_t faults_failed = 0;   ///< not taken by collector or file
  std::uint64_t reports = 0;         ///< exported
  std::uint64_t reports_failed = 0;  ///< not taken; they are tried again at the next start
  std::uint64_t reports_unread = 0;  ///< no crash report that this version reads
  std::uint64_t reports_left = 0;    ///< beyond reports_max: for the next start
};

/// Exports while it lives, from a thread of its own. A report that was taken is renamed, from
/// crash-TIME-PID.json to crash-TIME-PID.sent.json, and so exported once; it counts for
/// crash_options::keep as before. Processes that share a directory share the work.
class fault_telemetry {
 public:
  /// Takes the place of the fault observer, and calls the one before first. Throws
  /// std::invalid_argument, naming it, for a bad option and when neither endpoint nor file is
  /// given; std::logic_error when there is one already; std::system_error for the file, and when
  /// there is no thread to be had. A crash directory that is not there is an empty one.
  explicit fault_telemetry(const fault_telemetry_options& options);
  /// Exports what is left, for at most `timeout`, without tries beyond the first.
  ~fault_telemetry();
  fault_telemetry(const fault_telemetry&) = delete;
  fault_telemetry& operator=(const fault_telemetry&) = delete;

  /// Waits until all that was there when it was called has been exported or has failed. False: the
  /// time was up. A goroutine waits in a foreign call.
  bool flush(std::chrono::milliseconds time_max);
  fault_telemetry_counts counts() const;

  struct impl;

 private:
  std::unique_ptr<impl> impl_;
};

}  // namespace sigrun
