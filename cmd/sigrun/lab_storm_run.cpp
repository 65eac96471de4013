// SPDX-License-Identifier: Apache-2.0
#include "lab_storm_run.hpp"

#include "sys/clock.hpp"
#include "sys/signal.hpp"

#include <sigrun/time.hpp>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

signal_chan subscribe(signal_set signals) {
  signal_chan events(256);
  notify_options options;
  options.full = overflow::unbounded;
  options.unbounded_max = 1U << 22;
  notify(events, signals, options);
  return events;
}

pid_t start_stranger(storm_page& page, std::uint64_t seed) {
  const pid_t self = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != self) ::_exit(1);
  ::_exit(stranger(page, self, seed));
}

void subscribe_policies(storm& in, pid_t denied) {
  const auto add = [&in](book_id id, std::size_t room, const notify_options& options) {
    policy_book& made = in.policies.emplace_back();
    made.id = id;
    made.events = signal_chan(room);
    notify(made.events, {traffic::judged}, options);
  };
  notify_options options;
  add(book_id::drop_newest, 8, options);
  options.full = overflow::drop_oldest;
  add(book_id::drop_oldest, 8, options);
  options.full = overflow::coalesce;
  add(book_id::coalesce, 8, options);
  options.full = overflow::unbounded;
  options.senders = {{.then = verdict::deny, .pids = {denied}}};
  add(book_id::deny, 8, options);
  options.senders = {};
  options.rate = {.events = 20, .per = 5ms};
  add(book_id::rate, 8, options);
}

void start_actors(storm& in) {
  in.start_thread("queue-bursts", queue_in_bursts);
  in.start_goroutine("queue-go", queue_in_bursts);
  in.start_goroutine("queue-single", queue_one_at_a_time);
  in.start_goroutine("inject", inject_some);
  in.start_thread("aim", aim_at_targets);
  in.start_goroutine("bursts", send_standard_bursts);
  in.start_goroutine("pace-usr1", pace_user1);
  in.start_thread("pace-winch", pace_winch);
  in.start_thread("pace-urg", pace_urgent);
  in.start_thread("flip-send", send_flipped);
  in.start_goroutine("flip-send-go", send_flipped);
  in.start_thread("fork", fork_children);
  in.start_goroutine("fork-go", fork_children);
  in.start_goroutine("spawn", spawn_children);
  in.start_thread("churn", churn_threads);
  constexpr bool takes = false;
  in.start_thread("flip", flip_on_a_thread, takes);
  in.start_goroutine("flip-go", flip_on_a_goroutine, takes);
  in.start_thread("visit", visit_now_and_then, takes);
  in.start_goroutine("visit-go", visit_now_and_then, takes);
  in.start_goroutine("policies", read_policies, takes);
  in.start_thread("blocker-1", block_in_calls, takes);
  in.start_thread("blocker-2", block_in_calls, takes);
  in.start_goroutine("foreign-1", block_in_foreign_calls, takes);
  in.start_goroutine("foreign-2", block_in_foreign_calls, takes);
  in.start_goroutine("compute-1", compute, takes);
  in.start_goroutine("compute-2", compute, takes);
  in.start_thread("doctor", ask_the_doctor, takes);
  in.start_thread("close-open", close_and_open_targets, takes);
}

// With one P the initial thread receives; else it sleeps in a system call, and another receives.
void weather(storm& in, const signal_chan& first, const signal_chan& second) {
  storm_page& page = in.page();
  in.observers.store(2);
  goroutine goes = go({.name = "observer"}, [&in, second] { observe_second(in, second); });
  const bool here = in.options().procs == 1;
  std::thread observer;
  const auto conduct = [&in, &page] {
    const std::int64_t end = sys::now_ns() + std::chrono::nanoseconds{in.options().time}.count();
    while (sys::now_ns() < end && !in.failed()) std::this_thread::sleep_for(5ms);
    page.stage.store(storm_stage::calming);
    in.join_senders();
    page.stage.store(storm_stage::over);
    in.join_rest();
    close_books(in);
  };
  page.stage.store(storm_stage::storming);
  start_actors(in);
  if (here) {
    observer = std::thread{conduct};
    observe_first(in, first);
  } else {
    observer = std::thread{[&in, first] { observe_first(in, first); }};
    conduct();
  }
  observer.join();
  goes.join();
}

}  // namespace

