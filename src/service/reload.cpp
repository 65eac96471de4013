// SPDX-License-Identifier: Apache-2.0
#include "service/believed_ready.hpp"
#include "service/reload_core.hpp"
#include "service/signals.hpp"
#include "service/text.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/systemd.hpp>

#include <csignal>
#include <mutex>
#include <stdexcept>

namespace sigrun {

std::string_view to_string(reload_outcome outcome) noexcept {
  switch (outcome) {
    case reload_outcome::published:
      return "published";
    case reload_outcome::refused:
      return "refused";
    case reload_outcome::rolled_back:
      break;
  }
  return "rolled back";
}

namespace service {
namespace {

constexpr std::size_t senders_max = 64;

// What is wrong, in one line.
std::string one_line(std::string text) {
  for (std::size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at)) {
    text.replace(at, 1, "; ");
  }
  return text;
}

void check(const reload_plan& plan, const reload_options& options) {
  const auto refuse = [](const std::string& what) {
    throw std::invalid_argument("sigrun::reload_options: " + what);
  };
  if (options.settle.count() < 0 || options.settle > std::chrono::hours(1)) {
    refuse("settle is " + describe(options.settle) + "; 0 to an hour");
  }
  if (options.timeout.count() <= 0) refuse("timeout is " + describe(options.timeout));
  if (options.watch && plan.file.empty()) refuse("watch, but " + plan.name + " is no file");
}

}  // namespace

// Something of the program's that runs in a goroutine of its own.
struct reload_core::step {
  std::string failure;
  bool failed = false;
  chan<bool> done{1};
};

reload_core::reload_core(reload_plan plan, reload_options options)
    : plan_(std::move(plan)), options_(std::move(options)) {
  check(plan_, options_);
}

reload_core::~reload_core() {
  for (const reload_sender& one : requests_.take().senders) sys::close(one.pidfd);
}

void reload_core::begin() {
  request("start", false, nullptr);
  const batch start = requests_.take();
  const reload_record made = record_of<reload_record>("start", 1, [this](reload_record&) {
    // Watched before it is read, so that no change falls in between.
    if (options_.watch) watch_.emplace(plan_.file);
    if (options_.watch) last_hash_ = hash_of_file(plan_.file);
    std::shared_ptr<const void> first = plan_.load();
    if (plan_.prepare) plan_.prepare(first.get(), nullptr);
    publish(std::move(first));
    log_.open("reload log", options_.log);
  });
  note(made, start.upto);
}

void reload_core::start_goroutines() {
  const signal_set wanted = service::subscribe(signals_, options_.signals, "reload_options");
  goroutines_.push_back(go({.name = "reload"}, [this] { run(); }));
  if (!wanted.empty()) {
    goroutines_.push_back(go({.name = "reload signals"}, [this] { receive_signals(); }));
  }
  if (watch_) goroutines_.push_back(go({.name = "reload watch"}, [this] { watch_file(); }));
}

void reload_core::stop() noexcept {
  requests_.close();
  try {
    signals_.close();
  } catch (const std::logic_error&) {
    // Closed already: a constructor that failed half-way.
  }
  if (watch_) watch_->close();
  for (goroutine& one : goroutines_) one.join();
  // Its hooks may use what the program destroys next.
  bool done = false;
  if (hung_ != nullptr) hung_->done.recv_until(std::chrono::steady_clock::time_point::max(), done);
  log_.close();
}

// -------------------------------------------------------------------------------------- requests

std::uint64_t reload_core::request(std::string asked_by, bool from_watch,
                                   const reload_sender* sender) {
  bool one_too_many = false;
  const std::uint64_t mine = requests_.add(asked_by, 1, [&](batch& next) {
    if (next.requests != 0 && next.only_watch && !from_watch) next.asked_by = asked_by;
    next.only_watch = next.only_watch && from_watch;
    one_too_many = sender != nullptr && next.senders.size() == senders_max;
    if (sender != nullptr && !one_too_many) next.senders.push_back(*sender);
    return true;
  });
  if (mine == 0) throw std::logic_error("sigrun::reloader: a request while it is being destroyed");
  if (one_too_many) sys::close(sender->pidfd);
  const std::lock_guard hold(lock_);
  stats_.replies_failed += one_too_many ? 1 : 0;
  ++stats_.requests;
  return mine;
}

reload_record reload_core::ask() {
  const auto record = requests_.await(request("call", false, nullptr));
  if (!record) throw std::logic_error("sigrun::reloader: destroyed during a reload()");
  return *record;
}

void reload_core::receive_signals() {
  for (const signal_event& event : signals_) {
    std::string who = service::describe_sender(event);
    // See docs/reload.md, "Answers": the lowest byte is the signal to answer by.
    const int answer = static_cast<int>(event.value_bits & 0xff);
    reload_sender sender;
    if (options_.reply && event.cause == signal_cause::queue && event.pid > 0 &&
        answer >= SIGRTMIN && answer <= SIGRTMAX) {
      const long fd = sys::pidfd_open(event.pid, 0);
      if (sys::failed(fd)) {
        const std::lock_guard hold(lock_);
        ++stats_.replies_failed;
      } else {
        sender = {static_cast<int>(fd), answer,
                  static_cast<std::uint32_t>(event.value_bits >> 8 & 0xffffff)};
      }
    }
    try {
      request(std::move(who), false, sender.pidfd >= 0 ? &sender : nullptr);
    } catch (const std::logic_error&) {
      if (sender.pidfd >= 0) sys::close(sender.pidfd);
      return;  // being destroyed
    }
  }
}

void reload_core::watch_file() {
  while (watch_->wait(options_.settle)) {
    try {
      request("change", true, nullptr);
    } catch (const std::logic_error&) {
      return;
    }
  }
}

// ------------------------------------------------------------------------------------ the runner

void reload_core::run() {
  while (requests_.wait()) {
    const std::lock_guard alone(flight_);
    const batch now = requests_.take();  // (1)
    if (now.only_watch && is_unchanged()) {
      pass_over(now);
    } else {
      const reload_record record = note(attempt(now), now.upto);
      reply(now.senders, record.outcome);
    }
  }
}

reload_record reload_core::attempt(const batch& now) {
  return record_of<reload_record>(now.asked_by, now.requests, [&](reload_record& record) {
    const bool supervised = options_.tell_supervisor && systemd::believed_ready();
    if (supervised) tell([] { systemd::reloading(); });
    record.outcome = try_new_version(record);
    if (supervised && systemd::believed_ready()) tell([] { systemd::ready(); });
  });
}

// What the last attempt said about these bytes stays the last word on them.
void reload_core::pass_over(const batch& now) {
  {
    const std::lock_guard hold(lock_);
    ++stats_.unchanged;
  }
  requests_.pass_over(now.upto);
}

bool reload_core::is_unchanged() {
  const std::optional<std::uint64_t> hash = hash_of_file(plan_.file);
  return hash == last_hash_;
}

reload_outcome reload_core::try_new_version(reload_record& record) {
  if (watch_) last_hash_ = hash_of_file(plan_.file);
  auto loaded = std::make_shared<std::shared_ptr<const void>>();
  const bool good = run_limited(
      [this, loaded, now = current_.value] {
        *loaded = plan_.load();
        if (plan_.prepare) plan_.prepare(loaded->get(), now.get());
      },
      record.failure);
  if (!good) return reload_outcome::refused;
  const version before = current_;
  publish(*loaded);
  const auto adapt = [this](std::shared_ptr<const void> now, std::shared_ptr<const void> old) {
    return [this, now, old] { plan_.changed(now.get(), old.get()); };
  };
  if (!plan_.changed || run_limited(adapt(current_.value, before.value), record.failure)) {
    keep(before);
    return reload_outcome::published;
  }
  const std::shared_ptr<const void> bad = current_.value;
  publish(before.value);
  std::string again;
  if (!run_limited(adapt(before.value, bad), again)) record.failure += "; back: " + again;
  return reload_outcome::rolled_back;
}

// False, and why: it threw, or is late.
bool reload_core::run_limited(std::function<void()> what, std::string& failure) {
  bool done = false;
  if (hung_ != nullptr) {
    if (!hung_->done.try_recv(done)) {
      failure = "an earlier attempt has still not returned";
      return false;
    }
    hung_ = nullptr;
  }
  const auto made = std::make_shared<step>();
  go({.name = "reload step", .stack_size = std::size_t{256} << 10},
     [made, what = std::move(what)]() mutable {
       const at_end tell([&] {
         what = nullptr;
         made->done.try_send(true);
       });
       try {
         what();
       } catch (const std::exception& error) {
         made->failed = true;
         made->failure = error.what();
       }
     });
  if (made->done.recv_for(options_.timeout, done) != chan_status::ok) {
    hung_ = made;
    failure = "has not returned after " + describe(options_.timeout);
    return false;
  }
  failure = std::move(made->failure);
  return !made->failed;
}

void reload_core::publish(std::shared_ptr<const void> value) {
  current_ = {++last_number_, value};
  plan_.publish(std::move(value), last_number_);
}

void reload_core::keep(version old) {
  older_.push_back(std::move(old));
  while (older_.size() > options_.keep) older_.pop_front();
}

reload_record reload_core::roll_back() {
  const std::lock_guard alone(flight_);
  const auto back = [this](reload_record& record) {
    if (older_.empty()) {
      record.outcome = reload_outcome::refused;
      record.failure = "no older version is kept";
      return;
    }
    const version bad = current_;
    publish(older_.back().value);
    older_.pop_back();
    record.outcome = reload_outcome::rolled_back;
    if (!plan_.changed) return;
    run_limited(
        [this, now = current_.value, old = bad.value] { plan_.changed(now.get(), old.get()); },
        record.failure);
  };
  return note(record_of<reload_record>("rollback", 1, back), 0);
}

// ----------------------------------------------------------------------------------- its account

reload_record reload_core::note(reload_record record, std::uint64_t upto) {
  record.attempt = ++attempts_;
  record.version = current_.number;
  std::string line = "reload: ";
  switch (record.outcome) {
    case reload_outcome::published:
      line += "version " + std::to_string(record.version) + " of " + plan_.name;
      break;
    case reload_outcome::rolled_back:
      line += "rolled back, version " + std::to_string(record.version) + " of " + plan_.name +
              " is an older one";
      break;
    default:
      line += std::string(to_string(record.outcome)) + ", version " +
              std::to_string(record.version) + " of " + plan_.name + " stays";
  }
  line += " (" + record.asked_by + ", " + std::to_string(record.requests) +
          (record.requests == 1 ? " request, " : " requests, ") + describe(record.took) + ")";
  if (!record.failure.empty()) line += ": " + one_line(record.failure);
  log_.write(line);
  if (!record.failure.empty() && options_.tell_supervisor) tell([&] { systemd::status(line); });

  {
    const std::lock_guard hold(lock_);
    ++stats_.attempts;
    stats_.published += record.outcome == reload_outcome::published ? 1 : 0;
    stats_.refused += record.outcome == reload_outcome::refused ? 1 : 0;
    stats_.rolled_back += record.outcome == reload_outcome::rolled_back ? 1 : 0;
  }
  requests_.note(record, upto);
  return record;
}

void reload_core::reply(const std::vector<reload_sender>& senders, reload_outcome outcome) {
  for (const reload_sender& one : senders) {
    siginfo_t info{};
    info.si_signo = one.signo;
    info.si_code = SI_QUEUE;
    info.si_pid = sys::getpid();
    info.si_uid = sys::getuid();
    info.si_value.sival_int =
        static_cast<int>(one.token << 8 | static_cast<std::uint32_t>(outcome));
    const long result = sys::pidfd_send_signal(one.pidfd, one.signo, &info, 0);
    sys::close(one.pidfd);
    const std::lock_guard hold(lock_);
    ++(sys::failed(result) ? stats_.replies_failed : stats_.replies_sent);
  }
}

void reload_core::tell(const std::function<void()>& what) noexcept {
  try {
    what();
  } catch (const std::exception& error) {
    log_.write(std::string("reload: the supervisor does not hear: ") + error.what());
  }
}

std::vector<reload_record> reload_core::history() const { return requests_.history(); }

reload_stats reload_core::stats() const {
  const std::lock_guard hold(lock_);
  return stats_;
}

// ------------------------------------------------------------------------------ for the template

std::shared_ptr<reload_core> start_reload(reload_plan plan, reload_options options) {
  auto core = std::make_shared<reload_core>(std::move(plan), std::move(options));
  core->begin();
  try {
    core->start_goroutines();
  } catch (...) {
    core->stop();
    throw;
  }
  return core;
}
void stop_reload(reload_core& core) noexcept { core.stop(); }
reload_record ask_reload(reload_core& core) { return core.ask(); }
reload_record ask_rollback(reload_core& core) { return core.roll_back(); }
std::vector<reload_record> history_of(const reload_core& core) { return core.history(); }
reload_stats stats_of(const reload_core& core) { return core.stats(); }

}  // namespace service
}  // namespace sigrun
