// SPDX-License-Identifier: Apache-2.0
#include "otel/exporter.hpp"

#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <system_error>

namespace sigrun::otel {
namespace {

std::string from_environment(const char* name) {
  const char* const text = std::getenv(name);
  return text != nullptr ? text : "";
}

std::string endpoint_of(const fault_telemetry_options& options) {
  if (!options.endpoint.empty()) return options.endpoint;
  std::string text = from_environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  if (!text.empty()) return text;
  text = from_environment("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (text.empty()) return text;
  if (text.back() != '/') text += '/';
  return text + "v1/traces";
}

void check(const fault_telemetry_options& options, const std::string& endpoint) {
  const std::string who = "sigrun::fault_telemetry: ";
  if (endpoint.empty() && options.file.empty()) {
    throw std::invalid_argument(who + "neither endpoint nor file is given");
  }
  if (options.queue_max == 0) throw std::invalid_argument(who + "queue_max is 0, not 1 or more");
  if (options.tries < 1) {
    throw std::invalid_argument(who + "tries is " + std::to_string(options.tries) +
                                ", not 1 or more");
  }
  if (options.timeout.count() < 1) {
    throw std::invalid_argument(who + "timeout is " + std::to_string(options.timeout.count()) +
                                " ms, not 1 or more");
  }
}

}  // namespace

exporter::exporter(const fault_telemetry_options& options)
    : endpoint_(endpoint_of(options)),
      timeout_(options.timeout),
      tries_(options.tries),
      file_max_(options.file_max) {
  check(options, endpoint_);
  if (!endpoint_.empty()) {
    static_cast<void>(http::url::parse(endpoint_));
    request_.method = "POST";
    request_.url = endpoint_;
    request_.headers.set("Content-Type", "application/json");
    for (const auto& [name, value] : options.headers) request_.headers.set(name, value);
    client_.emplace(http::client_options{.timeout = timeout_});
  }
  if (options.file.empty()) return;
  const long fd = sys::call(SYS_openat, AT_FDCWD, options.file.c_str(),
                            O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (sys::failed(fd)) {
    throw std::system_error(static_cast<int>(-fd), std::system_category(),
                            "sigrun::fault_telemetry: " + options.file);
  }
  fd_ = static_cast<int>(fd);
}

exporter::~exporter() {
  if (fd_ >= 0) sys::close(fd_);
}

exporter::answer exporter::post(const std::string& document) {
  try {
    request_.body = document;
    const int status = client_->send(request_).status;
    if (status >= 200 && status < 300) return answer::taken;
    const bool later = status == 429 || status == 502 || status == 503 || status == 504;
    return later ? answer::again : answer::refused;
  } catch (const std::exception&) {
    return answer::again;
  }
}

// One write, so that lines of several processes do not mix.
bool exporter::append(const std::string& document) {
  struct stat now {};
  const std::string line = document + '\n';
  if (::fstat(fd_, &now) != 0) return false;
  if (S_ISREG(now.st_mode) && static_cast<std::uint64_t>(now.st_size) + line.size() > file_max_) {
    return false;
  }
  return sys::write(fd_, line) == static_cast<long>(line.size());
}

// A client keeps its timeout for good, so there is another. Connections that the old one kept are
// closed with it: this happens at the end, once for each document that is left.
void exporter::shorten_to(std::chrono::milliseconds time_max) {
  if (time_max >= timeout_) return;
  timeout_ = time_max;
  client_.emplace(http::client_options{.timeout = timeout_});
}

bool exporter::send(const std::string& document, std::chrono::milliseconds time_max,
                    const std::function<bool(std::chrono::milliseconds)>& pause) {
  if (client_) {
    shorten_to(time_max);
    for (int tried = 1;; ++tried) {
      const answer got = post(document);
      if (got == answer::taken) break;
      if (got == answer::refused || tried >= tries_) return false;
      if (!pause(std::chrono::seconds(tried))) return false;
    }
  }
  return fd_ < 0 || append(document);
}

}  // namespace sigrun::otel