int run_storm(const storm_options& options, storm_page& page) {
  const pid_t other = start_stranger(page, options.seed * 31 + 7);
  if (other < 0) throw std::system_error(errno, std::system_category(), "fork");
  install_base();
  configure_signals({.isolate = options.isolate, .way = options.way, .queue_capacity = 64});
  max_procs(options.procs);
  storm in(options, page);
  const signal_chan first = subscribe(traffic::observed);
  const signal_chan second = subscribe(traffic::observed);
  subscribe_policies(in, other);
  weather(in, first, second);
  int status = 0;
  while (::waitpid(other, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) in.fail("the sender from outside failed");
  return in.failed() ? 1 : 0;
}

// ------------------------------------------------------------------------------------------- storm

storm::storm(const storm_options& options, storm_page& page)
    : start_mask(sys::current_mask()), options_(options), page_(page) {
  order.reserve(1U << 20);
}

storm::employed& storm::employ(const char* name, bool sends) {
  const unsigned id = page_.actors.fetch_add(1);
  actor_note& note = page_.notes[id];
  std::strncpy(note.name.data(), name, note.name.size() - 1);
  return employed_.emplace_back(employed{actor(*this, id, mix(options_.seed) + id), sends});
}

void storm::run(employed& who, actor_body body) noexcept {
  try {
    body(who.self);
  } catch (const std::exception& problem) {
    const actor_note& note = page_.notes[who.self.id()];
    fail(std::string{note.name.data()} + ": " + problem.what());
  }
  page_.notes[who.self.id()].ended.store(true);
}

void storm::start_thread(const char* name, actor_body body, bool sends) {
  employed& who = employ(name, sends);
  who.thread = std::thread{[this, &who, body] { run(who, body); }};
}

void storm::start_goroutine(const char* name, actor_body body, bool sends) {
  employed& who = employ(name, sends);
  who.go = go({.name = name}, [this, &who, body] { run(who, body); });
}

void storm::join(bool sends) {
  for (employed& who : employed_) {
    if (who.sends != sends) continue;
    if (who.thread.joinable()) who.thread.join();
    if (who.go.joinable()) who.go.join();
  }
}
void storm::join_senders() { join(true); }
void storm::join_rest() { join(false); }

// They look every 20 ms, and end by themselves.
void storm::wait_for_observers() noexcept {
  while (observers.load() != 0) sleep_for(2ms);
}

void storm::fail(const std::string& what) {
  const std::lock_guard hold{failing_};
  failed_.store(true);
  const std::size_t used = std::strlen(page_.failures.data());
  const std::string line = what + "\n";
  if (used + line.size() < page_.failures.size()) {
    std::memcpy(page_.failures.data() + used, line.c_str(), line.size() + 1);
  }
}

// ------------------------------------------------------------------------------------------- actor

bool actor::more() noexcept {
  in_.page().notes[id_].rounds.fetch_add(1);
  return in_.storming();
}

bool actor::room() noexcept {
  while (in_.page().under_way.load() > window) {
    if (!in_.storming()) return false;
    sleep_for(200us);
  }
  return in_.storming();
}

void actor::breathe() noexcept {
  switch (dice_.below(8)) {
    case 0:
      sleep_for(std::chrono::microseconds{dice_.below(1000)});
      break;
    case 1:
    case 2:
      sleep_for(std::chrono::microseconds{dice_.below(50)});
      break;
    default:
      yield();
  }
}

void actor::entered(int signo, std::uint64_t value) noexcept {
  ledger_line& line = in_.page().sent[signo];
  line.count.fetch_add(1);
  line.sum.fetch_add(mix(value));
  in_.page().under_way.fetch_add(1);
}

void actor::queue(int signo) noexcept {
  const std::uint64_t value = value_of(id_, sent_ + 1);
  std::error_code error;
  send(::getpid(), signo, value, error);
  if (error) {
    in_.page().refused.fetch_add(1);
    return;
  }
  ++sent_;
  entered(signo, value);
}

void actor::aim(int tid) noexcept {
  const std::uint64_t value = value_of(id_, sent_ + 1);
  std::error_code error;
  send_thread(tid, traffic::aimed, value, error);
  if (error) {
    in_.page().refused.fetch_add(1);
    return;
  }
  ++sent_;
  entered(traffic::aimed, value);
}

void actor::inject() noexcept {
  const std::uint64_t value = value_of(id_, sent_ + 1);
  if (!sigrun::inject(traffic::injected, value)) {
    in_.page().refused.fetch_add(1);
    return;
  }
  ++sent_;
  entered(traffic::injected, value);
}

}  // namespace sigrun::cmd::lab
