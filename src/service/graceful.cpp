// SPDX-License-Identifier: Apache-2.0
#include "service/believed_ready.hpp"
#include "service/lifecycle.hpp"
#include "service/signals.hpp"
#include "service/text.hpp"
#include "signal/quiet_thread.hpp"
#include "sys/clock.hpp"

#include <sigrun/notify_context.hpp>
#include <sigrun/process.hpp>
#include <sigrun/systemd.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace sigrun {
namespace {

void check_not_negative(const char* member, std::chrono::nanoseconds value) {
  if (value.count() < 0) {
    throw std::invalid_argument(std::string("sigrun::graceful_options: ") + member + " is " +
                                std::to_string(value.count()) + " ns");
  }
}

void check(const graceful_options& options) {
  check_not_negative("deadline", options.deadline);
  check_not_negative("lame_duck", options.lame_duck);
  check_not_negative("listen_budget", options.listen_budget);
  check_not_negative("refuse_budget", options.refuse_budget);
  check_not_negative("drain_budget", options.drain_budget);
  if (options.deadline > std::chrono::hours(24 * 365)) {
    throw std::invalid_argument("sigrun::graceful_options: deadline is more than a year");
  }
  if (options.lame_duck >= options.deadline) {
    throw std::invalid_argument("sigrun::graceful_options: lame_duck (" +
                                service::describe(options.lame_duck) + ") is not below deadline (" +
                                service::describe(options.deadline) + ")");
  }
}

// What the supervisor allows, less a margin to end before it kills.
std::optional<std::chrono::nanoseconds> grace_of_environment(std::string& complaint) {
  const char* const text = std::getenv("SIGRUN_STOP_GRACE");
  if (text == nullptr || *text == '\0') return std::nullopt;
  const auto grace = service::parse_duration(text, true);
  if (!grace || grace->count() == 0) {
    complaint = service::bad_variable("SIGRUN_STOP_GRACE", text, "a time like 30s; it is ignored");
    return std::nullopt;
  }
  const std::chrono::nanoseconds margin =
      std::min<std::chrono::nanoseconds>(*grace / 10, std::chrono::seconds(2));
  return *grace - margin;
}

}  // namespace

std::string_view to_string(stop_phase phase) noexcept {
  switch (phase) {
    case stop_phase::serving:
      return "serving";
    case stop_phase::listen:
      return "listen";
    case stop_phase::refuse:
      return "refuse";
    case stop_phase::drain:
      return "drain";
    case stop_phase::ended:
      break;
  }
  return "ended";
}

// ------------------------------------------------------------------------------------ the state

service::graceful_state::graceful_state(graceful_options from) : options(std::move(from)) {
  check(options);
  deadline = options.deadline;
  log.open("stop log", options.log);
  std::string complaint;
  if (options.heed_grace) grace = grace_of_environment(complaint);
  if (!complaint.empty()) say(complaint);
  if (grace && *grace < deadline) {
    say("stop: the supervisor's grace lowers the deadline from " + service::describe(deadline) +
        " to " + service::describe(*grace));
    deadline = *grace;
    options.lame_duck = std::min(options.lame_duck, deadline / 2);
  }
}

void* service::graceful_state::add_work(std::string name, bool admit_always) {
  std::list<service::work_entry> one;
  one.push_back({std::move(name), service::clock::now()});
  service::work_entry* const entry = &one.front();
  entry->self = one.begin();
  const std::lock_guard hold(lock);
  if (!admit_always && phase.load() >= stop_phase::refuse) return nullptr;
  in_flight.fetch_add(1);
  work.splice(work.end(), one);
  return entry;
}

void service::graceful_state::remove_work(void* entry) noexcept {
  std::list<service::work_entry> gone;
  {
    const std::lock_guard hold(lock);
    gone.splice(gone.begin(), work, static_cast<service::work_entry*>(entry)->self);
  }
  if (in_flight.fetch_sub(1) == 1 && drain_waits.load()) idle.try_send(true);
}

std::vector<std::string> service::graceful_state::list_work(std::size_t max) const {
  std::vector<std::string> names;
  const auto now = service::clock::now();
  const std::lock_guard hold(lock);
  for (const service::work_entry& one : work) {
    if (names.size() == max) break;
    names.push_back(one.name + ", " + service::describe(now - one.since));
  }
  return names;
}

void service::graceful_state::fail(const std::string& who, const std::string& what) {
  {
    const std::lock_guard hold(lock);
    if (!over && outcome.failure.empty()) outcome.failure = who + ": " + what;
  }
  say("stop: " + who + " failed: " + what);
  control.try_send(signal_event{});
}

void service::graceful_state::hand_on(int pid) {
  supervisor_hears.store(false);  // what it hears is the successor's from here on
  successor.store(pid);
  control.try_send(signal_event{});
}

void service::graceful_state::start_conductor() {
  service::subscribe(control, options.signals, "graceful_options");
  // Nothing the program subscribes to is taken there: it would overtake what comes in order
  // elsewhere.
  conductor =
      signal::start_quiet_thread("sigrun-stop", [self = shared_from_this()] { self->conduct(); });
}

void service::graceful_state::leave_all() noexcept {
  try {
    if (!control.closed()) control.close();
  } catch (...) {
    // Closed meanwhile by the conductor.
  }
  if (conductor.joinable()) conductor.join();
  stopping.cancel();
  std::vector<std::shared_ptr<service::acceptor>> all;
  bool forced = false;
  {
    const std::lock_guard hold(lock);
    all = std::exchange(acceptors, {});  // they hold this state, as it holds them
    forced = outcome.forced;
  }
  for (const auto& one : all) one->refuse();
  cut.cancel();
  for (const auto& one : all) one->cut_off();
  if (!forced) goroutines.wait();
  log.close();
}

