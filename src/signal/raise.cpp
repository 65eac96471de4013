// SPDX-License-Identifier: Apache-2.0
//
// From a handler to one goroutine: the handler queues an event, as for a signal, with a share of
// the goroutine's inbox in it; whoever dispatches it raises it there, in ordinary code, and gives
// the share up.
#include "sched/raise.hpp"

#include <sigrun/raise.hpp>

#include "signal/runtime.hpp"
#include "sigsafe/intake.hpp"

#include <stdexcept>

namespace sigrun {
namespace {

sched::inbox* inbox_in(std::uint64_t word) noexcept {
  return reinterpret_cast<sched::inbox*>(word);
}

}  // namespace

handler_raise::handler_raise(goroutine_ref to) : to_(std::move(to)) {
  if (!to_) throw std::logic_error("sigrun::handler_raise: no goroutine");
  signal::runtime::start();
}

bool handler_raise::operator()(int signo, std::uint64_t value) const noexcept {
  sigsafe::intake& in = sigsafe::the_intake();
  if (!signal_set::valid(signo) || signal::forbidden_signals.has(signo)) return false;
  signal_event event;
  event.signo = signo;
  event.cause = signal_cause::raise;
  event.value_bits = value;
  event.details.words[0] = reinterpret_cast<std::uint64_t>(to_.mail_);
  event.at.taken = sys::now_ns();
  inbox_in(event.details.words[0])->share();
  in.count.injected.fetch_add(1, std::memory_order_relaxed);
  if (sigsafe::sigsend(event, false)) return true;
  // to_ has a share too, so this one is not the last: nothing is freed here.
  inbox_in(event.details.words[0])->drop();
  in.count.dropped.fetch_add(1, std::memory_order_relaxed);
  return false;
}

namespace signal {

void runtime::pass_on_raised(const signal_event& event) noexcept {
  sigsafe::counters& count = sigsafe::the_intake().count;
  sched::inbox* const to = inbox_in(event.details.words[0]);
  sched::raised_record record;
  record.signo = event.signo;
  record.value = event.value_bits;
  record.at_ns = event.at.taken;
  // What finds no room there is in the inbox's own books.
  const bool ended = to->raise(record) == -ESRCH;
  (ended ? count.unclaimed : count.dispatched).fetch_add(1, std::memory_order_relaxed);
  to->drop();
}

}  // namespace signal
}  // namespace sigrun
