// SPDX-License-Identifier: Apache-2.0
#include <sigrun/dump.hpp>

#include "crash/words.hpp"
#include "report/goroutines.hpp"
#include "signal/quiet_thread.hpp"
#include "symbol/modules.hpp"
#include "sys/clock.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace sigrun {
namespace {

class dump_turn {
 public:
  explicit dump_turn(std::int64_t deadline_ns) {
    if (!report::take_turn(deadline_ns, false)) {
      throw std::system_error(ETIMEDOUT, std::system_category(),
                              "sigrun: another dump is under way");
    }
  }
  ~dump_turn() { report::give_turn(); }
  dump_turn(const dump_turn&) = delete;
  dump_turn& operator=(const dump_turn&) = delete;
};

[[gnu::noinline]] void dump_to(report::sink& out, const dump_options& options) {
  constexpr std::int64_t least_ns = 1'000'000;
  const std::int64_t deadline =
      sys::now_ns() + std::max<std::int64_t>(options.time_max.count(), least_ns);
  symbol::refresh_modules();
  const dump_turn mine(deadline);
  report::prepare_asking();
  static constinit report::stack_trace own{};  // with the turn
  report::trace_from(symbol::registers_here(), own);
  report::dump_options how;
  how.detail = options.system ? report::level::system : report::level::all;
  how.goroutines_max = options.goroutines_max;
  how.deadline_ns = deadline;
  how.words = &crash::write_words;
  how.first = sched::g_of_this_thread();
  how.first_trace = &own;
  report::write_goroutines(out, how);
  out.flush();
}

}  // namespace

std::string goroutine_stacks(const dump_options& options) {
  struct text_target {
    std::string text;
    bool failed = false;
  } target;
  report::sink out(
      [](void* arg, std::string_view piece) {
        auto& to = *static_cast<text_target*>(arg);
        try {
          if (!to.failed) to.text.append(piece);
        } catch (...) {
          to.failed = true;
        }
      },
      &target);
  dump_to(out, options);
  if (target.failed) throw std::bad_alloc();
  return std::move(target.text);
}

void write_goroutine_stacks(int fd, const dump_options& options) {
  report::fd_target target;
  target.fd = fd;
  target.patience_ns = options.time_max.count();
  report::sink out(&report::fd_target::write, &target);
  dump_to(out, options);
  if (target.lost != 0) {
    throw std::system_error(target.error, std::system_category(),
                            "sigrun: " + std::to_string(target.lost) + " bytes of a dump");
  }
}

dump_on_signal::dump_on_signal(int signo, int fd, const dump_options& options)
    : fd_(fd), options_(options), signals_(1) {
  notify(signals_, {signo}, {.full = overflow::coalesce});
  thread_ = signal::start_quiet_thread("sigrun-dumps", [this] { serve(); });
}

dump_on_signal::~dump_on_signal() {
  signals_.close();
  thread_.join();
}

void dump_on_signal::serve() noexcept {
  while (signals_.recv()) {
    try {
      write_goroutine_stacks(fd_, options_);
      written_.fetch_add(1);
    } catch (...) {
      failed_.fetch_add(1);
    }
  }
}

}  // namespace sigrun
