// SPDX-License-Identifier: Apache-2.0
//
//   lines ──▶ waiting (at most lines_max) ──▶ in the writer's hands ──▶ written | failed
//
// (1) A request puts its line down under the lock and goes; the writer takes all that wait at once
//     and writes them without the lock.
// (2) Each line moves exactly one counter, in the end: written, dropped or failed.
#include <sigrun/http_log.hpp>

#include "http/text.hpp"

#include <sigrun/file.hpp>
#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <mutex>

namespace sigrun::http {
namespace {

void append_escaped(std::string& to, std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  if (text.empty()) to.push_back('-');
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u >= 0x7f || c == '"' || c == '\\') {
      to.append("\\x");
      to.push_back(digits[u >> 4]);
      to.push_back(digits[u & 15]);
    } else {
      to.push_back(c);
    }
  }
}

std::string_view without_port(std::string_view remote) {
  const std::size_t colon = remote.rfind(':');
  if (colon == std::string_view::npos) return remote;
  remote = remote.substr(0, colon);
  if (remote.size() > 2 && remote.front() == '[') remote = remote.substr(1, remote.size() - 2);
  return remote;
}

std::string combined(const access_record& r) {
  const time_t at = std::chrono::system_clock::to_time_t(r.at);
  tm parts{};
  gmtime_r(&at, &parts);
  static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  char when[64];
  std::snprintf(when, sizeof when, "%02d/%s/%04d:%02d:%02d:%02d +0000", parts.tm_mday,
                months[parts.tm_mon % 12], parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                parts.tm_sec);
  std::string line;
  append_escaped(line, without_port(r.remote));
  line.append(" - - [").append(when).append("] \"");
  append_escaped(line, r.method);
  line.push_back(' ');
  append_escaped(line, r.target);
  line.append(r.version == 10 ? " HTTP/1.0\" " : " HTTP/1.1\" ");
  line.append(std::to_string(r.status)).append(" ").append(std::to_string(r.bytes_sent));
  line.append(" \"");
  append_escaped(line, r.referer);
  line.append("\" \"");
  append_escaped(line, r.user_agent);
  char took[32];
  std::snprintf(took, sizeof took, "\" %.3f",
                std::chrono::duration<double, std::milli>(r.took).count());
  return line.append(took);
}

std::string as_json(const access_record& r) {
  std::string line("{\"time\":");
  char when[32];
  std::snprintf(when, sizeof when, "%.3f",
                std::chrono::duration<double>(r.at.time_since_epoch()).count());
  line.append(when);
  const auto text = [&line](const char* name, std::string_view value) {
    line.append(",\"").append(name).append("\":");
    detail::append_json(line, value);
  };
  text("remote", r.remote);
  text("method", r.method);
  text("target", r.target);
  text("host", r.host);
  text("user_agent", r.user_agent);
  text("referer", r.referer);
  line.append(",\"version\":").append(r.version == 10 ? "1.0" : "1.1");
  line.append(",\"status\":").append(std::to_string(r.status));
  line.append(",\"bytes\":").append(std::to_string(r.bytes_sent));
  line.append(",\"secure\":").append(r.secure ? "true" : "false");
  char took[32];
  std::snprintf(took, sizeof took, ",\"ms\":%.3f}",
                std::chrono::duration<double, std::milli>(r.took).count());
  return line.append(took);
}

}  // namespace

std::string format_access(const access_record& record, log_format format) {
  return format == log_format::json ? as_json(record) : combined(record);
}

struct access_log::impl : std::enable_shared_from_this<impl> {
  impl(std::function<void(std::string_view)> how, access_log_options given)
      : write(std::move(how)), options(given) {}

  void put(const access_record& record) {
    std::string line = format_access(record, options.format);
    line.push_back('\n');
    const std::lock_guard guard(lock);
    if (ended || waiting_lines >= options.lines_max ||
        waiting.size() + line.size() > options.bytes_max) {
      ++dropped;
      return;
    }
    waiting.append(line);
    ++waiting_lines;
    if (waiting_lines == 1) changed.notify_all();
  }

  void run() {
    std::unique_lock guard(lock);
    for (;;) {
      changed.wait(guard, [this] { return ended || waiting_lines != 0; });
      if (waiting_lines == 0) break;
      const std::string lines = std::exchange(waiting, {});
      const std::size_t count = std::exchange(waiting_lines, 0);
      writing = true;
      guard.unlock();
      std::string problem;
      bool well = true;
      try {
        foreign_call([&] { write(lines); });
      } catch (const std::exception& error) {
        well = false;
        problem = error.what();
      }
      guard.lock();
      writing = false;
      (well ? written : failed) += count;
      if (!well) last_error = std::move(problem);
      changed.notify_all();
    }
    over = true;
    changed.notify_all();
  }

  bool wait_written(std::chrono::nanoseconds wait) {
    std::unique_lock guard(lock);
    return changed.wait_for(guard, wait, [this] { return waiting_lines == 0 && !writing; });
  }

  void end() {
    std::unique_lock guard(lock);
    ended = true;
    changed.notify_all();
    // A writer that hangs is left to itself: it holds this object.
    if (!changed.wait_for(guard, std::chrono::seconds(1), [this] { return over; })) return;
    if (target != nullptr) target->out = {};
  }

  const std::function<void(std::string_view)> write;
  const access_log_options options;
  mutable mutex lock;
  cond changed;
  std::string waiting;
  std::size_t waiting_lines = 0;
  bool writing = false;
  bool ended = false;
  bool over = false;
  std::uint64_t written = 0;
  std::uint64_t dropped = 0;
  std::uint64_t failed = 0;
  std::string last_error;

  // Of a log that is a file.
  struct file_of {
    std::string path;
    mutex lock;
    file out;
  };
  std::shared_ptr<file_of> target;
};

access_log::access_log(const std::string& path, access_log_options options) {
  auto target = std::make_shared<impl::file_of>();
  target->path = path;
  target->out = file::open(path, file_mode::append);
  impl_ = std::make_shared<impl>(
      [target](std::string_view lines) {
        const std::lock_guard guard(target->lock);
        target->out.write_all(lines);
      },
      options);
  impl_->target = std::move(target);
  go({.name = "access log"}, [self = impl_] { self->run(); });
}

access_log::access_log(std::function<void(std::string_view)> write, access_log_options options)
    : impl_(std::make_shared<impl>(std::move(write), options)) {
  go({.name = "access log"}, [self = impl_] { self->run(); });
}

access_log::~access_log() { impl_->end(); }

access_sink access_log::sink() const {
  return [self = impl_](const access_record& record) { self->put(record); };
}

void access_log::reopen() {
  if (impl_->target == nullptr) return;
  file fresh = file::open(impl_->target->path, file_mode::append);
  const std::lock_guard guard(impl_->target->lock);
  impl_->target->out = std::move(fresh);
}

bool access_log::flush(std::chrono::nanoseconds wait) { return impl_->wait_written(wait); }

access_log_statistics access_log::statistics() const {
  const std::lock_guard guard(impl_->lock);
  return {impl_->written, impl_->dropped, impl_->failed, impl_->last_error};
}

}  // namespace sigrun::http
