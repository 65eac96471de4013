// SPDX-License-Identifier: Apache-2.0
//
// The queue between those who catch and the thread that exports.
//
//   (1) The observer does not allocate: the fault may have been one in malloc. It copies into a
//   ring
//       that is as large as it gets.
//   (2) `gate` lies around the pointer to the only exporter, so that none is in the middle of an
//       observer's call when it goes.
#include <sigrun/fault_telemetry.hpp>

#include "otel/document.hpp"
#include "otel/exporter.hpp"
#include "otel/pending.hpp"
#include "signal/quiet_thread.hpp"

#include <sigrun/go.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <stdexcept>

namespace sigrun {

using clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t report_size_max = std::size_t{64} << 20;

struct noted {
  fault what;
  std::int64_t time_ns = 0;
};

std::string service_name(const std::string& given) {
  if (!given.empty()) return given;
  if (const char* const text = std::getenv("OTEL_SERVICE_NAME"); text != nullptr && *text != '\0') {
    return text;
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return "unknown_service:" + (error ? std::string("sigrun") : self.filename().string());
}

std::int64_t unix_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

struct fault_telemetry::impl {
  explicit impl(const fault_telemetry_options& given)
      : options(given), to(given), ring(given.queue_max) {
    service = service_name(options.service_name);
  }

  void note(const fault& what) noexcept;
  void work();
  void export_reports();
  void export_report(const std::string& path);
  void export_faults(std::vector<noted> faults);
  std::vector<noted> take();
  bool send(const std::string& document);
  bool pause(std::chrono::milliseconds time);

  const fault_telemetry_options options;
  otel::exporter to;
  std::string service;
  mutable std::mutex lock;
  std::condition_variable changed;
  std::vector<noted> ring;
  std::size_t first = 0;
  std::size_t waiting = 0;
  bool busy = true;  // with the reports, at the start
  bool ending = false;
  clock::time_point end_by;
  fault_telemetry_counts counted;
  std::thread thread;
};

namespace {

constinit std::mutex gate;
constinit fault_telemetry::impl* current = nullptr;
constinit std::atomic<fault_observer> before{nullptr};

void observe(const fault& what) noexcept {
  if (const fault_observer earlier = before.load()) earlier(what);
  const std::lock_guard hold(gate);
  if (current != nullptr) current->note(what);
}

}  // namespace

void fault_telemetry::impl::note(const fault& what) noexcept {
  {
    const std::lock_guard hold(lock);
    if (waiting == ring.size()) {
      ++counted.faults_dropped;
      return;
    }
    ring[(first + waiting) % ring.size()] = {what, unix_ns()};
    ++waiting;
  }
  changed.notify_all();
}

std::vector<noted> fault_telemetry::impl::take() {
  const std::lock_guard hold(lock);
  std::vector<noted> taken;
  for (; waiting != 0; --waiting, first = (first + 1) % ring.size()) taken.push_back(ring[first]);
  return taken;
}

bool fault_telemetry::impl::pause(std::chrono::milliseconds time) {
  std::unique_lock hold(lock);
  changed.wait_for(hold, time, [this] { return ending; });
  return !ending;
}

bool fault_telemetry::impl::send(const std::string& document) {
  std::chrono::milliseconds left = options.timeout;
  {
    const std::lock_guard hold(lock);
    if (ending) left = std::chrono::duration_cast<std::chrono::milliseconds>(end_by - clock::now());
  }
  if (left.count() < 1) return false;
  return to.send(document, left, [this](std::chrono::milliseconds time) { return pause(time); });
}

void fault_telemetry::impl::export_report(const std::string& path) {
  const otel::claimed_report report(path);
  if (!report.is_mine()) return;
  const std::string name = std::filesystem::path(path).filename().string();
  otel::resource about{{"service.name", service}, {"telemetry.sdk.name", "sigrun"}};
  otel::span_note note;
  if (!otel::note_of_report(report.read(report_size_max), name, about, note)) {
    const std::lock_guard hold(lock);
    ++counted.reports_unread;
    return;
  }
  const bool sent = send(otel::document_of(about, {note})) && report.mark_sent();
  const std::lock_guard hold(lock);
  ++(sent ? counted.reports : counted.reports_failed);
}

void fault_telemetry::impl::export_reports() {
  if (options.crash_directory.empty()) return;
  const std::vector<std::string> pending = otel::pending_reports(options.crash_directory);
  const std::size_t now = std::min(pending.size(), options.reports_max);
  {
    const std::lock_guard hold(lock);
    counted.reports_left = pending.size() - now;
  }
  for (std::size_t i = 0; i < now; ++i) export_report(pending[i]);
}

void fault_telemetry::impl::export_faults(std::vector<noted> faults) {
  const otel::resource about{{"service.name", service},
                             {"service.version", options.service_version},
                             {"telemetry.sdk.name", "sigrun"},
                             {"process.pid", {}, ::getpid(), true}};
  std::vector<otel::span_note> spans;
  spans.reserve(faults.size());
  for (const noted& one : faults) spans.push_back(otel::note_of(one.what, one.time_ns));
  const bool sent = send(otel::document_of(about, spans));
  const std::lock_guard hold(lock);
  (sent ? counted.faults : counted.faults_failed) += faults.size();
}

void fault_telemetry::impl::work() {
  export_reports();
  for (;;) {
    {
      std::unique_lock hold(lock);
      busy = false;
      changed.notify_all();
      changed.wait(hold, [this] { return ending || waiting != 0; });
      if (waiting == 0) return;
      busy = true;
    }
    export_faults(take());
  }
}

fault_telemetry::fault_telemetry(const fault_telemetry_options& options)
    : impl_(std::make_unique<impl>(options)) {
  const std::lock_guard hold(gate);
  if (current != nullptr) throw std::logic_error("sigrun::fault_telemetry: there is one already");
  impl_->thread = signal::start_quiet_thread("sigrun-otel", [this] { impl_->work(); });
  current = impl_.get();
  before.store(nullptr);
  const fault_observer earlier = set_fault_observer(&observe);
  if (earlier != &observe) before.store(earlier);
}

fault_telemetry::~fault_telemetry() {
  {
    const std::lock_guard hold(gate);
    current = nullptr;
    // Somebody who has put an observer in front since keeps it, and calls ours, which does nothing.
    const fault_observer last = set_fault_observer(before.load());
    if (last != &observe) set_fault_observer(last);
  }
  {
    const std::lock_guard hold(impl_->lock);
    impl_->ending = true;
    impl_->end_by = clock::now() + impl_->options.timeout;
  }
  impl_->changed.notify_all();
  foreign_call([this] { impl_->thread.join(); });
}

bool fault_telemetry::flush(std::chrono::milliseconds time_max) {
  return foreign_call([&] {
    std::unique_lock hold(impl_->lock);
    return impl_->changed.wait_for(hold, time_max,
                                   [this] { return !impl_->busy && impl_->waiting == 0; });
  });
}

fault_telemetry_counts fault_telemetry::counts() const {
  const std::lock_guard hold(impl_->lock);
  return impl_->counted;
}

}  // namespace sigrun
