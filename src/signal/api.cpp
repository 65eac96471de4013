// SPDX-License-Identifier: Apache-2.0
//
// The public functions: arguments are checked here, everything else is the runtime's.
#include "sched/signals.hpp"
#include "signal/runtime.hpp"

#include "sigsafe/decode.hpp"
#include "sigsafe/flight_recorder.hpp"
#include "sys/clock.hpp"

#include <stdexcept>
#include <string>

namespace sigrun {
namespace {

using signal::event_channel;
using signal::runtime;

std::string spelled(int signo) {
  return std::string(signal_name(signo)) + " (" + std::to_string(signo) + ")";
}

void check_signo(const char* who, int signo) {
  const std::string prefix = std::string("sigrun::") + who + ": ";
  if (!signal_set::valid(signo)) {
    throw std::invalid_argument(prefix + std::to_string(signo) + " is no signal (1 to 64)");
  }
  if (signo == SIGKILL || signo == SIGSTOP) {
    throw std::invalid_argument(prefix + spelled(signo) + " cannot be caught or ignored");
  }
  if (signal::forbidden_signals.has(signo)) {
    throw std::invalid_argument(prefix + spelled(signo) + " belongs to the C library");
  }
}

signal_set checked_set(const char* who, std::initializer_list<int> signos) {
  if (signos.size() == 0) return signal_set::all() - signal::forbidden_signals;
  signal_set set;
  for (const int signo : signos) {
    check_signo(who, signo);
    set |= signal_set::of(signo);
  }
  return set;
}

event_channel& checked_channel(const char* who, const signal_chan& ch) {
  event_channel* channel = detail::chan_access::state(ch);
  if (channel == nullptr) {
    throw std::invalid_argument(std::string("sigrun::") + who + ": the channel handle is empty");
  }
  return *channel;
}

}  // namespace

void chan_received(signal_event& event) noexcept {
  event.at.received = sys::now_ns();
  sigsafe::the_flight_recorder().received(event.sequence, event.at.dispatched, event.at.received);
}

void configure_signals(const signal_options& options) { runtime::configure(options); }

void notify(const signal_chan& ch, signal_set signos, const notify_options& options) {
  event_channel& channel = checked_channel("notify", ch);
  if (channel.closed()) throw std::invalid_argument("sigrun::notify: the channel is closed");
  if (channel.capacity() == 0 &&
      (options.full == overflow::drop_newest || options.full == overflow::drop_oldest)) {
    throw std::invalid_argument(
        "sigrun::notify: the channel has no buffer, so every signal would be dropped while nobody "
        "waits; give it a capacity, or use overflow::coalesce");
  }
  if (signos.empty()) {
    signos = signal_set::all() - signal::forbidden_signals;
    if (!options.allow_sent_faults) signos -= signal::fault_signals;
  }
  signos.for_each([&](int signo) {
    check_signo("notify", signo);
    if (!options.allow_sent_faults && signal::fault_signals.has(signo)) {
      throw std::invalid_argument("sigrun::notify: " + spelled(signo) +
                                  " is a fault; those that are sent can be had with "
                                  "notify_options::allow_sent_faults");
    }
  });
  runtime::start().notify(channel, signos, options);
}

void notify(const signal_chan& ch, std::initializer_list<int> signos,
            const notify_options& options) {
  signal_set set;
  for (const int signo : signos) {
    check_signo("notify", signo);
    set |= signal_set::of(signo);
  }
  notify(ch, set, options);
}

void stop(const signal_chan& ch) {
  event_channel& channel = checked_channel("stop", ch);
  if (runtime* now = runtime::running()) now->stop(channel);
}

void ignore(std::initializer_list<int> signos) {
  runtime::start().ignore(checked_set("ignore", signos));
}

void reset(std::initializer_list<int> signos) {
  runtime::start().reset(checked_set("reset", signos));
}

bool ignored(int signo) {
  if (!signal_set::valid(signo)) {
    throw std::invalid_argument("sigrun::ignored: " + std::to_string(signo) +
                                " is no signal (1 to 64)");
  }
  sys::kernel_sigaction now;
  sys::rt_sigaction(signo, nullptr, &now);
  return now.handler == sys::handler_ignore;
}

bool inject(int signo, std::uint64_t value, signal_origin origin) noexcept {
  sigsafe::intake& in = sigsafe::the_intake();
  if (!signal_set{in.wanted.load()}.has(signo)) return false;
  signal_event event;
  event.signo = signo;
  event.code = SI_QUEUE;
  event.cause = signal_cause::queue;
  event.origin = origin;
  event.pid = in.pid;
  event.uid = sys::getuid();
  event.value_bits = value;
  event.at.taken = sys::now_ns();
  event.at.queued = event.at.taken;
  in.count.injected.fetch_add(1, std::memory_order_relaxed);
  if (sigsafe::sigsend(event, false)) return true;
  // No kernel keeps this one: a full queue is the sender's to know.
  in.count.dropped.fetch_add(1, std::memory_order_relaxed);
  return false;
}

namespace {

siginfo_t queued(int signo, std::uint64_t value) noexcept {
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = sys::getpid();
  info.si_uid = sys::getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  return info;
}

std::error_code to_error(long result) noexcept {
  return sys::failed(result) ? std::error_code{static_cast<int>(-result), std::system_category()}
                             : std::error_code{};
}

void throw_if(const std::error_code& error, const char* who, int target, int signo) {
  if (!error) return;
  throw std::system_error(error, std::string("sigrun::") + who + ": " + spelled(signo) + " to " +
                                     std::to_string(target));
}

}  // namespace

void send(int pid, int signo, std::uint64_t value, std::error_code& error) noexcept {
  const siginfo_t info = queued(signo, value);
  error = to_error(sys::rt_sigqueueinfo(pid, signo, &info));
}

void send(int pid, int signo, std::uint64_t value) {
  std::error_code error;
  send(pid, signo, value, error);
  throw_if(error, "send", pid, signo);
}

void send_thread(int tid, int signo, std::uint64_t value, std::error_code& error) noexcept {
  const siginfo_t info = queued(signo, value);
  error = to_error(sys::rt_tgsigqueueinfo(sys::getpid(), tid, signo, &info));
  if (!error) sched::signal_was_sent_to(tid);
}

void send_thread(int tid, int signo, std::uint64_t value) {
  std::error_code error;
  send_thread(tid, signo, value, error);
  throw_if(error, "send_thread", tid, signo);
}

channel_stats stats(const signal_chan& ch) {
  event_channel& channel = checked_channel("stats", ch);
  runtime* now = runtime::running();
  return now != nullptr ? now->stats(channel) : channel_stats{};
}

std::vector<signal_event> policy_log(const signal_chan& ch) {
  event_channel& channel = checked_channel("policy_log", ch);
  runtime* now = runtime::running();
  return now != nullptr ? now->policy_log(channel) : std::vector<signal_event>{};
}

signal_stats stats() noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  const sigsafe::counters& c = in.count;
  signal_stats all;
  all.by_wait = c.by_wait.load();
  all.by_handler = c.by_handler.load();
  all.received = all.by_wait + all.by_handler + c.injected.load();
  all.dispatched = c.dispatched.load();
  all.merged = c.merged.load();
  all.dropped = c.dropped.load();
  all.held_back = c.held_back.load();
  all.unclaimed = c.unclaimed.load();
  all.queue_high_water = c.queue_high_water.load();
  all.queue_capacity = in.running.load() ? in.queue.capacity() : 0;
  all.foreign_child = c.foreign_child.load();
  return all;
}

std::vector<finding> doctor() {
  runtime* now = runtime::running();
  return now != nullptr ? now->doctor() : std::vector<finding>{};
}

int rearm(chain previous) {
  runtime* now = runtime::running();
  return now != nullptr ? now->rearm(previous) : 0;
}

}  // namespace sigrun
