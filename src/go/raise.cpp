// SPDX-License-Identifier: Apache-2.0
//
// What is raised for a goroutine, and its handlers. The queue and its rules are sched/raise.hpp.
#include "go/raise.hpp"

#include <sigrun/raise.hpp>

#include "sched/clock.hpp"
#include "sched/machine.hpp"
#include "sched/raise.hpp"
#include "sched/sched.hpp"
#include "sys/signal.hpp"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

namespace sigrun {

/// The handlers of a goroutine: a list from the youngest on, in its inbox.
struct raise_access {
  static raise_handler* first(const sched::inbox& mail) noexcept {
    return static_cast<raise_handler*>(mail.handlers);
  }
  static void publish(sched::inbox& mail) noexcept {
    signal_set all;
    for (const raise_handler* one = first(mail); one != nullptr; one = one->outer_) {
      all |= one->signos_;
    }
    mail.set_handled(all.bits());
  }
  static void call(const sched::inbox& mail, const signal_event& event) {
    for (raise_handler* one = first(mail); one != nullptr; one = one->outer_) {
      if (one->signos_.has(event.signo)) return one->run_(event);
    }
  }
};

namespace {

using sched::g;
using sched::inbox;

constexpr auto refused_signals = signal_set::of(SIGKILL, SIGSTOP, 32, 33);
static_assert(sizeof(std::exception_ptr) == sizeof(void*));

inbox* as_inbox(void* p) noexcept { return static_cast<inbox*>(p); }

void* to_word(std::exception_ptr error) noexcept {
  void* word = nullptr;
  std::memcpy(&word, static_cast<const void*>(&error), sizeof word);
  std::construct_at(&error);  // its reference is the word's now
  return word;
}

std::exception_ptr from_word(const void* word) noexcept {
  std::exception_ptr error;
  std::memcpy(static_cast<void*>(&error), &word, sizeof error);
  return error;
}

// getpid(2), without the system call. A child of vfork(2) or of a bare clone(2) runs no handlers.
class own_pid {
 public:
  static int get() noexcept {
    static const bool hooked = pthread_atfork(nullptr, nullptr, &own_pid::forget) == 0;
    int pid = known.load(std::memory_order_relaxed);
    if (pid != 0) return pid;
    pid = sys::getpid();
    if (hooked) known.store(pid, std::memory_order_relaxed);
    return pid;
  }

 private:
  static void forget() noexcept { known.store(0, std::memory_order_relaxed); }
  static constinit inline std::atomic<int> known{0};
};

signal_event event_of(const sched::raised_record& record, const g& to, std::uint32_t uid) noexcept {
  signal_event event;
  event.signo = record.signo;
  event.code = SI_QUEUE;
  event.cause = signal_cause::raise;
  event.origin = signal_origin::goroutine;
  event.count = record.count;
  event.merged = record.count > 1;
  event.pid = own_pid::get();
  event.uid = uid;
  event.tid = sched::current_machine()->tid;
  event.sequence = record.sequence;
  event.value_bits = record.value;
  event.details.raised = {record.from, to.id};
  event.at.taken = event.at.queued = record.at_ns;
  event.at.dispatched = event.at.received = sched::now_ns();
  return event;
}

/// Handlers do not nest: sched/raise.hpp (5).
class running_handlers {
 public:
  explicit running_handlers(g* gp) noexcept : gp_(gp) { sched::begin_deferral(gp); }
  ~running_handlers() { sched::end_deferral(gp_); }
  running_handlers(const running_handlers&) = delete;
  running_handlers& operator=(const running_handlers&) = delete;

