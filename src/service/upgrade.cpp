// SPDX-License-Identifier: Apache-2.0
//
// The old process: requests, attempts, and what becomes of them.
#include "service/believed_ready.hpp"
#include "service/signals.hpp"
#include "service/text.hpp"
#include "service/upgrade_core.hpp"
#include "sys/file.hpp"

#include <sigrun/go.hpp>
#include <sigrun/select.hpp>
#include <sigrun/signal_names.hpp>
#include <sigrun/time.hpp>

#include <algorithm>
#include <csignal>
#include <stdexcept>

namespace sigrun::service {
namespace {

using namespace std::chrono_literals;

constexpr auto end_time = 1s;  // between the end of a channel and that of its process

void check(const upgrade_options& options) {
  const auto refuse = [](const std::string& what) {
    throw std::invalid_argument("sigrun::upgrade_options: " + what);
  };
  if (options.timeout.count() <= 0) refuse("timeout is " + std::to_string(options.timeout.count()));
  if (options.kill_grace.count() < 0) {
    refuse("kill_grace is " + std::to_string(options.kill_grace.count()) + " ns");
  }
  if (!options.arguments.empty() && options.arguments[0].empty()) refuse("arguments[0] is empty");
  for (const std::string& one : options.environment) {
    if (one.find('=') == std::string::npos) {
      refuse("environment has \"" + one + "\", which is not NAME=value");
    }
  }
}

std::string how_it_ended(const process::exit_status& status) {
  if (status.signal != 0) return "was killed by " + std::string(signal_name(status.signal));
  return "ended with exit status " + std::to_string(status.code);
}

void fail(upgrade_record& record, upgrade_failure failure, std::string what) {
  record.outcome = upgrade_outcome::rolled_back;
  record.failure = failure;
  record.what = std::move(what);
}

}  // namespace

// What an attempt has.
struct upgrade_core::flight {
  explicit flight(const context& over) : ends(with_cancel(over)) {}
  std::int64_t deadline = 0;
  process::job child;
  upgrade_channel channel;
  bool takes_connections = false;
  cancelable ends;  // with the service, with the upgrader, with the child
  chan<process::exit_status> ended{1};
  goroutine watcher;
};

upgrade_core::upgrade_core(graceful_state& life, upgrade_options options)
    : life_(life),
      options_(std::move(options)),
      command_(options_.arguments.empty() ? start_command() : options_.arguments) {
  check(options_);
}

upgrade_core::~upgrade_core() {
  for (const passed& one : ours_) {
    if (one.fd >= 0) sys::close(one.fd);
  }
  for (const passed& one : inherited_) sys::close(one.fd);
  if (before_pidfd_ >= 0) sys::close(before_pidfd_);
}

void upgrade_core::start_goroutines() {
  log_.open("upgrade log", options_.log);
  const signal_set wanted = service::subscribe(signals_, options_.signals, "upgrade_options");
  goroutines_.push_back(go({.name = "upgrade"}, [this] { run(); }));
  if (!wanted.empty()) {
    goroutines_.push_back(go({.name = "upgrade signals"}, [this] { receive_signals(); }));
  }
}

void upgrade_core::stop() noexcept {
  requests_.close();
  gone_.cancel();
  {
    const std::lock_guard hold(lock_);
    changed_.notify_all();  // who waits for the predecessor
  }
  // After a hand-over the signals stay: one that comes late must not kill what still drains.
  if (!handed_on_.load()) signals_.close();
  for (goroutine& one : goroutines_) one.join();
  if (arrived_ && !in_charge_.load() && !handed_on_.load()) {
    before_.send({.word = upgrade_word::failed, .text = "it has ended before it was ready"});
  }
  log_.close();
}

// -------------------------------------------------------------------------------------- the end

void upgrade_core::leaving() {
  over_.cancel();
  const std::lock_guard hold(lock_);
  changed_.notify_all();  // who waits for the predecessor
  copies_ = false;
  for (passed& one : ours_) {
    if (one.fd >= 0) sys::close(std::exchange(one.fd, -1));  // (6)
  }
}

void upgrade_core::refuse() {
  if (life_.successor.load() != 0 || !in_charge_.load()) return;  // the paths are somebody else's
  const std::lock_guard hold(lock_);
  for (const passed& one : ours_) {
    if (!one.path.empty()) sys::call(SYS_unlinkat, AT_FDCWD, one.path.c_str(), 0);
  }
}

// -------------------------------------------------------------------------------------- requests

// 0: too late.
std::uint64_t upgrade_core::request(std::string asked_by, std::uint64_t count) {
  const std::uint64_t mine = requests_.add(
      asked_by, count, [this](flight_batch&) { return in_charge_.load() && !over_.ctx.ended(); });
  bool first_late = false;
  {
    const std::lock_guard hold(lock_);
    stats_.requests += count;
    first_late = mine == 0 && stats_.too_late == 0;
    stats_.too_late += mine == 0 ? count : 0;
  }
  if (first_late) {
    const int next = life_.successor.load();
    log_.write("upgrade: " + asked_by + " comes too late; " +
               (next != 0            ? "pid " + std::to_string(next) + " is in charge"
                : !in_charge_.load() ? std::string("this process is not in charge yet")
                                     : std::string("the service ends")));
  }
  return mine;
}

upgrade_record upgrade_core::ask() {
  if (const std::uint64_t mine = request("call", 1); mine != 0) {
    if (auto record = requests_.await(mine)) return std::move(*record);
  }
  upgrade_record late;
  late.asked_by = "call";
  late.at = std::chrono::system_clock::now();
  return late;
}

void upgrade_core::receive_signals() {
  const done_chan gone = gone_.ctx.done();
  for (;;) {
    signal_event event;
    chan_status status = chan_status::ok;
    if (select(recv_case(signals_, event, status), recv_case(gone)) == 1) return;
    if (status == chan_status::closed) return;
    request(service::describe_sender(event), 1);
  }
}

void upgrade_core::run() {
  while (requests_.wait()) {
    flight_batch now = requests_.take();  // (4)
    upgrade_record record =
        record_of<upgrade_record>(now.asked_by, now.requests, [&](upgrade_record& made) {
          try {
            try_upgrade(made, now);
          } catch (...) {
            // No memory or no descriptors for what is needed here.
            fail(made, upgrade_failure::not_started, what_of_current_exception());
          }
        });
    note(std::move(record), now.upto);
  }
}

// -------------------------------------------------------------------------------------- attempts

void upgrade_core::try_upgrade(upgrade_record& record, flight_batch& asked) {
  if (!await_predecessor(record)) return;
  const bool supervised = options_.tell_supervisor && systemd::believed_ready();
  if (supervised) tell([] { systemd::reloading(); });
  flight now(over_.ctx);
  now.deadline = detail::deadline_in(options_.timeout);
  const at_end settle([&] {
    now.ends.cancel();
    if (now.watcher.joinable()) now.watcher.join();
  });
  if (launch(now, record) && hear(now, upgrade_word::ready, record) && still_serving(now, record) &&
      hear(now, upgrade_word::serving, record)) {
    record.outcome = upgrade_outcome::upgraded;
    hand_on(now, asked);
    return;
  }
  roll_back(now, record);
  if (supervised && systemd::believed_ready()) tell([] { systemd::ready(); });
}

bool upgrade_core::await_predecessor(upgrade_record& record) {
  if (predecessor_.load() != 0) {
    log_.write("upgrade: waits for pid " + std::to_string(predecessor_.load()) +
               ", which still drains");
  }
  std::unique_lock hold(lock_);
  const auto until = clock::now() + options_.timeout;
  changed_.wait_until(hold, until, [&] { return predecessor_.load() == 0 || over_.ctx.ended(); });
  if (over_.ctx.ended()) {
    fail(record, upgrade_failure::stopping, "the service is told to stop");
    return false;
  }
  if (predecessor_.load() == 0) return true;
  fail(record, upgrade_failure::predecessor,
       "pid " + std::to_string(predecessor_.load()) + " still drains");
  return false;
}

bool upgrade_core::launch(flight& now, upgrade_record& record) {
  const auto [ours, theirs] = upgrade_channel::make_pair();
  const at_end close_theirs([fd = theirs] { sys::close(fd); });
  now.channel = upgrade_channel(ours);
  try {
    {
      const std::lock_guard hold(lock_);
      bool sent = now.channel.send(
          {.word = upgrade_word::hello, .number = static_cast<std::uint32_t>(ours_.size())});
      for (const passed& one : ours_) {
        sent = sent && now.channel.send({.word = upgrade_word::listener,
                                         .number = one.from_supervisor ? from_supervisor : 0,
                                         .text = one.name + '\0' + one.path,
                                         .fd = one.fd});
      }
      if (!sent) throw std::runtime_error("the listeners cannot be passed");
    }
    process::start_options how;
    how.spawn.environment = environment_for_successor(options_.environment);
    how.spawn.environment.push_back("SIGRUN_UPGRADE=" + std::to_string(theirs));
    how.spawn.inherit_environment = false;
    how.spawn.search_path = false;
    how.spawn.files = {{theirs, theirs}};
    now.child = process::start(command_, how);
  } catch (const std::exception& failure) {
    fail(record, upgrade_failure::not_started, failure.what());
    return false;
  }
  record.pid = now.child.pid();
  now.watcher = go({.name = "upgrade watcher"}, [&now] {
    try {
      if (const auto status = now.child.wait(now.ends.ctx)) now.ended.try_send(*status);
    } catch (const std::system_error&) {
      now.ended.try_send({});  // somebody else has taken its status
    }
    now.ends.cancel();
  });
  return true;
}

// Whether the new one says that word, in time.
bool upgrade_core::hear(flight& now, upgrade_word wanted, upgrade_record& record) {
  upgrade_message message;
  switch (now.channel.receive(message, now.deadline, &now.ends.ctx)) {
    case heard::message:
      if (message.fd >= 0) sys::close(message.fd);
      if (message.word == upgrade_word::ready) {
        now.takes_connections = (message.number & takes_connections) != 0;
      }
      if (message.word == wanted) return true;
      if (message.word == upgrade_word::failed) {
        fail(record, upgrade_failure::refused, message.text);
      } else {
        fail(record, upgrade_failure::protocol, "it says something out of turn");
      }
      return false;
    case heard::garbage:
      fail(record, upgrade_failure::protocol, message.text);
      return false;
    case heard::timed_out:
      fail(record, upgrade_failure::timed_out,
           (wanted == upgrade_word::ready ? "it was not ready after "
                                          : "it was not in charge after ") +
               describe(options_.timeout));
      return false;
    case heard::closed:
    case heard::canceled:
      explain_end(now, record);
  }
  return false;
}

void upgrade_core::explain_end(flight& now, upgrade_record& record) {
  if (over_.ctx.ended()) {
    return fail(record, upgrade_failure::stopping, "the service is told to stop");
  }
  process::exit_status status;
  if (now.ended.recv_for(end_time, status) != chan_status::ok) {
    return fail(record, upgrade_failure::protocol, "it has closed the channel, and runs on");
  }
  // Its last words.
  upgrade_message message;
  while (now.channel.receive(message, detail::do_not_wait, nullptr) == heard::message) {
    if (message.fd >= 0) sys::close(message.fd);
    if (message.word == upgrade_word::failed) {
      return fail(record, upgrade_failure::refused, message.text);
    }
  }
  fail(record, upgrade_failure::ended, "it " + how_it_ended(status));
}

// The last look before GO.
bool upgrade_core::still_serving(flight& now, upgrade_record& record) {
  if (options_.check) {
    bool done = false;
    if (hung_check_ != nullptr && !hung_check_->try_recv(done)) {
      fail(record, upgrade_failure::check, "an earlier check has still not returned");
      return false;
    }
    const auto returned = std::make_shared<chan<bool>>(1);
    const auto failure = std::make_shared<std::string>();
    go({.name = "upgrade check"}, [returned, failure, call = options_.check] {
      const at_end tell([&] { returned->try_send(true); });
      try {
        call();
      } catch (...) {
        *failure = "it threw: " + what_of_current_exception();
      }
    });
    const auto left = std::chrono::nanoseconds(now.deadline - detail::now_ns());
    const bool in_time = returned->recv_for(left, done) == chan_status::ok;
    hung_check_ = in_time ? nullptr : returned;
    if (!in_time || !failure->empty()) {
      fail(record, upgrade_failure::check, in_time ? *failure : "it has not returned in time");
      return false;
    }
  }
  if (!over_.ctx.ended() && now.channel.send({.word = upgrade_word::go})) return true;
  explain_end(now, record);
  return false;
}

void upgrade_core::roll_back(flight& now, const upgrade_record& record) {
  now.channel.send({.word = upgrade_word::back, .text = record.what});
  now.ends.cancel();
  if (now.watcher.joinable()) now.watcher.join();
  if (now.child.pid() == 0) return;
  try {
    now.child.stop(options_.kill_grace, SIGTERM);
  } catch (const std::system_error&) {
    // Somebody else has taken its status: it is gone.
  }
}

void upgrade_core::hand_on(flight& now, flight_batch& asked) {
  const int pid = now.child.pid();
  const flight_batch rest = requests_.take([this] {
    handed_on_.store(true);
    in_charge_.store(false);  // so nothing more is taken on
  });
  asked.upto = rest.upto;  // (4)
  const std::uint64_t pending = rest.requests;
  {
    const std::lock_guard hold(lock_);
    stats_.passed_on += pending;
  }
  now.channel.send(
      {.word = upgrade_word::leaving,
       .number = static_cast<std::uint32_t>(std::min<std::uint64_t>(pending, 1u << 31))});
  after_ = std::move(now.channel);
  if (now.takes_connections) {
    const std::lock_guard hold(life_.passing);
    life_.pass = [core = weak_from_this()](const std::string& name, int fd) {
      const auto alive = core.lock();
      return alive && alive->pass_connection(name, fd);
    };
  }
  if (options_.tell_supervisor && systemd::believed_ready()) {
    const std::string text = std::to_string(pid);
    tell([&] {
      systemd::notify("MAINPID=" + text + "\nREADY=1\nSTATUS=upgraded, pid " + text +
                      " is in charge");
    });
  }
  systemd::believe_ready(false);
  life_.hand_on(pid);
}

bool upgrade_core::pass_connection(const std::string& name, int fd) {
  // The successor takes one after the other, and what the kernel holds for it meanwhile is bounded.
  for (int i = 0; i < 200; ++i) {
    if (after_.send({.word = upgrade_word::connection, .text = name, .fd = fd})) {
      const std::lock_guard hold(lock_);
      ++stats_.connections_passed;
      return true;
    }
    sleep_for(5ms);
  }
  return false;
}

// ----------------------------------------------------------------------------------- its account

void upgrade_core::note(upgrade_record record, std::uint64_t upto) {
  const std::string new_one =
      record.pid != 0 ? "pid " + std::to_string(record.pid) : "\"" + command_[0] + "\"";
  const bool upgraded = record.outcome == upgrade_outcome::upgraded;
  std::string line = "upgrade: ";
  if (upgraded) {
    line += new_one + " is in charge";
  } else {
    line += "rolled back (" + std::string(to_string(record.failure)) + "), " + new_one + ": " +
            record.what;
  }
  line += " (" + record.asked_by + ", " + std::to_string(record.requests) +
          (record.requests == 1 ? " request, " : " requests, ") + describe(record.took) + ")";
  log_.write(line);
  if (!upgraded && options_.tell_supervisor && systemd::believed_ready()) {
    tell([&] { systemd::status(line); });
  }
  {
    const std::lock_guard hold(lock_);
    record.attempt = ++stats_.attempts;
    ++(upgraded ? stats_.upgraded : stats_.rolled_back);
    if (!upgraded) ++stats_.by_failure[static_cast<std::size_t>(record.failure)];
  }
  requests_.note(std::move(record), upto);
}

void upgrade_core::tell(const std::function<void()>& what) noexcept {
  try {
    what();
  } catch (...) {
    log_.write("upgrade: the supervisor does not hear: " + what_of_current_exception());
  }
}

std::vector<upgrade_record> upgrade_core::history() const { return requests_.history(); }

upgrade_stats upgrade_core::stats() const {
  const std::lock_guard hold(lock_);
  return stats_;
}

}  // namespace sigrun::service
