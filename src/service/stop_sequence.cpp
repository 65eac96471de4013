// SPDX-License-Identifier: Apache-2.0
//
// The conductor: see lifecycle.hpp.
#include "service/lifecycle.hpp"
#include "service/signals.hpp"
#include "service/text.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/go.hpp>
#include <sigrun/notify_context.hpp>
#include <sigrun/select.hpp>
#include <sigrun/systemd.hpp>

#include <algorithm>
#include <cstdio>

namespace sigrun {
namespace {

using namespace std::chrono_literals;
using service::clock;

constexpr std::size_t named_max = 20;
constexpr auto report_every = 1s;

std::string who_sent(const signal_event& event) {
  if (event.signo == 0) return "begin_stop()";
  return service::describe_sender(event);
}

}  // namespace

void service::graceful_state::conduct() noexcept {
  const std::optional<signal_event> first = control.recv();
  if (!first) return;
  cause = *first;
  began = clock::now();
  ends = began + deadline;
  deadline_at_ns.store(
      std::chrono::duration_cast<std::chrono::nanoseconds>(ends.time_since_epoch()).count());
  outcome.signo = cause.signo;
  outcome.pid = cause.pid;
  outcome.successor = successor.load();
  say("stop: " +
      (outcome.successor != 0 ? "pid " + std::to_string(outcome.successor) + " serves from here on"
                              : who_sent(cause)) +
      "; " + std::to_string(in_flight.load()) + " in flight, " + service::describe(deadline) +
      " to go");
  try {
    listen_phase();
    refuse_phase();
    drain_phase();
  } catch (...) {
    // Without memory for the next step the rest is left out, and what runs is cut off.
    say("stop: " + service::what_of_current_exception());
  }
  finish();
  guard();
}

// Waits until then, or until the other channel has something, or until it has to hurry.
void service::graceful_state::wait_until(clock::time_point until, const chan<bool>& other) {
  signal_event event;
  bool token = false;
  chan_status status = chan_status::ok;
  while (!hurried()) {
    const int won = select_until(until, recv_case(control, event, status), recv_case(other, token));
    if (won != 0) return;
    if (status == chan_status::closed) {
      abandoned = true;
    } else {
      note_second(event);
    }
  }
}

// What a process that goes on in its place sends only means that it must end, which it is about to.
bool service::graceful_state::is_of_who_serves(const signal_event& event) const noexcept {
  return event.pid != 0 && event.pid == successor.load();
}

void service::graceful_state::note_second(const signal_event& event) {
  if (event.signo == 0) return;  // begin_stop() again changes nothing
  if (is_of_who_serves(event)) return;
  if (outcome.successor != 0 && cause.signo == 0) {
    // The first that comes from outside: what is in flight is finished as after any first one.
    cause = event;
    say("stop: " + who_sent(event) + " while it drains; a second one cuts short");
    return;
  }
  outcome.cut_short = true;
  say("stop: a second signal, " + who_sent(event) + ": cut short; a third kills");
  stop(control);
}

// A supervisor that does not hear is not told again: each message may take its time.
void service::graceful_state::tell(const std::function<void()>& what) noexcept {
  if (!options.tell_supervisor || !supervisor_hears.load()) return;
  try {
    what();
  } catch (...) {
    supervisor_hears.store(false);
    say("stop: " + service::what_of_current_exception());
  }
}

void service::graceful_state::enter(stop_phase next) {
  const std::lock_guard hold(lock);
  phase.store(next);
}

// (1): in a goroutine, and left behind when the time is up.
void service::graceful_state::run_limited(const std::string& name, std::function<void()> work_to_do,
                                          clock::time_point until) {
  struct result {
    chan<bool> done{1};
    std::string failure;
  };
  const auto shared = std::make_shared<result>();
  go({.name = name}, [shared, work_to_do = std::move(work_to_do)] {
    const service::at_end tell_done([&] { shared->done.try_send(true); });
    try {
      work_to_do();
    } catch (const std::exception& error) {
      shared->failure = error.what();
    } catch (const char* text) {
      shared->failure = text;
    }
  });
  bool done = false;
  signal_event event;
  chan_status status = chan_status::ok;
  while (!hurried()) {
    const int won =
        select_until(until, recv_case(shared->done, done), recv_case(control, event, status));
    if (won != 1) break;
    if (status == chan_status::closed) {
      abandoned = true;
    } else {
      note_second(event);
    }
  }
  if (!done && !shared->done.try_recv(done)) {
    outcome.failed_hooks.push_back(name + ": still runs");
  } else if (!shared->failure.empty()) {
    outcome.failed_hooks.push_back(name + ": " + shared->failure);
  } else {
    return;
  }
  say("stop: " + outcome.failed_hooks.back());
}

void service::graceful_state::run_hooks(stop_phase when, clock::time_point until) {
  std::vector<service::hook> due;
  {
    const std::lock_guard hold(lock);
    for (const service::hook& one : hooks) {
      if (one.when == when) due.push_back(one);
    }
  }
  for (const service::hook& one : due) {
    if (hurried()) return;
    run_limited("hook " + one.name, one.run, std::min(until, clock::now() + one.timeout));
  }
}

// ------------------------------------------------------------------------------------ the phases

void service::graceful_state::listen_phase() {
  enter(stop_phase::listen);
  tell(systemd::stopping);
  tell([this] { systemd::extend_timeout(std::chrono::ceil<std::chrono::microseconds>(deadline)); });
  // No load balancer has to look elsewhere for a successor.
  const auto lame_duck = outcome.successor != 0 ? 0ns : options.lame_duck;
  const clock::time_point until = std::min(ends, began + options.listen_budget + lame_duck);
  for (const auto& [name, what] : drainables) {
    if (hurried()) return;
    run_limited(
        name + ": leaving", [what = what] { what->leaving(); }, until);
  }
  run_hooks(stop_phase::listen, until);
  wait_until(std::min(ends, began + lame_duck), chan<bool>());
}

void service::graceful_state::refuse_phase() {
  const clock::time_point until = std::min(ends, clock::now() + options.refuse_budget);
  std::vector<std::shared_ptr<service::acceptor>> all;
  {
    const std::lock_guard hold(lock);
    phase.store(stop_phase::refuse);
    all = acceptors;
  }
  if (cause.signo != 0) {
    stopping.cancel(canceled_by_signal(cause));
  } else {
    stopping.cancel();
  }
  for (const auto& one : all) one->refuse();
  // Also when hurried: what refuses must at least have begun to.
  for (const auto& [name, what] : drainables) {
    run_limited(
        name + ": refuse", [what = what] { what->refuse(); }, until);
  }
  run_limited(
      "listeners", [self = shared_from_this()] { self->open_listeners.wait(); }, until);
  run_hooks(stop_phase::refuse, until);
}

void service::graceful_state::drain_phase() {
  enter(stop_phase::drain);
  const clock::time_point now = clock::now();
  const clock::time_point until =
      options.drain_budget < ends - now ? now + options.drain_budget : ends;
  for (const auto& [name, what] : drainables) {
    if (hurried()) break;
    void* const entry = add_work(name, true);
    go({.name = name}, [self = shared_from_this(), what = what, entry] {
      const service::at_end leave([&] { self->remove_work(entry); });
      what->drain(self->cut.ctx);
    });
  }
  const bool has_hooks = std::any_of(hooks.begin(), hooks.end(), [](const service::hook& one) {
    return one.when == stop_phase::drain;
  });
  wait_for_work(has_hooks ? now + (until - now) / 4 * 3 : until);
  if (in_flight.load() != 0 && has_hooks) report_work();
  run_hooks(stop_phase::drain, until);
  wait_for_work(until);
}

void service::graceful_state::wait_for_work(clock::time_point until) {
  drain_waits.store(true);  // (3)
  clock::time_point next_report = clock::now() + report_every;
  while (in_flight.load() != 0 && !hurried() && clock::now() < until) {
    wait_until(std::min(until, next_report), idle);
    if (clock::now() < next_report || in_flight.load() == 0) continue;
    report_work();
    next_report += report_every;
  }
}

void service::graceful_state::report_work() {
  std::string line = "stop: " + std::string(to_string(phase.load())) + ", " +
                     service::describe(clock::now() - began) + " after the signal, " +
                     std::to_string(in_flight.load()) + " still running:";
  std::vector<std::string> names = list_work(named_max);
  for (std::string& name : names) line += " " + std::move(name) + ";";
  line.back() = '.';
  for (const auto& [name, what] : drainables) {
    const std::string inside = what->in_flight();
    if (!inside.empty()) line += " " + name + ": " + inside + ".";
  }
  say(line);
  const auto left = std::chrono::ceil<std::chrono::microseconds>(ends - clock::now());
  tell([&] { systemd::extend_timeout(left); });
  tell([&] { systemd::status("stopping, " + std::to_string(in_flight.load()) + " in flight"); });
}

// --------------------------------------------------------------------------------------- the end

void service::graceful_state::finish() {
  const bool all_done = in_flight.load() == 0 && !outcome.cut_short;
  if (!all_done && !abandoned) {
    try {
      report_work();
      outcome.still_running = list_work(100);
    } catch (...) {
      say("stop: out of memory");
    }
  }
  cut.cancel();
  {
    std::vector<std::shared_ptr<service::acceptor>> all;
    {
      const std::lock_guard hold(lock);
      outcome.forced = !all_done && !abandoned;
      outcome.took = clock::now() - began;
      all = acceptors;
    }
    for (const auto& one : all) one->cut_off();
  }
  if (!all_done) {
    for (const auto& [name, what] : drainables) what->cut_off();
  }
  say("stop: " + std::string(outcome.forced ? "cut off" : "done") + " after " +
      service::describe(outcome.took));
  if (outcome.forced && options.end_process) end_process_now();
  const std::lock_guard hold(lock);
  phase.store(stop_phase::ended);
  over = true;
  changed.notify_all();
}

// What the program does after serve() is held to the deadline too.
void service::graceful_state::guard() {
  if (!options.end_process) return;
  signal_event event;
  for (;;) {
    const chan_status status = control.recv_until(ends, event);
    if (status == chan_status::closed) return;
    if (status == chan_status::ok && (event.signo == 0 || is_of_who_serves(event))) continue;
    if (status == chan_status::ok && outcome.successor != 0 && cause.signo == 0) {
      cause = event;  // the first from outside, as in note_second()
      continue;
    }
    say(status == chan_status::ok ? "stop: a second signal while the program ends"
                                  : "stop: the program has not ended by its deadline");
    end_process_now();
  }
}

// stdio may be locked by whoever hangs, so a thread of its own flushes it, for a moment.
void service::graceful_state::end_process_now() noexcept {
  log.close();
  try {
    chan<bool> flushed(1);
    std::thread([flushed] {
      std::fflush(nullptr);
      flushed.try_send(true);
    }).detach();
    bool done = false;
    flushed.recv_for(200ms, done);
  } catch (...) {
    // Unflushed, then.
  }
  sys::exit_group(outcome.signo != 0 ? 128 + outcome.signo : 1);
}

}  // namespace sigrun
