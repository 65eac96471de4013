// SPDX-License-Identifier: Apache-2.0
//
// Children that are kept running, each by a goroutine of its own:
//
//   start ──▶ runs ──ended──▶ waits ──▶ start          until it is given up, or told to stop
//
// Invariants:
//  (1) A keeper is told to stop by its context only, and looks at it before each start: after
//      remove() or stop() has returned, no child of that name runs.
//  (2) Events are sent under the lock, so that their order is the order of what happened; the queue
//      never blocks.
#include "service/text.hpp"

#include <sigrun/children.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal_set.hpp>
#include <sigrun/sync.hpp>

#include <algorithm>
#include <map>
#include <mutex>
#include <random>
#include <stdexcept>

namespace sigrun::process {
namespace {

using clock = std::chrono::steady_clock;
constexpr std::size_t events_max = 256;

void check(const child_spec& spec) {
  const auto refuse = [&](const std::string& what) {
    throw std::invalid_argument("sigrun::process::supervisor: child \"" + spec.name +
                                "\": " + what);
  };
  if (spec.name.empty()) refuse("the name is empty");
  if (spec.arguments.empty()) refuse("arguments is empty");
  if (spec.backoff_min.count() <= 0) refuse("backoff_min is not positive");
  if (spec.backoff_max < spec.backoff_min) refuse("backoff_max is below backoff_min");
  if (spec.healthy_after.count() < 0) refuse("healthy_after is negative");
  if (spec.grace.count() < 0) refuse("grace is negative");
  if (!signal_set::valid(spec.stop_signal)) {
    refuse("stop_signal is " + std::to_string(spec.stop_signal) + ", which is no signal");
  }
}

struct keeper {
  explicit keeper(child_spec from) : spec(std::move(from)) {}

  child_spec spec;
  cancelable told = with_cancel(context());
  goroutine runs;
  // Under the supervisor's lock.
  int pid = 0;
  std::uint64_t starts = 0;
  std::uint32_t failures = 0;
  clock::time_point since{};
  bool given_up = false;
  bool leaving = false;
};

}  // namespace

std::string_view to_string(child_event::kind kind) noexcept {
  switch (kind) {
    case child_event::kind::started:
      return "started";
    case child_event::kind::start_failed:
      return "cannot be started";
    case child_event::kind::ended:
      return "ended";
    case child_event::kind::waits:
      return "waits";
    case child_event::kind::given_up:
      return "given up";
    case child_event::kind::stopped:
      break;
  }
  return "stopped";
}

struct supervisor_state : std::enable_shared_from_this<supervisor_state> {
  void keep(keeper& one);
  bool run_once(keeper& one);
  bool goes_on(keeper& one, bool failed, std::chrono::nanoseconds ran);
  void tell(child_event event);
  std::chrono::nanoseconds shortened(std::chrono::nanoseconds wait);

