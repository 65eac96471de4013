// SPDX-License-Identifier: Apache-2.0
//
// The access log in a spdlog logger.
//
//   sigrun::http::access_log log(sigrun::http::spdlog_writer(logger));
//   sigrun::http::server server(routes, {.access_log = log.sink()});
//
// Header only; needs spdlog. Its sinks may block: the access log calls them as foreign calls.
#pragma once

#include <spdlog/logger.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace sigrun::http {

/// For access_log's second constructor: each line is one message, without its newline. A logger
/// keeps the exceptions of its sinks to itself, and says so on stderr once a minute: lines that a
/// full disk has lost count as written. Throws std::invalid_argument for no logger.
inline std::function<void(std::string_view)> spdlog_writer(
    std::shared_ptr<spdlog::logger> logger, spdlog::level::level_enum level = spdlog::level::info) {
  if (logger == nullptr) throw std::invalid_argument("sigrun::http::spdlog_writer: no logger");
  return [logger = std::move(logger), level](std::string_view lines) {
    while (!lines.empty()) {
      const std::size_t end = lines.find('\n');
      logger->log(level, spdlog::string_view_t(lines.data(), std::min(end, lines.size())));
      lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    }
    logger->flush();
  };
}

}  // namespace sigrun::http
