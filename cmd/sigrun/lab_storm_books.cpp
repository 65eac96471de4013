// SPDX-License-Identifier: Apache-2.0
//
// The books: their names, and how they are closed and checked.
#include "lab_storm_run.hpp"

#include "tool_text.hpp"

#include "procfs/process.hpp"
#include "sys/clock.hpp"
#include "sys/signal.hpp"

#include <sigrun/time.hpp>

#include <unistd.h>

#include <algorithm>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

book& at(storm& in, book_id id) { return in.page().books[static_cast<unsigned>(id)]; }

std::string numbers(std::uint64_t want, std::uint64_t got) {
  return std::to_string(want) + " sent, " + std::to_string(got) + " accounted for";
}

// Where a signal of this run still lies in the kernel.
std::string pending_somewhere() {
  std::string text;
  const procfs::process_view view = procfs::read_process(::getpid(), procfs::detail::masks);
  const signal_set shared = view.main().shared_pending;
  if (!shared.empty()) text += "; pending for the process: " + format_set(shared);
  for (const procfs::thread_view& thread : view.threads) {
    if (thread.status.pending.empty()) continue;
    text += "; pending for thread " + std::to_string(thread.status.tid) + " (" +
            thread.status.name + "): " + format_set(thread.status.pending);
  }
  return text;
}

void require(storm& in, book_id id, std::uint64_t want, std::uint64_t got, const char* of = "") {
  if (want == got) return;
  in.fail(std::string{name_of(id)} + ": " + of + numbers(want, got) + pending_somewhere());
}

std::uint64_t sent_of(storm& in, int signo) {
  return in.page().sent[static_cast<std::size_t>(signo)].count.load();
}

// Of those that are sent within the window, and of those that are flipped.
std::uint64_t expected_in_all(storm& in) {
  std::uint64_t all = 0;
  constexpr auto in_window =
      traffic::queued | signal_set::of(traffic::aimed, traffic::injected, traffic::judged);
  in_window.for_each([&](int signo) { all += sent_of(in, signo); });
  return all + sent_of(in, traffic::flipped_thread) + sent_of(in, traffic::flipped_go);
}

// What has arrived so far, counted where it may be read while it moves.
std::uint64_t arrived(storm& in) {
  return in.window_seen.load() + in.flips_received.load() + handed_back_to_program();
}

bool at_rest(storm& in) {
  const signal_stats all = stats();
  const std::uint64_t done = all.dispatched + all.merged + all.dropped + all.unclaimed;
  return arrived(in) >= expected_in_all(in) && all.received == done &&
         in.first_looked.load() == in.second_looked.load() &&
         (sys::pending() & traffic::observed).empty();
}

// Until nothing is under way, or nothing has moved for long: then something is lost.
void settle(storm& in) {
  std::uint64_t before = 0;
  std::int64_t moved = sys::now_ns();
  while (sys::now_ns() - moved < std::chrono::nanoseconds{5s}.count()) {
    if (at_rest(in)) {
      // Once more after a while, so that a double that is late is seen as well.
      sleep_for(30ms);
      if (at_rest(in)) return;
    }
    const std::uint64_t now = in.first_looked.load() + in.second_looked.load() + arrived(in);
    if (now != before) moved = sys::now_ns();
    before = now;
    sleep_for(2ms);
  }
}

void close_exact(storm& in, book_id id, signal_set signals) {
  book& is = at(in, id);
  std::uint64_t sent_sum = 0;
  std::uint64_t seen_sum = 0;
  signals.for_each([&](int signo) {
    const auto index = static_cast<std::size_t>(signo);
    is.sent += sent_of(in, signo);
    is.received += in.seen[index].count;
    sent_sum += in.page().sent[index].sum.load();
    seen_sum += in.seen[index].sum;
  });
  require(in, id, is.sent, is.received);
  if (is.sent == is.received && sent_sum != seen_sum) {
    in.fail(std::string{name_of(id)} + ": as many as were sent, but not the same ones");
  }
}

void close_standard(storm& in) {
  book& paced = at(in, book_id::paced);
  for (const int signo : {traffic::paced_go, traffic::paced_thread, traffic::paced_urgent}) {
    paced.sent += sent_of(in, signo);
    const std::uint64_t seen = in.seen[static_cast<std::size_t>(signo)].count;
    require(in, book_id::paced, sent_of(in, signo), seen, "by the observer: ");
  }
  paced.received = in.paced_received.load();
  require(in, book_id::paced, paced.sent, paced.received);
  book& bursts = at(in, book_id::bursts);
  const seen_line& seen = in.seen[static_cast<std::size_t>(traffic::bursts)];
  bursts.sent = sent_of(in, traffic::bursts);
  bursts.received = seen.count;
  bursts.by_kernel = bursts.sent - std::min(bursts.sent, bursts.received);
  if (bursts.received > bursts.sent) {
    in.fail(std::string{name_of(book_id::bursts)} + ": " + numbers(bursts.sent, bursts.received));
  }
  if (bursts.sent != 0 && seen.last_taken_ns < in.page().last_burst_ns.load()) {
    in.fail(std::string{name_of(book_id::bursts)} + ": the last one was lost");
  }
}