  mutable mutex lock;
  cond changed;
  std::map<std::string, std::shared_ptr<keeper>, std::less<>> keepers;
  chan<child_event> events{events_max};
  std::uint64_t dropped = 0;
  std::minstd_rand chance{std::random_device{}()};
  bool closed = false;
};

void supervisor_state::tell(child_event event) {
  const std::lock_guard hold(lock);  // (2)
  while (!events.try_send(event)) {
    child_event oldest;
    if (events.try_recv(oldest)) ++dropped;
  }
}

// Down to four fifths.
std::chrono::nanoseconds supervisor_state::shortened(std::chrono::nanoseconds wait) {
  const std::lock_guard hold(lock);
  return wait - std::chrono::nanoseconds(static_cast<std::int64_t>(
                    static_cast<double>(wait.count()) / 5 *
                    std::uniform_real_distribution<double>(0, 1)(chance)));
}

void supervisor_state::keep(keeper& one) {
  while (!one.told.ctx.ended()) {
    if (!run_once(one)) break;
  }
  tell({.what_happened =
            one.told.ctx.ended() ? child_event::kind::stopped : child_event::kind::given_up,
        .name = one.spec.name});
}

// One life. Whether there is another.
bool supervisor_state::run_once(keeper& one) {
  job child;
  try {
    child = start(one.spec.arguments, one.spec.options);
  } catch (const std::exception& error) {
    tell({.what_happened = child_event::kind::start_failed,
          .name = one.spec.name,
          .what = error.what()});
    return goes_on(one, true, {});
  }
  const clock::time_point began = clock::now();
  {
    const std::lock_guard hold(lock);
    one.pid = child.pid();
    one.since = began;
    ++one.starts;
  }
  tell({.what_happened = child_event::kind::started, .name = one.spec.name, .pid = child.pid()});
  if (one.spec.started) one.spec.started(child);
  std::optional<exit_status> status = child.wait(one.told.ctx);
  if (!status) status = child.stop(one.spec.grace, one.spec.stop_signal);
  {
    const std::lock_guard hold(lock);
    one.pid = 0;
  }
  if (one.spec.ended) one.spec.ended(*status);
  tell({.what_happened = child_event::kind::ended,
        .name = one.spec.name,
        .pid = child.pid(),
        .status = *status});
  return goes_on(one, !status->success(), clock::now() - began);
}

bool supervisor_state::goes_on(keeper& one, bool failed, std::chrono::nanoseconds ran) {
  if (one.told.ctx.ended()) return false;
  const child_spec& spec = one.spec;
  std::uint32_t failures = 0;
  {
    const std::lock_guard hold(lock);
    if (!failed || ran >= spec.healthy_after) one.failures = 0;
    if (failed) ++one.failures;
    failures = one.failures;
    if (spec.when == restart::never || (spec.when == restart::on_failure && !failed) ||
        (spec.failures_max != 0 && failures >= spec.failures_max)) {
      one.given_up = true;
      return false;
    }
  }
  std::chrono::nanoseconds wait = spec.backoff_min;
  for (std::uint32_t i = 1; i < failures && wait < spec.backoff_max; ++i) {
    wait = wait > spec.backoff_max / 2 ? spec.backoff_max : wait * 2;
  }
  wait = shortened(wait);
  tell({.what_happened = child_event::kind::waits, .name = spec.name, .wait = wait});
  return !one.told.ctx.wait_for(wait);  // (1)
}

// ------------------------------------------------------------------------------------- the handle

supervisor::supervisor() : state_(std::make_shared<supervisor_state>()) {}

supervisor::~supervisor() { stop(); }

void supervisor::add(child_spec spec) {
  check(spec);
  const auto one = std::make_shared<keeper>(std::move(spec));
  const std::lock_guard hold(state_->lock);
  if (state_->closed) throw std::logic_error("sigrun::process::supervisor::add: it is stopped");
  const auto [at, fresh] = state_->keepers.try_emplace(one->spec.name, one);
  if (!fresh) {
    throw std::invalid_argument("sigrun::process::supervisor: there is a child \"" +
                                one->spec.name + "\" already");
  }
  try {
    one->runs = go({.name = one->spec.name}, [state = state_, one] { state->keep(*one); });
  } catch (...) {
    state_->keepers.erase(at);
    throw;
  }
}

bool supervisor::remove(std::string_view name) {
  std::shared_ptr<keeper> one;
  {
    std::unique_lock hold(state_->lock);
    const auto at = state_->keepers.find(name);
    if (at == state_->keepers.end()) return false;
    one = at->second;
    if (one->leaving) {
      // Another caller does it; its end is waited for all the same.
      state_->changed.wait(hold, [&] {
        const auto again = state_->keepers.find(name);
        return again == state_->keepers.end() || again->second != one;
      });
      return false;
    }
    one->leaving = true;
  }
  one->told.cancel();
  one->runs.join();
  const std::lock_guard hold(state_->lock);
  state_->keepers.erase(one->spec.name);
  state_->changed.notify_all();
  return true;
}

void supervisor::stop() {
  std::vector<std::string> names;
  {
    const std::lock_guard hold(state_->lock);
    state_->closed = true;
    for (const auto& [name, one] : state_->keepers) {
      names.push_back(name);
      one->told.cancel();
    }
  }
  for (const std::string& name : names) remove(name);
  if (!state_->events.closed()) {
    try {
      state_->events.close();
    } catch (const std::logic_error&) {
      // Another caller of stop() was faster.
    }
  }
}

std::vector<child_info> supervisor::children() const {
  const std::lock_guard hold(state_->lock);
  std::vector<child_info> all;
  for (const auto& [name, one] : state_->keepers) {
    all.push_back({name, one->pid, one->starts, one->failures,
                   one->pid != 0 ? clock::now() - one->since : std::chrono::nanoseconds(0),
                   one->given_up});
  }
  return all;
}

chan<child_event> supervisor::events() const { return state_->events; }

std::uint64_t supervisor::events_dropped() const noexcept {
  const std::lock_guard hold(state_->lock);
  return state_->dropped;
}

}  // namespace sigrun::process
