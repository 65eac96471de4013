// SPDX-License-Identifier: Apache-2.0
#include "service/mux_state.hpp"
#include "service/text.hpp"

#include <sigrun/signal_names.hpp>
#include <sigrun/time.hpp>

#include <algorithm>
#include <mutex>
#include <stdexcept>

namespace sigrun {

std::string_view to_string(dead_reason reason) noexcept {
  switch (reason) {
    case dead_reason::no_handler:
      return "no handler";
    case dead_reason::waiting_full:
      return "too many waited";
    case dead_reason::rate_limited:
      return "rate limit";
    case dead_reason::failed:
      return "failed";
    case dead_reason::removed:
      break;
  }
  return "handler removed";
}

namespace service {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::size_t dead_max = 64;
constexpr std::size_t channel_capacity = 256;  // it grows, see subscribe()
constexpr int always_runs = 9;

void check(const std::string& name, const route_options& options) {
  const auto refuse = [&](const std::string& what) {
    throw std::invalid_argument("sigrun::signal_mux: handler \"" + name + "\": " + what);
  };
  if (name.empty()) refuse("the name is empty");
  if (options.priority < 0 || options.priority > 9) {
    refuse("priority is " + std::to_string(options.priority) + "; 0 to 9 are");
  }
  if (options.concurrency == 0) refuse("concurrency is 0");
  if (options.waiting_max == 0) refuse("waiting_max is 0");
  if (options.timeout.count() < 0) refuse("timeout is negative");
  if (options.rate.events != 0 && options.rate.per.count() <= 0) refuse("rate.per is not positive");
  if (options.pinned && options.concurrency != 1) {
    refuse("pinned, and concurrency is " + std::to_string(options.concurrency));
  }
}

void subscribe(const signal_chan& to, signal_set signals) {
  notify_options how;
  how.full = overflow::unbounded;
  notify(to, signals, how);
}

bool counts(const mux_route& route) {
  return !route.info.options.pinned && route.info.options.priority != always_runs;
}

}  // namespace

mux_state::mux_state(mux_options from) : options(std::move(from)), channel(channel_capacity) {
  if (options.running_max == 0) {
    throw std::invalid_argument("sigrun::mux_options: running_max is 0");
  }
  log.open("mux log", options.log);
}

// --------------------------------------------------------------------------------------- changes

signal_set mux_state::wanted() const {
  signal_set all;
  for (const auto& [name, route] : routes) all |= route->info.signals;
  return all;
}

void mux_state::add(std::string name, signal_set signals, mux_function f,
                    const route_options& how) {
  check(name, how);
  const std::lock_guard one(changes);
  if (closed) throw std::logic_error("sigrun::signal_mux::handle: it is closed");
  auto fresh = std::make_shared<mux_route>();
  fresh->info.name = name;
  fresh->info.signals = signals;
  fresh->info.options = how;
  fresh->call = std::make_shared<mux_function>(std::move(f));
  bool thinner = false;
  {
    // With the lock, so that no event is dispatched between the subscription and the route.
    const std::lock_guard hold(lock);
    if (!(signals - subscribed).empty()) {
      subscribe(channel, signals - subscribed);
      subscribed |= signals;
    }
    std::shared_ptr<mux_route>& place = routes[name];
    // A change from or to a thread of its own is another route, which takes over what waits.
    if (place != nullptr && place->info.options.pinned == how.pinned) {
      place->info.signals = signals;
      place->info.options = how;
      place->call = fresh->call;
    } else {
      if (place != nullptr) {
        fresh->waiting = std::move(place->waiting);
        place->waiting.clear();
        place->removed = true;
      }
      place = std::move(fresh);
    }
    thinner = !(subscribed - wanted()).empty();
    start_due();
    changed.notify_all();
  }
  if (thinner) resubscribe();
}

bool mux_state::remove(std::string_view name) {
  std::shared_ptr<mux_route> route;
  {
    const std::lock_guard one(changes);
    {
      const std::lock_guard hold(lock);
      const auto at = routes.find(name);
      if (at == routes.end()) return false;
      route = at->second;
      routes.erase(at);
      route->removed = true;
      for (const signal_event& event : route->waiting) {
        bury(event, route->info.name, dead_reason::removed);
        --busy;
      }
      route->waiting.clear();
      changed.notify_all();
    }
    if (!closed) resubscribe();
  }
  std::unique_lock hold(lock);
  const std::uint64_t self = goroutine_id();
  changed.wait(hold, [&] {
    return std::all_of(route->running.begin(), route->running.end(),
                       [&](const mux_run& one) { return self != 0 && one.goroutine == self; });
  });
  return true;
}

// (3)
void mux_state::resubscribe() {
  signal_set still;
  {
    const std::lock_guard hold(lock);
    still = wanted();
  }
  if ((subscribed - still).empty()) return;
  const signal_chan next(channel_capacity);
  if (!still.empty()) subscribe(next, still);
  signal_chan old;
  {
    std::unique_lock hold(lock);
    // The dispatcher has only one to go to next.
    changed.wait(hold, [&] { return !next_channel; });
    old = channel;
    next_channel = next;
  }
  old.close();
  subscribed = still;
  std::unique_lock hold(lock);
  changed.wait(hold, [&] { return channel == next; });
}

void mux_state::close() {
  {
    const std::lock_guard one(changes);
    if (closed) return;
    closed = true;
    channel.close();
  }
  std::unique_lock hold(lock);
  changed.wait(hold, [&] { return drained && busy == 0; });
  for (auto& [name, route] : routes) route->removed = true;  // ends pinned threads
  changed.notify_all();
  hold.unlock();
  dispatcher.join();
  goroutines.wait();
  log.close();
}

// ---------------------------------------------------------------------------------- the dispatcher

void mux_state::dispatch_all() {
  std::uint64_t last = 0;  // sequence
  for (;;) {
    signal_chan from;
    {
      const std::lock_guard hold(lock);
      from = channel;
    }
    const std::uint64_t handled_before = last;
    for (const signal_event& event : from) {
      if (event.sequence != 0 && event.sequence <= handled_before) continue;
      last = std::max(last, event.sequence);
      dispatch(event);
    }
    const std::lock_guard hold(lock);
    if (!next_channel) {
      drained = true;
      changed.notify_all();
      return;
    }
    channel = std::exchange(next_channel, signal_chan());
    changed.notify_all();
  }
}

void mux_state::dispatch(const signal_event& event) {
  const std::lock_guard hold(lock);
  const clock::time_point now = clock::now();
  bool has_route = false;
  for (auto& [name, route] : routes) {
    if (!route->info.signals.has(event.signo)) continue;
    has_route = true;
    const route_options& how = route->info.options;
    if (how.rate.events != 0) {
      if (now - route->window_began >= how.rate.per) {
        route->window_began = now;
        route->in_window = 0;
      }
      if (route->in_window >= how.rate.events) {
        ++route->info.limited;
        bury(event, name, dead_reason::rate_limited);
        continue;
      }
      ++route->in_window;
    }
    if (route->waiting.size() >= how.waiting_max) {
      ++route->info.full;
      bury(event, name, dead_reason::waiting_full);
      continue;
    }
    route->waiting.push_back(event);
    ++busy;
  }
  if (!has_route) bury(event, {}, dead_reason::no_handler);
  start_due();
}

void mux_state::bury(const signal_event& event, const std::string& route, dead_reason reason,
                     std::string failure) {
  ++dead_count;
  dead.push_back({event, route, reason, std::move(failure)});
  if (dead.size() > dead_max) dead.pop_front();
}

// ------------------------------------------------------------------------------------ what may run

// The route whose turn it is: the highest priority, and of equal ones the oldest event.
std::shared_ptr<mux_route> mux_state::next_due() {
  std::shared_ptr<mux_route> best;
  for (const auto& [name, route] : routes) {
    const route_options& how = route->info.options;
    if (route->waiting.empty() || route->running.size() >= how.concurrency) continue;
    if (how.pinned && route->has_thread) continue;  // takes its events itself
    if (counts(*route) && running >= options.running_max) continue;
    if (best == nullptr || how.priority > best->info.options.priority ||
        (how.priority == best->info.options.priority &&
         route->waiting.front().sequence < best->waiting.front().sequence)) {
      best = route;
    }
  }
  return best;
}

void mux_state::start_due() {
  while (const std::shared_ptr<mux_route> route = next_due()) start(route);
  changed.notify_all();
}

void mux_state::start(const std::shared_ptr<mux_route>& route) {
  goroutines.add();
  const std::string name = route->info.name;
  if (route->info.options.pinned) {
    route->has_thread = true;
    go({.name = name}, [self = shared_from_this(), route] {
      const at_end leave([&] { self->goroutines.done(); });
      self->run_pinned(route);
    });
    return;
  }
  const signal_event event = route->waiting.front();
  route->waiting.pop_front();
  const bool counted = counts(*route);
  if (counted) ++running;
  const auto place = route->running.insert(route->running.end(), {0, clock::now()});
  go({.name = name},
     [self = shared_from_this(), route, event, counted, place, call = route->call]() mutable {
       const at_end leave([&] {
         call = nullptr;  // (4)
         self->goroutines.done();
       });
       self->run(route, event, call, place);
       const std::lock_guard hold(self->lock);
       if (counted) --self->running;
       self->start_due();
     });
}

void mux_state::run_pinned(const std::shared_ptr<mux_route>& route) {
  lock_os_thread();
  std::unique_lock hold(lock);
  for (;;) {
    changed.wait(hold, [&] { return !route->waiting.empty() || route->removed; });
    if (route->waiting.empty()) break;
    const signal_event event = route->waiting.front();
    route->waiting.pop_front();
    const auto place = route->running.insert(route->running.end(), {0, clock::now()});
    std::shared_ptr<mux_function> call = route->call;
    hold.unlock();
    run(route, event, call, place);
    call = nullptr;
    hold.lock();
  }
  hold.unlock();
  unlock_os_thread();
}

void mux_state::run(const std::shared_ptr<mux_route>& route, const signal_event& event,
                    const std::shared_ptr<mux_function>& call, std::list<mux_run>::iterator place) {
  std::chrono::nanoseconds limit{};
  std::string name;
  {
    const std::lock_guard hold(lock);
    place->goroutine = goroutine_id();
    limit = route->info.options.timeout;
    name = route->info.name;
  }
  context ctx;
  timer late;
  std::optional<cancelable> limited;
  if (limit.count() != 0) {
    limited.emplace(with_timeout(ctx, limit));
    ctx = limited->ctx;
    // Nobody but this knows: the handler may never return.
    late = after_func(limit, [self = shared_from_this(), route, name, limit, signo = event.signo] {
      {
        const std::lock_guard hold(self->lock);
        ++route->info.late;
      }
      self->log.write("mux: " + name + " has had " + describe(limit) + " for " +
                      std::string(signal_name(signo)) + ", and still runs");
    });
  }
  bool failed = false;
  std::string failure;
  try {
    (*call)(event, ctx);
  } catch (const std::exception& error) {
    failed = true;
    failure = error.what();
    log.write("mux: " + name + " failed on " + std::string(signal_name(event.signo)) + ": " +
              failure);
  }
  if (limit.count() != 0) late.stop();
  const std::lock_guard hold(lock);
  ++(failed ? route->info.failed : route->info.handled);
  if (failed) bury(event, name, dead_reason::failed, std::move(failure));
  route->running.erase(place);
  --busy;
  changed.notify_all();
}

}  // namespace service