void close_flips(storm& in) {
  book& is = at(in, book_id::flipped);
  is.sent = sent_of(in, traffic::flipped_thread) + sent_of(in, traffic::flipped_go);
  is.received = in.flips_received.load();
  is.handed_back = handed_back_to_program();
  require(in, book_id::flipped, is.sent, is.received + is.handed_back);
}

void close_policies(storm& in) {
  for (policy_book& policy : in.policies) {
    signal_event event;
    while (policy.events.try_recv(event)) {
      policy.read.fetch_add(1);
      policy.read_for.fetch_add(event.count);
    }
    const channel_stats count = stats(policy.events);
    book& is = at(in, policy.id);
    is.sent = sent_of(in, traffic::judged);
    is.received = policy.read.load();
    is.merged = policy.read_for.load() - is.received;
    is.dropped = count.dropped;
    is.denied = count.denied;
    is.limited = count.limited;
    require(in, policy.id, is.sent, is.received + is.merged + is.dropped + is.denied + is.limited);
    require(in, policy.id, count.merged, is.merged, "merged: ");
    // What pushed an older one out was delivered as well.
    const bool pushes_out = policy.id == book_id::drop_oldest;
    require(in, policy.id, count.delivered, is.received + (pushes_out ? is.dropped : 0),
            "delivered: ");
  }
}

void close_second(storm& in) {
  book& is = at(in, book_id::second);
  traffic::observed.for_each([&](int signo) {
    const auto index = static_cast<std::size_t>(signo);
    const seen_line& first = in.seen[index];
    const seen_line& second = in.seen_by_second[index];
    is.sent += first.count;
    is.received += second.count;
    require(in, book_id::second, first.count, second.count);
    if (first.sum != second.sum) in.fail("second observer: it saw others than the first");
  });
}

void close_visits(storm& in) {
  book& is = at(in, book_id::visits);
  for (const visit& v : in.visits) {
    std::uint64_t should = 0;
    for (std::uint64_t i = v.first; i <= v.last && i < in.order.size(); ++i) {
      if (in.order[i] != 0 && v.signals.has(in.order[i])) ++should;
    }
    is.sent += should;
    is.received += v.events;
  }
  require(in, book_id::visits, is.sent, is.received);
}

void close_others(storm& in) {
  const signal_stats all = stats();
  book& intake = at(in, book_id::intake);
  intake.sent = all.received;
  intake.received = all.dispatched;
  intake.merged = all.merged;
  intake.deferred = all.held_back;
  intake.dropped = all.dropped;
  intake.handed_back = all.unclaimed;
  require(in, book_id::intake, intake.sent,
          intake.received + intake.merged + intake.dropped + intake.handed_back);
  book& children = at(in, book_id::children);
  children.sent = in.children_made.load();
  children.received = in.children_well.load();
  require(in, book_id::children, children.sent, children.received);
  const scheduler_statistics sched = statistics_of_scheduler();
  book& preempted = at(in, book_id::preempted);
  preempted.sent = sched.preempt_asked;
  preempted.received = sched.preempt_injected;
  preempted.deferred = sched.preempt_outside + sched.preempt_no_room + sched.preempt_in_runtime +
                       sched.preempt_yielded + sched.preempt_unanswered;
}

}  // namespace

const char* name_of(book_id id) noexcept {
  constexpr const char* names[books_max] = {
      "queued",      "aimed",       "injected", "one by one", "in bursts", "flipped",
      "drop_newest", "drop_oldest", "coalesce", "deny",       "rate",      "second observer",
      "visits",      "intake",      "children", "preempted"};
  return names[static_cast<unsigned>(id)];
}

std::string name_of(const storm_options& options) {
  return std::string{options.isolate == isolation::strict ? "strict" : "shared"} +
         (options.way == way_in::wait ? ", wait, " : ", handler, ") +
         std::to_string(options.procs) + (options.procs == 1 ? " P" : " Ps");
}

std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

std::uint64_t dice::roll() noexcept { return mix(state_ += 0x9e3779b97f4a7c15U); }

void close_books(storm& in) {
  settle(in);
  in.page().stage.store(storm_stage::booking);
  in.wait_for_observers();
  close_exact(in, book_id::queued, traffic::queued | signal_set::of(traffic::judged));
  close_exact(in, book_id::aimed, signal_set::of(traffic::aimed));
  close_exact(in, book_id::injected, signal_set::of(traffic::injected));
  close_standard(in);
  close_flips(in);
  close_policies(in);
  close_second(in);
  close_visits(in);
  close_others(in);
}

}  // namespace sigrun::cmd::lab