 private:
  g* gp_;
};

void run_handlers(g* gp, inbox& mail) {
  const running_handlers meanwhile(gp);
  sched::raised_record record;
  if (!mail.take(record)) return;
  // It may change by setuid(2) at any moment, so it is kept for one point alone: the system call
  // takes longer than all else here.
  const std::uint32_t uid = sys::getuid();
  do {
    raise_access::call(mail, event_of(record, *gp, uid));
  } while (mail.take(record));
}

// Set as the scheduler's raised runner. An exception may not leave a destructor that blocks while
// its stack is being unwound.
void run_raised_here(bool keep) {
  g* const gp = sched::current_g();
  if (gp == nullptr || gp->deferrals.load(std::memory_order_relaxed) != 0) return;
  inbox& mail = *gp->mail.load(std::memory_order_relaxed);
  keep = keep || std::uncaught_exceptions() != 0;
  if (mail.has_error()) {
    if (!keep) std::rethrow_exception(from_word(mail.take_error()));
    return;
  }
  if (!keep) return run_handlers(gp, mail);
  try {
    run_handlers(gp, mail);
  } catch (...) {
    mail.keep_error(to_word(std::current_exception()));
  }
}

const char* what_is_wrong(int signo) noexcept {
  if (!signal_set::valid(signo)) return " is no signal";
  return refused_signals.has(signo) ? " cannot be handled" : nullptr;
}

void check_signal(const char* who, int signo) {
  if (const char* const wrong = what_is_wrong(signo)) {
    throw std::invalid_argument(std::string(who) + ": " + std::to_string(signo) + wrong);
  }
}

g* this_g(const char* who) {
  g* const gp = sched::current_g();
  if (gp == nullptr) throw std::logic_error(std::string(who) + ": the caller is no goroutine");
  return gp;
}

inbox& need_inbox(g* gp) {
  inbox* const mail = sched::inbox_of(gp);
  if (mail == nullptr) throw std::bad_alloc();
  return *mail;
}

bool raised(const char* who, long result, std::uint64_t id) {
  if (result == 0 || result == -EAGAIN) return result == 0;
  std::string text(who);
  text += ": goroutine " + std::to_string(id);
  if (result == -ESRCH) text += " has ended";
  throw std::system_error(static_cast<int>(-result), std::system_category(), text);
}

bool raised(long result, std::error_code& error) noexcept {
  error.clear();
  if (result != 0 && result != -EAGAIN) {
    error = {static_cast<int>(-result), std::system_category()};
  }
  return result == 0;
}

sched::raised_record record_of(int signo, std::uint64_t value) noexcept {
  sched::raised_record record;
  record.signo = signo;
  record.value = value;
  sched::sign(record);
  return record;
}

raise_stats as_stats(const sched::inbox_counts& counts) noexcept {
  return {.raised = counts.raised,
          .handled = counts.handled,
          .merged = counts.merged,
          .dropped = counts.dropped,
          .dropped_by_exit = counts.dropped_by_exit,
          .waiting = counts.waiting};
}

}  // namespace

namespace go_detail {

void end_raised(g* gp) noexcept {
  inbox* const mail = gp->mail.load(std::memory_order_acquire);
  if (mail == nullptr) return;
  const std::exception_ptr kept = from_word(mail->has_error() ? mail->take_error() : nullptr);
  mail->end();
  if (kept == nullptr || gp->error != nullptr) return;
  // Out of a noexcept function: std::terminate(), with the exception as the current one.
  if (sched::detached(gp)) std::rethrow_exception(kept);
  gp->error = to_word(kept);
}

}  // namespace go_detail

// ------------------------------------------------------------------------------------- raising

bool goroutine::raise(int signo, std::uint64_t value) const {
  constexpr const char* who = "sigrun::goroutine::raise";
  check_signal(who, signo);
  if (g_ == nullptr) throw std::logic_error("sigrun::goroutine::raise: no goroutine");
  return raised(who, sched::raise_to(static_cast<g*>(g_), record_of(signo, value)), id());
}

bool goroutine::raise(int signo, std::uint64_t value, std::error_code& error) const noexcept {
  if (g_ == nullptr || what_is_wrong(signo) != nullptr) return raised(-EINVAL, error);
  return raised(sched::raise_to(static_cast<g*>(g_), record_of(signo, value)), error);
}

goroutine_ref goroutine::ref() const {
  if (g_ == nullptr) throw std::logic_error("sigrun::goroutine::ref: no goroutine");
  inbox& mail = need_inbox(static_cast<g*>(g_));
  mail.share();
  return goroutine_ref(&mail);
}

goroutine_ref this_goroutine() {
  inbox& mail = need_inbox(this_g("sigrun::this_goroutine"));
  mail.share();
  return goroutine_ref(&mail);
}

goroutine_ref::goroutine_ref(const goroutine_ref& other) noexcept : mail_(other.mail_) {
  if (mail_ != nullptr) as_inbox(mail_)->share();
}

void goroutine_ref::clear() noexcept {
  if (mail_ != nullptr) as_inbox(mail_)->drop();
}

std::uint64_t goroutine_ref::id() const noexcept {
  return mail_ != nullptr ? as_inbox(mail_)->owner_id() : 0;
}

bool goroutine_ref::raise(int signo, std::uint64_t value) const {
  constexpr const char* who = "sigrun::goroutine_ref::raise";
  check_signal(who, signo);
  if (mail_ == nullptr) throw std::logic_error("sigrun::goroutine_ref::raise: no goroutine");
  return raised(who, as_inbox(mail_)->raise(record_of(signo, value)), id());
}

bool goroutine_ref::raise(int signo, std::uint64_t value, std::error_code& error) const noexcept {
  if (mail_ == nullptr || what_is_wrong(signo) != nullptr) return raised(-EINVAL, error);
  return raised(as_inbox(mail_)->raise(record_of(signo, value)), error);
}

raise_stats goroutine_ref::stats() const noexcept {
  return mail_ != nullptr ? as_stats(as_inbox(mail_)->counts()) : raise_stats{};
}

raise_stats raised_stats() noexcept { return as_stats(sched::read_raised_counts()); }

// ------------------------------------------------------------------------------------ handling

raise_handler::raise_handler(signal_set signos, function f) : signos_(signos), run_(std::move(f)) {
  constexpr const char* who = "sigrun::raise_handler";
  g* const gp = this_g(who);
  if (signos_.empty()) throw std::invalid_argument(std::string(who) + ": no signals");
  (signos_ & refused_signals).for_each([](int signo) { check_signal(who, signo); });
  if (!run_) throw std::invalid_argument(std::string(who) + ": no function");
  inbox& mail = need_inbox(gp);
  sched::set_raised_runner(&run_raised_here);
  g_ = gp;
  outer_ = raise_access::first(mail);
  mail.handlers = this;
  raise_access::publish(mail);
}

raise_handler::raise_handler(int signo, function f)
    : raise_handler((check_signal("sigrun::raise_handler", signo), signal_set::of(signo)),
                    std::move(f)) {}

raise_handler::~raise_handler() {
  inbox& mail = *static_cast<g*>(g_)->mail.load(std::memory_order_relaxed);
  if (mail.handlers == this) {
    mail.handlers = outer_;
  } else {
    raise_handler* inner = raise_access::first(mail);
    while (inner->outer_ != this) inner = inner->outer_;
    inner->outer_ = outer_;
  }
  raise_access::publish(mail);
}

signal_deferral::signal_deferral() noexcept : g_(sched::current_g()) {
  if (g_ != nullptr) sched::begin_deferral(static_cast<g*>(g_));
}

signal_deferral::~signal_deferral() { end(); }

void signal_deferral::end() noexcept {
  if (g_ != nullptr) sched::end_deferral(static_cast<g*>(std::exchange(g_, nullptr)));
}

void signal_deferral::release() {
  if (g_ == nullptr) return;
  end();
  sched::preempt_point();
}

void set_raise_queue(std::uint32_t capacity, overflow full) {
  constexpr const char* who = "sigrun::set_raise_queue: ";
  inbox& mail = need_inbox(this_g("sigrun::set_raise_queue"));
  if (capacity < 1 || capacity > sched::inbox_room_max) {
    throw std::invalid_argument(who + std::to_string(capacity) + " is not in 1..65536");
  }
  if (full == overflow::unbounded) {
    throw std::invalid_argument(std::string(who) + "overflow::unbounded");
  }
  const auto rule = full == overflow::coalesce      ? sched::inbox_full::coalesce
                    : full == overflow::drop_oldest ? sched::inbox_full::drop_oldest
                                                    : sched::inbox_full::drop_newest;
  const long result = mail.resize(capacity, rule);
  if (result == -ENOMEM) throw std::bad_alloc();
  if (result == -EBUSY) {
    throw std::invalid_argument(who + std::to_string(capacity) + " is less than wait now");
  }
}

}  // namespace sigrun
