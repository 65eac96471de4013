// SPDX-License-Identifier: Apache-2.0
//
// The access log: a line for each request, written by a goroutine of its own. A disk that is full,
// slow or gone holds no request up; what could not be written is counted.
//
//   sigrun::http::access_log log("/var/log/app/access.log");
//   sigrun::http::server server(routes, {.access_log = log.sink()});
//
// <sigrun/spdlog.hpp> writes it to a spdlog logger instead.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sigrun::http {

/// One request that was answered. The views are valid during the call.
struct access_record {
  std::chrono::system_clock::time_point at;  ///< when its head was read
  std::chrono::nanoseconds took{0};          ///< from then to the end of the response
  std::string_view remote;
  std::string_view method;
  std::string_view target;
  std::string_view host;
  std::string_view user_agent;
  std::string_view referer;
  int version = 11;
  int status = 0;
  std::uint64_t bytes_sent = 0;  ///< of the body
  bool secure = false;
};

using access_sink = std::function<void(const access_record&)>;

enum class log_format {
  combined,  ///< as Apache's and nginx's, with the milliseconds it took at the end
  json,      ///< an object for each line
};

struct access_log_options {
  log_format format = log_format::combined;
  std::size_t lines_max = 8192;     ///< that wait to be written; those beyond are dropped
  std::size_t bytes_max = 4 << 20;  ///< the same, of all that wait together
};

struct access_log_statistics {
  std::uint64_t written = 0;  ///< lines
  std::uint64_t dropped = 0;  ///< because too many waited
  std::uint64_t failed = 0;   ///< because they could not be written
  std::string last_error;     ///< of the last that failed
};

/// Lines go to it in order. Safe for any number of threads.
class access_log {
 public:
  /// Appends to a file, which need not exist. Throws as file::open.
  explicit access_log(const std::string& path, access_log_options options = {});
  /// Gives the lines, several at a time, each with a newline, to `write`, on a goroutine of its own
  /// and as a foreign call: it may block, nobody waits for it. What it throws counts as failed.
  explicit access_log(std::function<void(std::string_view lines)> write,
                      access_log_options options = {});
  access_log(const access_log&) = delete;
  access_log& operator=(const access_log&) = delete;
  /// Writes what waits, a second at most if it does not go well.
  ~access_log();

  /// What a server's option access_log wants. It may outlive this object, and then drops.
  access_sink sink() const;
  /// Opens the file again, after it was renamed. Throws as file::open, and goes on with the old.
  void reopen();
  /// Waits until what was logged before is written or has failed; false: not within that time.
  bool flush(std::chrono::nanoseconds wait = std::chrono::seconds(1));

  access_log_statistics statistics() const;

  struct impl;

 private:
  std::shared_ptr<impl> impl_;
};

/// One line, without a newline. Control characters and quotes are escaped.
std::string format_access(const access_record& record, log_format format);

}  // namespace sigrun::http
