// SPDX-License-Identifier: Apache-2.0
#include <sigrun/crash.hpp>

#include "crash/files.hpp"
#include "crash/helper.hpp"
#include "crash/terminate.hpp"
#include "report/crash.hpp"
#include "report/symbolizer.hpp"
#include "sigsafe/signal_stack.hpp"
#include "sys/file.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>

namespace sigrun {
namespace {

constinit std::mutex installing;

template <std::size_t N>
void keep_text(char (&to)[N], const std::string& from) {
  std::strncpy(to, from.c_str(), N - 1);
  to[N - 1] = '\0';
}

void check(const crash_options& options) {
  const auto ms = options.time_max.count();
  if (ms < 100 || ms > 3000) {
    throw std::invalid_argument("sigrun::install_crash_reports: time_max is " + std::to_string(ms) +
                                " ms, not 100 to 3000");
  }
  if (options.keep == 0) {
    throw std::invalid_argument("sigrun::install_crash_reports: keep is 0, not 1 or more");
  }
  if (options.directory.size() >= sizeof(report::crash_config::directory)) {
    throw std::invalid_argument("sigrun::install_crash_reports: directory is longer than 255");
  }
}

report::level level_from(traceback wanted) {
  const char* const text = std::getenv("SIGRUN_TRACEBACK");
  if (text == nullptr || *text == '\0') return static_cast<report::level>(wanted);
  report::level level;
  if (report::parse_level(text, level)) return level;
  throw std::invalid_argument("SIGRUN_TRACEBACK is '" + std::string(text) +
                              "', not none, single, all, system or crash");
}

}  // namespace

void install_crash_reports(const crash_options& options) {
  check(options);
  const std::lock_guard hold{installing};
  report::crash_config config;
  const report::crash_config before = report::the_crash_config();
  config.detail = level_from(options.detail);
  config.pid = sys::getpid();
  config.time_ns = std::chrono::nanoseconds(options.time_max).count();
  config.file_max = options.file_max;
  config.signals = signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT);
  keep_text(config.directory, options.directory);
  keep_text(config.program, options.program);
  keep_text(config.version, options.version);
  keep_text(config.commit, options.commit);
  keep_text(config.compiler, options.compiler);
  keep_text(config.flags, options.flags);
  crash::open_file spare = crash::open_or_throw("/dev/null", O_RDONLY | O_CLOEXEC);
  crash::open_file another = crash::open_or_throw("/dev/null", O_RDONLY | O_CLOEXEC);
  crash::open_file text, directory;
  config.text_fd = options.text_fd;
  if (!options.text_file.empty()) {
    text = crash::open_or_throw(options.text_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC);
    config.text_fd = text.get();
    config.owns_text_fd = true;
  }
  if (!options.directory.empty()) {
    directory = crash::open_directory(options.directory);
    crash::remove_old_reports(directory.get(), options.keep);
  }
  symbol::refresh_modules();
  crash::give_this_thread_a_signal_stack();
  if (options.symbolize && !report::has_symbolizer()) {
    crash::start_symbolizer(options.symbolizer);
  }
  config.spare_fds[0] = spare.get();
  config.spare_fds[1] = another.get();
  config.directory_fd = directory.get();
  if (const long error = report::install_crash(config); error < 0) {
    throw std::system_error(static_cast<int>(-error), std::system_category(),
                            "sigrun::install_crash_reports: memory");
  }
  spare.release();
  another.release();
  directory.release();
  text.release();
  if (before.pid != 0) crash::close_old(before);
  crash::report_uncaught_exceptions(options.throw_sites);
}

bool crash_symbolizer() noexcept { return report::has_symbolizer(); }

alternate_stack::alternate_stack() : block_(nullptr) {
  auto block = std::make_unique<sigsafe::thread_block>();
  if (const long error = sigsafe::make_signal_stack(*block); error < 0) {
    throw std::system_error(static_cast<int>(-error), std::system_category(),
                            "sigrun::alternate_stack");
  }
  block_ = block.release();
}

alternate_stack::~alternate_stack() {
  const std::unique_ptr<sigsafe::thread_block> block(static_cast<sigsafe::thread_block*>(block_));
  sigsafe::free_signal_stack(*block);
}

}  // namespace sigrun