// ------------------------------------------------------------------------------------- the handle

signal_mux::signal_mux(mux_options options) : state_(std::make_shared<state>(std::move(options))) {
  state_->dispatcher = sigrun::go({.name = "mux"}, [self = state_] { self->dispatch_all(); });
}

signal_mux::~signal_mux() { close(); }

void signal_mux::add(std::string name, std::initializer_list<int> signos, function f,
                     const route_options& options) {
  signal_set signals;
  for (const int signo : signos) {
    if (!signal_set::valid(signo)) {
      throw std::invalid_argument("sigrun::signal_mux: handler \"" + name +
                                  "\": " + std::to_string(signo) + " is no signal");
    }
    signals |= signal_set::of(signo);
  }
  if (signals.empty()) {
    throw std::invalid_argument("sigrun::signal_mux: handler \"" + name + "\" has no signal");
  }
  state_->add(std::move(name), signals, std::move(f), options);
}

bool signal_mux::remove(std::string_view name) { return state_->remove(name); }

std::vector<route_info> signal_mux::table() const {
  std::vector<route_info> all;
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard hold(state_->lock);
    for (const auto& [name, route] : state_->routes) {
      route_info one = route->info;
      one.waiting = route->waiting.size();
      one.running = route->running.size();
      for (const service::mux_run& run : route->running) {
        one.running_longest = std::max(one.running_longest, now - run.since);
      }
      all.push_back(std::move(one));
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const route_info& a, const route_info& b) {
    return a.options.priority > b.options.priority;
  });
  return all;
}

std::string signal_mux::table_text() const {
  std::string text;
  for (const route_info& one : table()) {
    text += std::to_string(one.options.priority) + " " + one.name + ":";
    for (int signo = 1; signo <= 64; ++signo) {
      if (one.signals.has(signo)) text += " " + std::string(signal_name(signo));
    }
    text += one.options.pinned ? ", pinned" : "";
    text += ", " + std::to_string(one.waiting) + " waiting, " + std::to_string(one.running) +
            " running";
    if (one.running != 0) text += " for " + service::describe(one.running_longest);
    text += ", " + std::to_string(one.handled) + " handled, " + std::to_string(one.failed) +
            " failed, " + std::to_string(one.late) + " late, " +
            std::to_string(one.limited + one.full) + " turned away\n";
  }
  return text;
}

std::vector<dead_letter> signal_mux::dead_letters() const {
  const std::lock_guard hold(state_->lock);
  return {state_->dead.begin(), state_->dead.end()};
}

std::uint64_t signal_mux::dead_letter_count() const noexcept {
  const std::lock_guard hold(state_->lock);
  return state_->dead_count;
}

void signal_mux::close() { state_->close(); }

}  // namespace sigrun
