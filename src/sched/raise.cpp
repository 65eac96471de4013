// SPDX-License-Identifier: Apache-2.0
#include "sched/raise.hpp"

#include "base/expect.hpp"
#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/sched.hpp"
#include "sched/scheduler.hpp"
#include "sys/signal.hpp"

#include <cerrno>
#include <mutex>
#include <new>

namespace sigrun::sched {
namespace {

struct totals {
  std::atomic<std::uint64_t> raised, handled, merged, dropped, dropped_by_exit;
};
constinit totals all{};
constinit std::atomic<void (*)(bool keep)> runner{nullptr};

void count(std::uint64_t& own, std::atomic<std::uint64_t>& total, std::uint64_t n = 1) noexcept {
  own += n;
  total.fetch_add(n, std::memory_order_relaxed);
}

std::uint64_t bit_of(int signo) noexcept { return std::uint64_t{1} << (signo - 1); }

}  // namespace

void inbox::drop() noexcept {
  // acq_rel: the last one sees what all others did.
  if (shares_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

// What the points and the dumps look at, under the lock.
void inbox::publish() noexcept {
  if (owner_ == nullptr) return;
  const bool due = error_ != nullptr || (waiting_ & handled_) != 0;
  const unsigned bits = (due ? raised_due : 0U) | (handled_ != 0 ? raised_attentive : 0U);
  // release pairs with the acquire of who takes: it finds what was raised.
  owner_->raised.store(static_cast<std::uint8_t>(bits), std::memory_order_release);
  owner_->deferred_signals.store(waiting_, std::memory_order_relaxed);
}

void inbox::add(const raised_record& what) noexcept {
  raised_record& place = at(size_);
  place = what;
  place.sequence = next_sequence_++;
  ++size_;
  ++per_signal_[what.signo - 1];
  waiting_ |= bit_of(what.signo);
}

// Of the i-th; the ones before it move up. It is the first one, as a rule.
void inbox::remove(std::uint32_t i) noexcept {
  const int signo = at(i).signo;
  for (; i != 0; --i) at(i) = at(i - 1);
  first_ = (first_ + 1) % room_;
  --size_;
  if (--per_signal_[signo - 1] == 0) waiting_ &= ~bit_of(signo);
}

bool inbox::merge(const raised_record& what) noexcept {
  for (std::uint32_t i = size_; i-- != 0;) {
    if (at(i).signo != what.signo) continue;
    ++at(i).count;
    return true;
  }
  return false;
}

long inbox::raise(const raised_record& what) noexcept {
  g* wake = nullptr;
  {
    const std::lock_guard hold(lock_);
    if (owner_ == nullptr || ended(owner_)) {
      end_locked();
      return -ESRCH;
    }
    if (records_ == nullptr) records_ = new (std::nothrow) raised_record[room_];
    if (records_ == nullptr) return -ENOMEM;
    count(counts_.raised, all.raised);
    if (size_ == room_) {
      if (full_ == inbox_full::coalesce && merge(what)) {
        count(counts_.merged, all.merged);
        return 0;
      }
      if (full_ != inbox_full::drop_oldest) {
        count(counts_.dropped, all.dropped);
        return -EAGAIN;
      }
      count(counts_.dropped, all.dropped);
      remove(0);
    }
    add(what);
    publish();
    const bool due = (handled_ & bit_of(what.signo)) != 0 && error_ == nullptr;
    if (due && parked_ != nullptr && owner_->deferrals.load(std::memory_order_relaxed) == 0) {
      wake = parked_->expire();  // (4): it is there as long as the lock is held
    }
  }
  if (wake != nullptr) ready(wake);
  return 0;
}

inbox_counts inbox::counts() noexcept {
  const std::lock_guard hold(lock_);
  inbox_counts now = counts_;
  now.waiting = size_;
  return now;
}

bool inbox::take(raised_record& out) noexcept {
  const std::lock_guard hold(lock_);
  std::uint32_t i = 0;
  while (i < size_ && (handled_ & bit_of(at(i).signo)) == 0) ++i;
  if (i == size_) return false;
  out = at(i);
  remove(i);
  count(counts_.handled, all.handled);
  publish();
  return true;
}

void inbox::set_handled(std::uint64_t bits) noexcept {
  const std::lock_guard hold(lock_);
  handled_ = bits;
  publish();
}

long inbox::resize(std::uint32_t room, inbox_full full) noexcept {
  auto* const fresh = new (std::nothrow) raised_record[room];
  if (fresh == nullptr) return -ENOMEM;
  const raised_record* old = fresh;
  {
    const std::lock_guard hold(lock_);
    if (size_ <= room) {
      for (std::uint32_t i = 0; i < size_; ++i) fresh[i] = at(i);
      old = records_;
      records_ = fresh;
      room_ = room;
      first_ = 0;
      full_ = full;
    }
  }
  delete[] old;
  return old == fresh ? -EBUSY : 0;
}

void inbox::keep_error(void* error) noexcept {
  const std::lock_guard hold(lock_);
  base::expect(error_ == nullptr, "raise: a second exception is kept");
  error_ = error;
  publish();
}

void* inbox::take_error() noexcept {
  const std::lock_guard hold(lock_);
  void* const error = error_;
  error_ = nullptr;
  publish();
  return error;
}

bool inbox::begin_wait(parker& waiting) noexcept {
  const std::lock_guard hold(lock_);
  const bool deferred = owner_->deferrals.load(std::memory_order_relaxed) != 0;
  if (!deferred && error_ == nullptr && (waiting_ & handled_) != 0) return false;
  parked_ = &waiting;
  return true;
}

void inbox::end_wait() noexcept {
  const std::lock_guard hold(lock_);
  parked_ = nullptr;
}

void inbox::end() noexcept {
  const std::lock_guard hold(lock_);
  end_locked();
}

void inbox::end_locked() noexcept {
  if (owner_ == nullptr) return;
  count(counts_.dropped_by_exit, all.dropped_by_exit, size_);
  size_ = 0;
  waiting_ = 0;
  handled_ = 0;
  publish();
  owner_ = nullptr;
}

// --------------------------------------------------------------------------------------- of a G

inbox* inbox_of(g* gp) noexcept {
  inbox* seen = gp->mail.load(std::memory_order_acquire);
  if (seen != nullptr) return seen;
  auto* const fresh = new (std::nothrow) inbox(gp);
  if (fresh == nullptr) return nullptr;
  if (gp->mail.compare_exchange_strong(seen, fresh)) return fresh;
  fresh->drop();
  return seen;
}

void sign(raised_record& what) noexcept {
  const g* const self = current_g();
  what.from = self != nullptr ? std::uint64_t{self->id} : 0;
  what.at_ns = now_ns();
}

long raise_to(g* gp, const raised_record& what) noexcept {
  inbox* const to = inbox_of(gp);
  if (to == nullptr) return -ENOMEM;
  return to->raise(what);
}

void forget_inbox(g* gp) noexcept {
  inbox* const mail = gp->mail.load(std::memory_order_acquire);
  if (mail == nullptr) return;
  mail->end();
  gp->mail.store(nullptr, std::memory_order_relaxed);
  gp->raised.store(0, std::memory_order_relaxed);
  gp->deferred_signals.store(0, std::memory_order_relaxed);
  mail->drop();
}

// ---------------------------------------------------------------------------------- the points

void begin_deferral(g* gp) noexcept {
  gp->deferrals.store(gp->deferrals.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void end_deferral(g* gp) noexcept {
  const std::uint32_t now = gp->deferrals.load(std::memory_order_relaxed);
  base::expect(now != 0, "raise: a deferral ended twice");
  gp->deferrals.store(now - 1, std::memory_order_relaxed);
}

void set_raised_runner(void (*run)(bool keep)) noexcept { runner.store(run); }

void run_raised(bool keep) {
  if (const auto run = runner.load()) run(keep);
}

bool raised_is_due() noexcept {
  const g* const gp = current_g();
  return gp != nullptr && (gp->raised.load(std::memory_order_relaxed) & raised_due) != 0;
}

inbox_counts read_raised_counts() noexcept {
  inbox_counts now;
  now.raised = all.raised.load();
  now.handled = all.handled.load();
  now.merged = all.merged.load();
  now.dropped = all.dropped.load();
  now.dropped_by_exit = all.dropped_by_exit.load();
  return now;
}

}  // namespace sigrun::sched
