// SPDX-License-Identifier: Apache-2.0
#include "signal/runtime.hpp"

#include "sigsafe/decode.hpp"
#include "sigsafe/die.hpp"
#include "sigsafe/flight_recorder.hpp"
#include "sigsafe/original.hpp"
#include "sigsafe/signal_stack.hpp"
#include "sys/clock.hpp"
#include "sys/futex.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/signalfd.h>

#include <bit>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

namespace sigrun::signal {
namespace {

constinit std::atomic<runtime*> instance{nullptr};
constinit std::mutex starting;
constinit std::atomic<bool> fork_hooks{false};
constinit signal_options configured{};
constinit bool has_configured = false;

[[noreturn]] void throw_system(long result, const char* what) {
  throw std::system_error(static_cast<int>(-result), std::system_category(), what);
}

void check(const signal_options& options) {
  const std::uint32_t n = options.queue_capacity;
  if (n < 64 || n > 65536 || !std::has_single_bit(n)) {
    throw std::invalid_argument("sigrun: queue_capacity is " + std::to_string(n) +
                                ", not a power of two from 64 to 65536");
  }
}

signal_options from_environment() {
  signal_options options;
  if (const char* text = std::getenv("SIGRUN_ISOLATION")) {
    const std::string_view value = text;
    if (value == "shared") {
      options.isolate = isolation::shared;
    } else if (value != "strict") {
      throw std::invalid_argument("SIGRUN_ISOLATION is '" + std::string(value) +
                                  "', not strict or shared");
    }
  }
  if (const char* text = std::getenv("SIGRUN_WAY_IN")) {
    const std::string_view value = text;
    if (value == "handler") {
      options.way = way_in::handler;
    } else if (value != "wait") {
      throw std::invalid_argument("SIGRUN_WAY_IN is '" + std::string(value) +
                                  "', not wait or handler");
    }
  }
  return options;
}

}  // namespace

void runtime::configure(const signal_options& options) {
  check(options);
  const std::lock_guard hold{starting};
  if (instance.load() != nullptr) {
    throw std::logic_error("sigrun: configure_signals() after signals were started");
  }
  configured = options;
  has_configured = true;
}

runtime* runtime::running() noexcept { return instance.load(); }

runtime& runtime::start() {
  if (runtime* present = instance.load()) return *present;
  const std::lock_guard hold{starting};
  if (runtime* present = instance.load()) return *present;
  auto fresh =
      std::unique_ptr<runtime>(new runtime(has_configured ? configured : from_environment()));
  if (!fork_hooks.exchange(true)) {
    pthread_atfork(&runtime::before_fork, &runtime::after_fork_in_parent,
                   &runtime::after_fork_in_child);
  }
  fresh->start_thread();
  fresh->install_rules();
  runtime* started = fresh.release();  // lives as long as the process
  instance.store(started);
  sched::set_signal_duty(started);
  return *started;
}

runtime::runtime(const signal_options& options) : options_(options) {
  sigsafe::intake& in = sigsafe::the_intake();
  in.pid = sys::getpid();
  in.start_mask = sys::current_mask();
  in.dump = &write_dump;
  const std::size_t bytes = options.queue_capacity * sizeof(sigsafe::queue_slot);
  const long mapped = sys::call(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (sys::failed(mapped)) throw_system(mapped, "sigrun: the signal queue");
  in.queue.init(reinterpret_cast<sigsafe::queue_slot*>(mapped), options.queue_capacity);
  for (int signo = 1; signo <= signal_max; ++signo) {
    // Past what the scheduler has installed, if it was first.
    at_start_[static_cast<std::size_t>(signo)] = sigsafe::original_action(signo);
  }
  in.consumer.store(sigsafe::consumer_word(sigsafe::awake, 0));
}

void runtime::start_thread() {
  std::atomic<std::uint32_t> ready{0};
  long failure = 0;
  // The new thread starts with everything blocked, so that no signal finds it half made.
  const signal_set before = sys::exchange_mask(signal_set::all() - signal_set::of(32, 33));
  try {
    thread_ = std::thread([this, &ready, &failure] {
      pthread_setname_np(pthread_self(), "sigrun-signal");
      auto& self = *new sigsafe::thread_block;
      self.tid = sys::gettid();
      failure = sigsafe::make_signal_stack(self);
      if (!sys::failed(failure)) failure = duty_.prepare(self);
      if (!sys::failed(failure)) sigsafe::set_current_thread(&self);
      const bool failed = sys::failed(failure);
      ready.store(1);
      sys::futex_wake(ready, 1);
      if (!failed) duty_.stand_by(self, options_.way == way_in::handler);
    });
  } catch (...) {
    sys::set_mask(before);
    throw;
  }
  sys::set_mask(before);
  while (ready.load() == 0) sys::futex_wait(ready, 0);
  if (sys::failed(failure)) {
    thread_.join();
    throw_system(failure, "sigrun: the signal stack or timer of the duty thread");
  }
  thread_.detach();
}

// The signals that the runtime itself needs, or has a rule for while nobody subscribes.
void runtime::install_rules() {
  sigsafe::intake& in = sigsafe::the_intake();
  const auto install = [&](int signo) {
    const auto index = static_cast<std::size_t>(signo);
    in.original[signo] = at_start_[index];
    in.installed.fetch_or(signal_set::of(signo).bits());
    const sys::kernel_sigaction ours = sigsafe::our_action();
    sys::rt_sigaction(signo, &ours, nullptr);
  };
  install(sigsafe::control_signal);
  if (options_.sigpipe_by_fd && at_start_[SIGPIPE].handler == sys::handler_default) {
    in.pipe_by_fd.store(true);
    install(SIGPIPE);
  }
  if (options_.sigquit_dumps && at_start_[SIGQUIT].handler == sys::handler_default) {
    in.quit_dumps.store(true);
    install(SIGQUIT);
  }
  in.running.store(true);
}

// ---------------------------------------------------------------------------------------- dispatch

void runtime::dispatch(signal_event& event) noexcept {
  if (event.cause == signal_cause::raise) return pass_on_raised(event);
  sigsafe::intake& in = sigsafe::the_intake();
  event.sequence = ++sequence_;
  event.at.dispatched = sys::now_ns();
  dispatching_.fetch_add(1);
  const entry_list* entries = table_[static_cast<std::size_t>(event.signo)].load();
  sigsafe::the_flight_recorder().record(
      event, entries != nullptr ? static_cast<std::uint32_t>(entries->size()) : 0);
  if (entries != nullptr) {
    for (const table_entry& entry : *entries) deliver(entry, event);
  }
  dispatching_.fetch_add(1);
  if (entries != nullptr) {
    in.count.dispatched.fetch_add(1, std::memory_order_relaxed);
    sched::signal_was_delivered();
  } else {
    unclaimed(event);
  }
}

// Taken, but its last subscriber has gone meanwhile: it is treated as the disposition of now says.
void runtime::unclaimed(const signal_event& event) noexcept {
  // One: those merged into it have been counted as such.
  sigsafe::the_intake().count.unclaimed.fetch_add(1, std::memory_order_relaxed);
  if (event.origin == signal_origin::runtime || event.origin == signal_origin::simulated) return;
  sys::kernel_sigaction now;
  sys::rt_sigaction(event.signo, nullptr, &now);
  if (now.handler == sys::handler_ignore) return;
  if (sigsafe::is_ours(now) && !keeps_rule(event.signo)) withdraw_handler(event.signo);
  siginfo_t info;
  sigsafe::encode(event, info);
  sigsafe::hand_back(event.signo, info);
}

// Ours is installed although nobody subscribes: a stranger had replaced it, and has put it back
// after the last stop(). Handing a signal back to it would go round for ever.
void runtime::withdraw_handler(int signo) noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  const auto wanted = [&] { return signal_set{in.wanted.load()}.has(signo); };
  if (wanted()) return;
  sys::rt_sigaction(signo, &in.original[signo], nullptr);
  // A notify() that set `wanted` after our look has perhaps found ours there, and left it so.
  const sys::kernel_sigaction ours = sigsafe::our_action();
  if (wanted()) sys::rt_sigaction(signo, &ours, nullptr);
}

// -------------------------------------------------------------------------------------- chan_hook

bool runtime::wait(void* parker, std::int64_t deadline_ns) {
  auto& mine = *static_cast<sched::parker*>(parker);
  // In a forked child the channel is a copy whose runtime did not come along.
  if (instance.load() != this) return mine.wait_until(deadline_ns);
  // By handler the stand-by thread alone takes what is sent to the process: a second taker would
  // break the order.
  if (mine.is_goroutine() || options_.way == way_in::handler) duty_.take_alone(here());
  if (options_.way == way_in::handler) return mine.wait_until(deadline_ns);
  if (!mine.is_goroutine()) return duty_.receive_wait(mine, here(), deadline_ns);
  // The M that is left goes to wait for signals when it has nothing else to do.
  if (!goroutines_receive_.load(std::memory_order_relaxed)) goroutines_receive_.store(true);
  return mine.wait_until(deadline_ns);
}

// A loop found its descriptor readable, or just looks: one signal at a time, so that a loop with
// one channel gets its event with two system calls.
void runtime::poll() {
  if (instance.load() == this) duty_.poll(here());
}

void runtime::closing(detail::chan_core& channel) {
  if (instance.load() == this) stop(channel);
}

// With a signalfd in the channel's set the kernel wakes the loop itself, instead of the stand-by
// thread that then wakes the loop.
int runtime::direct_fd(detail::chan_core& channel) {
  if (instance.load() != this || options_.way == way_in::handler) return -1;
  const std::lock_guard hold{control_};
  if (!subscriptions_.contains(&channel)) return -1;
  if (signal_fd_ < 0) {
    const signal_set set = duty_.wait_set();
    const long made =
        sys::call(SYS_signalfd4, -1, &set, sys::sigset_bytes, SFD_NONBLOCK | SFD_CLOEXEC);
    if (sys::failed(made)) return -1;
    signal_fd_ = static_cast<int>(made);
    sigsafe::thread_block& self = here();
    duty_.own(self);
    duty_.set_loop_fd(signal_fd_);
    duty_.release(self);
  }
  return signal_fd_;
}

// ------------------------------------------------------------------------------------------- fork

namespace {

constinit signal_set mask_before_fork;
constinit runtime* forking = nullptr;  // whose locks are held; guarded by `starting`
constinit bool forked_by_owner = false;

}  // namespace

// Nobody else changes masks or dispositions while the child is made, nobody dispatches (the child
// would have a copy of a channel's held lock), and no handler of ours runs in the child before it
// has its own dispositions.
void runtime::before_fork() noexcept {
  starting.lock();
  forking = running();
  if (forking == nullptr) return;
  forking->control_.lock();
  sigsafe::thread_block& self = forking->here();
  // A chained handler may fork on the thread that dispatches.
  forked_by_owner = forking->duty_.owner_tid() == self.tid;
  if (!forked_by_owner) forking->duty_.own(self);
  forking->threads_lock_.lock();
  mask_before_fork = sys::exchange_mask(signal_set::all() - signal_set::of(32, 33));
}

void runtime::after_fork_in_parent() noexcept {
  if (runtime* const self = forking) {
    self->threads_lock_.unlock();
    // Before the release, which may lift what is held back here.
    sys::set_mask(mask_before_fork);
    if (!forked_by_owner) self->duty_.release(self->here());
    self->control_.unlock();
  }
  starting.unlock();
}

void runtime::after_fork_in_child() noexcept {
  if (forking != nullptr) {
    const signal_set mask = sigsafe::original_thread_mask(mask_before_fork);
    sigsafe::restore_dispositions();
    sigsafe::forget_runtime();
    instance.store(nullptr);  // the parent's: its thread is not here, its locks are held
    sys::set_mask(mask);
  }
  starting.unlock();
}

}  // namespace sigrun::signal
