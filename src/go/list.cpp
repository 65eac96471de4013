// SPDX-License-Identifier: Apache-2.0
//
// Goroutines as they are listed, and the end when all of them sleep for ever.
#include <sigrun/go.hpp>

#include "go/deadlock.hpp"
#include "go/labels.hpp"
#include "sched/clock.hpp"
#include "sched/sched.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <charconv>

namespace sigrun {
namespace {

using sched::g;
using sched::g_state;

const char* state_text(g_state state, sched::wait_reason why) noexcept {
  switch (state) {
    case g_state::running:
      return "running";
    case g_state::runnable:
      return "runnable";
    case g_state::waiting:
    case g_state::foreign:
      return sched::wait_reason_text(why);
    case g_state::free:
    case g_state::dead:
      break;
  }
  return "dead";
}

struct listing {
  std::vector<goroutine_info> infos;
  std::vector<stack::stack_span> stacks;  // of the same ones
};

// Under the registry's lock, beside a goroutine that may run, or end and become another: what it
// changes by itself is read atom by atom.
void describe(const g* gp, void* arg) {
  auto& found = *static_cast<listing*>(arg);
  const g_state state = gp->state.load(std::memory_order_acquire);
  const sched::wait_reason why = gp->why.load(std::memory_order_relaxed);
  goroutine_info info;
  info.id = gp->id;
  info.parent_id = gp->parent_id;
  char name[sched::name_room];
  info.name = gp->name.get(name);
  info.state = state_text(state, why);
  if (state == g_state::waiting) info.waits_on = gp->on.load(std::memory_order_relaxed);
  info.created_at = gp->created_at;
  const std::int64_t since = gp->since_ns.load(std::memory_order_relaxed);
  info.in_state = std::chrono::nanoseconds(std::max<std::int64_t>(sched::now_ns() - since, 0));
  info.locked_to_thread = gp->locked != nullptr;
  info.deferred = signal_set(gp->deferred_signals.load(std::memory_order_relaxed));
  info.labels = go_detail::labels_of(gp->labels);
  info.stack_size = gp->stack.size();
  found.infos.push_back(std::move(info));
  found.stacks.push_back(gp->stack);
}

std::string age_text(std::chrono::nanoseconds age) {
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(age).count();
  return minutes > 0 ? ", " + std::to_string(minutes) + " minutes" : "";
}

std::string numbers_text(signal_set signals) {
  std::string text;
  signals.for_each(
      [&text](int signo) { text += (text.empty() ? "" : " ") + std::to_string(signo); });
  return text;
}

std::string address_text(const void* address) {
  char digits[20];
  const auto end = std::to_chars(std::begin(digits), std::end(digits),
                                 reinterpret_cast<std::uintptr_t>(address), 16);
  return "0x" + std::string(digits, end.ptr);
}

}  // namespace

std::vector<goroutine_info> goroutines() {
  listing found;
  sched::for_each_g(&describe, &found);
  std::vector<goroutine_info> all = std::move(found.infos);
  // Without the lock, because it is a system call each. Address space of stacks stays for ever.
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].stack_used = stack::high_water(found.stacks[i]);
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return all;
}

std::size_t goroutine_count() noexcept {
  return static_cast<std::size_t>(std::max<std::int64_t>(sched::read_statistics().goroutines, 0));
}

std::string goroutines_text() {
  std::string text;
  for (const goroutine_info& info : goroutines()) {
    text += "goroutine " + std::to_string(info.id) + " [" + info.state + age_text(info.in_state);
    if (info.locked_to_thread) text += ", locked to thread";
    if (!info.deferred.empty()) text += ", signals deferred: " + numbers_text(info.deferred);
    text += "]:";
    if (!info.name.empty()) text += " " + info.name;
    for (const auto& [key, value] : info.labels) text += " " + key + "=" + value;
    if (info.waits_on != nullptr) text += " on " + address_text(info.waits_on);
    text += " created at " + address_text(info.created_at);
    if (info.parent_id != 0) text += " by goroutine " + std::to_string(info.parent_id);
    text += "\n";
  }
  return text;
}

scheduler_statistics statistics_of_scheduler() noexcept {
  const sched::statistics now = sched::read_statistics();
  scheduler_statistics out;
  out.procs = now.procs;
  out.idle_procs = now.idle_procs;
  out.threads = now.threads;
  out.spinning = now.spinning;
  out.goroutines = now.goroutines;
  out.spawned = now.spawned;
  out.switches = now.switches;
  out.steals = now.steals;
  out.timers_fired = now.timers_fired;
  out.handoffs = now.handoffs;
  out.foreign_retakes = now.foreign_retakes;
  out.preempt_requests = now.preempt_requests;
  out.preempt_asked = now.preempt_asked;
  out.preempt_injected = now.preempt_injected;
  out.preempt_outside = now.preempt_outside;
  out.preempt_no_room = now.preempt_no_room;
  out.preempt_in_runtime = now.preempt_in_runtime;
  out.preempt_yielded = now.preempt_yielded;
  out.preempt_unanswered = now.preempt_unanswered;
  out.polls = now.polls;
  out.wakes = now.wakes;
  out.threads_refused = now.threads_refused;
  out.monitor_looks = now.sysmon_looks;
  out.monitor_rings = now.sysmon_rings;
  out.signal_runs = now.signal_runs;
  out.signal_wakes = now.signal_wakes;
  out.signal_breaks = now.signal_breaks;
  out.signal_polls = now.signal_polls;
  out.signal_rescues = now.signal_rescues;
  return out;
}

namespace go_detail {

// On sysmon, which has found every goroutine asleep with nothing that could wake one.
void report_deadlock() {
  sys::write(2, "fatal error: all goroutines are asleep - deadlock!\n\n");
  sys::write(2, goroutines_text());
  sys::exit_group(2);
}

}  // namespace go_detail
}  // namespace sigrun