// ----------------------------------------------------------------------------------- the handle

graceful::graceful(graceful_options options) : state_(std::make_shared<state>(std::move(options))) {
  try {
    state_->start_conductor();
  } catch (...) {
    state_->log.close();
    throw;
  }
}

graceful::~graceful() { state_->leave_all(); }

void graceful::on(stop_phase phase, int priority, std::string name, std::function<void()> hook,
                  std::chrono::nanoseconds timeout) {
  if (phase == stop_phase::serving || phase == stop_phase::ended) {
    throw std::invalid_argument("sigrun::graceful::on: hook \"" + name + "\" for phase " +
                                std::string(to_string(phase)) + "; listen, refuse and drain have");
  }
  if (priority < 0 || priority > 9) {
    throw std::invalid_argument("sigrun::graceful::on: hook \"" + name + "\" has priority " +
                                std::to_string(priority) + "; 0 to 9 are");
  }
  if (!hook) throw std::invalid_argument("sigrun::graceful::on: hook \"" + name + "\" is empty");
  const std::lock_guard hold(state_->lock);
  if (state_->phase.load() >= phase) {
    throw std::logic_error("sigrun::graceful::on: hook \"" + name + "\" comes too late, in phase " +
                           std::string(to_string(state_->phase.load())));
  }
  // Behind those of the same priority.
  auto at = state_->hooks.begin();
  while (at != state_->hooks.end() && at->priority >= priority) ++at;
  state_->hooks.insert(at, {phase, priority, std::move(name), std::move(hook), timeout});
}

void graceful::start_worker(std::string name, std::function<void(const context&)> work) {
  const std::string who = "goroutine " + name;
  void* const entry = state_->add_work(who, true);
  state_->goroutines.add();
  try {
    sigrun::go({.name = name}, [state = state_, who, entry, work = std::move(work)]() mutable {
      const service::at_end leave([&] {
        work = nullptr;  // (2): what it captured goes before it counts as done
        state->remove_work(entry);
        state->goroutines.done();
      });
      try {
        work(state->stopping.ctx);
      } catch (const std::exception& error) {
        state->fail(who, error.what());
      }
    });
  } catch (...) {
    state_->remove_work(entry);
    state_->goroutines.done();
    throw;
  }
}

void graceful::add(std::string name, std::shared_ptr<drainable> what) {
  if (what == nullptr) {
    throw std::invalid_argument("sigrun::graceful::add: \"" + name + "\" is a null pointer");
  }
  const std::lock_guard hold(state_->lock);
  if (state_->phase.load() != stop_phase::serving) {
    throw std::logic_error("sigrun::graceful::add: \"" + name + "\" comes too late");
  }
  state_->drainables.emplace_back(std::move(name), std::move(what));
}

graceful::ticket graceful::begin(std::string name) {
  ticket one;
  one.entry_ = state_->add_work(std::move(name), false);
  if (one.entry_ != nullptr) one.state_ = state_;
  return one;
}

void graceful::ticket::leave() noexcept {
  state_->remove_work(entry_);
  state_.reset();
}

void graceful::ready() {
  if (state_->phase.load() != stop_phase::serving || state_->readying.exchange(true)) return;
  std::function<service::charge()> take_charge;
  {
    const std::lock_guard hold(state_->lock);
    take_charge = state_->take_charge;
  }
  service::charge now;
  if (take_charge) now = take_charge();
  if (!now.failure.empty()) {
    state_->fail("upgrade", now.failure);
    return;
  }
  state_->is_ready.store(true);
  if (!state_->options.tell_supervisor) return;
  if (now.announced) {
    systemd::believe_ready(true);
  } else {
    state_->tell(systemd::ready);
  }
}

const stop_outcome& graceful::serve() {
  ready();
  state_->lock.lock();
  state_->changed.wait(state_->lock, [this] { return state_->over; });
  state_->lock.unlock();
  return state_->outcome;
}

void graceful::begin_stop() { state_->control.try_send(signal_event{}); }
void graceful::begin_stop(const signal_event& event) { state_->control.try_send(event); }

bool graceful::is_ready() const noexcept {
  return state_->is_ready.load() && state_->phase.load() == stop_phase::serving;
}
stop_phase graceful::phase() const noexcept { return state_->phase.load(); }
const context& graceful::stopping() const noexcept { return state_->stopping.ctx; }
const context& graceful::cut() const noexcept { return state_->cut.ctx; }
int graceful::successor() const noexcept { return state_->successor.load(); }
std::chrono::nanoseconds graceful::deadline() const noexcept { return state_->deadline; }

std::chrono::nanoseconds graceful::remaining() const noexcept {
  const std::int64_t at = state_->deadline_at_ns.load();
  if (at == 0) return state_->deadline;
  return std::chrono::nanoseconds(std::max<std::int64_t>(at - sys::now_ns(), 0));
}

std::vector<std::string> graceful::in_flight() const { return state_->list_work(100); }
std::size_t graceful::in_flight_count() const noexcept { return state_->in_flight.load(); }
std::uint64_t graceful::failed_connections() const noexcept {
  return state_->failed_connections.load();
}

int end_service(const stop_outcome& outcome, exit_as clean) {
  if (!outcome.failure.empty() || outcome.forced) return outcome.shell_code();
  if (outcome.signo == 0 || clean == exit_as::zero) return 0;
  if (clean == exit_as::signal) {
    std::fflush(nullptr);
    process::die_by(outcome.signo);
  }
  return outcome.shell_code();
}

}  // namespace sigrun
