// SPDX-License-Identifier: Apache-2.0
#include "io/io_fd.hpp"

#include "base/expect.hpp"
#include "io/netpoll.hpp"
#include "sched/clock.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>

namespace sigrun::detail {
namespace {

constexpr io_fd::side both[] = {io_fd::side::read, io_fd::side::write};

// What has been read or written of an operation would be lost with an exception.
constexpr auto raised_kept = sched::raised_error::kept;

void wake(void* waiter) noexcept {
  if (waiter != nullptr) static_cast<sched::parker*>(waiter)->unpark();
}

}  // namespace

// ------------------------------------------------------------------------ life, from open to shut

io_fd* io_fd::open(int fd, fd_kind kind, long& error) noexcept {
  error = 0;
  poll::poller* const poller = served_poller(error);
  poll::descriptor* const which = poller != nullptr ? poller->acquire() : nullptr;
  io_fd* const made = which != nullptr ? new (std::nothrow) io_fd(fd, kind, *which) : nullptr;
  if (made != nullptr) {
    error = poller->add(*which, fd);
    if (error == 0) {
      sched::need_poller();
      return made;
    }
  } else if (error == 0) {
    error = -ENOMEM;
  }
  delete made;
  if (which != nullptr) poller->release(*which);
  sys::close(fd);
  return nullptr;
}

void io_fd::drop_handle() noexcept {
  close();
  drop_memory();
}

void io_fd::drop_memory() noexcept {
  // acq_rel: the last one sees what the other did.
  if (memory_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

long io_fd::close() noexcept {
  if ((state_.fetch_or(closed) & closed) != 0) return -EBADF;
  {
    const std::lock_guard guard(lock_);
    for (const side which : both) {
      for (turn* one = queue(which).first; one != nullptr;) {
        turn* const next = one->next;
        one->state = turn::refused;
        one->parker.unpark();
        one = next;
      }
      queue(which) = {};
    }
    state_.fetch_and(~(queued(side::read) | queued(side::write)));
  }
  for (const side which : both) wake(descriptor_->close(which));
  let_go();  // (1): `open`
  return 0;
}

long io_fd::hold() noexcept {
  std::uint64_t seen = state_.load();
  do {
    if ((seen & closed) != 0) return -EBADF;
  } while (!state_.compare_exchange_weak(seen, seen + reference));
  return 0;
}

void io_fd::let_go() noexcept {
  if (state_.fetch_sub(reference) < 2 * reference) shut();
}

void io_fd::shut() noexcept {
  poll::poller& from = sched::netpoller();
  from.remove(*descriptor_);
  from.release(*descriptor_);
  sys::close(fd_);
  drop_memory();
}

// -------------------------------------------------------------------------------- turns at a side

long io_fd::begin(side which, within* inside) noexcept {
  if (inside != nullptr && inside->ended()) return -context_ended;
  long error = take(which);
  if (error == -EBUSY) {
    error = inside != nullptr ? inside->watch(*this, which) : 0;
    if (error == 0) error = queue_for(which, inside);
  }
  if (error != 0) return error;
  const std::int64_t deadline = deadline_of(which).load();
  if (deadline == wait_for_ever || deadline > sched::now_ns()) return 0;
  end(which);
  return -ETIMEDOUT;
}

long io_fd::take(side which) noexcept {
  std::uint64_t seen = state_.load();
  do {
    if ((seen & closed) != 0) return -EBADF;
    if ((seen & busy(which)) != 0) return -EBUSY;
  } while (!state_.compare_exchange_weak(seen, (seen | busy(which)) + reference));
  return 0;
}

void io_fd::end(side which) noexcept {
  std::uint64_t seen = state_.load();
  for (;;) {
    if ((seen & queued(which)) != 0) {
      if (hand_over(which)) return let_go();
      seen = state_.load();
      continue;
    }
    const std::uint64_t next = (seen & ~busy(which)) - reference;
    if (!state_.compare_exchange_weak(seen, next)) continue;
    if (next < reference) shut();
    return;
  }
}

bool io_fd::hand_over(side which) noexcept {
  const std::lock_guard guard(lock_);
  turn* const first = queue(which).first;
  if (first == nullptr) return false;  // they gave up, or were refused, just now
  unlink(which, *first);
  first->state = turn::granted;
  first->parker.unpark();  // (3)
  return true;
}

void io_fd::unlink(side which, turn& mine) noexcept {
  turns& list = queue(which);
  turn* before = nullptr;
  for (turn* one = list.first; one != &mine; one = one->next) before = one;
  (before == nullptr ? list.first : before->next) = mine.next;
  if (list.last == &mine) list.last = before;
  if (list.first == nullptr) state_.fetch_and(~queued(which));
}

long io_fd::queue_for(side which, within* inside) noexcept {
  turn mine{.parker = sched::parker(sched::wait_reason::io_wait, this)};
  {
    const std::lock_guard guard(lock_);
    std::uint64_t seen = state_.load();
    for (;;) {
      if ((seen & closed) != 0) return -EBADF;
      const bool free = (seen & busy(which)) == 0;
      const std::uint64_t next = (seen | (free ? busy(which) : queued(which))) + reference;
      if (!state_.compare_exchange_weak(seen, next)) continue;
      if (free) return 0;
      break;
    }
    turns& list = queue(which);
    (list.last == nullptr ? list.first : list.last->next) = &mine;
    list.last = &mine;
  }
  for (;;) {
    const std::int64_t deadline = deadline_of(which).load();  // (4)
    const bool over = inside != nullptr && inside->ended();
    const bool woken = !over && mine.parker.wait_until(deadline, raised_kept);
    std::unique_lock guard(lock_);
    if (mine.state == turn::granted) return 0;
    const bool refused = mine.state == turn::refused;
    if (!refused && !over && (woken || deadline_of(which).load() != deadline)) {
      mine.parker.reset();  // (3): only told to look at deadline and context again
      continue;
    }
    if (!refused) unlink(which, mine);
    guard.unlock();
    let_go();
    return refused ? -ECANCELED : over ? -context_ended : -ETIMEDOUT;
  }
}

// -------------------------------------------------------------------------- waiting and deadlines

long io_fd::wait(side which, std::int64_t until_ns, within* inside) noexcept {
  if (inside != nullptr) {
    if (const long watched = inside->watch(*this, which); watched != 0) return watched;
  }
  sched::parker parker(sched::wait_reason::io_wait, this);
  const poll::armed armed = descriptor_->arm(which, &parker);
  if (armed == poll::armed::closed) return -ECANCELED;
  if (armed == poll::armed::ready) return 0;
  base::expect(armed == poll::armed::waiting, "io: two operations on one side");
  const std::int64_t deadline = deadline_of(which).load();  // (4)
  const bool over = inside != nullptr && inside->ended();
  if (over || !parker.wait_until(std::min(deadline, until_ns), raised_kept)) {
    if (descriptor_->disarm(which, &parker)) {
      return over ? -context_ended : deadline <= until_ns ? -ETIMEDOUT : -EAGAIN;
    }
    parker.park_until(sys::never);  // somebody has it, and its wake is on the way
  }
  if (is_closed()) return -ECANCELED;
  return inside != nullptr && inside->ended() ? -context_ended : 0;
}

long io_fd::set_deadline(bool read, bool write, std::int64_t deadline_ns) noexcept {
  const long held = hold();
  if (held != 0) return held;
  for (const side which : both) {
    if (!(which == side::read ? read : write)) continue;
    deadline_of(which).store(deadline_ns);  // (4)
    tell(which);
  }
  let_go();
  return 0;
}

void io_fd::look_again(side which) noexcept {
  if (hold() != 0) return;  // closed: all have been told
  tell(which);
  let_go();
}

void io_fd::tell(side which) noexcept {
  wake(descriptor_->kick(which));
  if ((state_.load() & queued(which)) == 0) return;
  const std::lock_guard guard(lock_);
  for (turn* one = queue(which).first; one != nullptr; one = one->next) one->parker.unpark();
}

}  // namespace sigrun::detail
