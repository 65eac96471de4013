// SPDX-License-Identifier: Apache-2.0
#include "fault/arm.hpp"

#include "fault/guard.hpp"
#include "sched/machine.hpp"
#include "sched/sched.hpp"
#include "sigsafe/original.hpp"
#include "sigsafe/signal_stack.hpp"
#include "symbol/modules.hpp"
#include "sys/signal.hpp"

#include <pthread.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <system_error>

namespace sigrun::fault_detail {
namespace {

constinit std::mutex arming;

[[noreturn]] void fail(int error, const char* what) {
  throw std::system_error(error, std::system_category(), what);
}

// What a plain thread with panic_on_fault has, freed with it.
struct thread_share {
  sigsafe::thread_block signal_stack;  // for its signal stack alone
  detail::held_table locks;
};

void end_of_thread(void* raw) noexcept {
  const std::unique_ptr<thread_share> share(static_cast<thread_share*>(raw));
  sigsafe::fault_slot& slot = sigsafe::current_thread_faults();
  slot.panics = false;
  slot.held = nullptr;
  sigsafe::free_signal_stack(share->signal_stack);
}

pthread_key_t thread_key() {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    if (const int error = pthread_key_create(&made, &end_of_thread)) {
      fail(error, "sigrun::set_panic_on_fault: a thread's key");
    }
    return made;
  }();
  return key;
}

// Locks that its own frames would have given up, had they been unwound.
void end_of_goroutine() noexcept {
  sigsafe::fault_slot& slot = sched::current_fault_slot();
  const std::unique_ptr<detail::held_table> table(static_cast<detail::held_table*>(slot.held));
  slot.held = nullptr;
  slot.panics = false;
  if (!slot.faulted) return;
  for (std::uint32_t i = 0; i < table->count; ++i) {
    const bool done = table->locks[i].poison(table->locks[i].lock);
    the_counters().poisoned.fetch_add(done ? 1 : 0, std::memory_order_relaxed);
  }
  the_counters().locks_missed.fetch_add(table->missed, std::memory_order_relaxed);
}

void install(int signo) {
  sigsafe::intake& in = sigsafe::the_intake();
  sys::kernel_sigaction now;
  sys::rt_sigaction(signo, nullptr, &now);
  if (!sigsafe::is_ours(now)) {
    in.original[signo] = now;
    const sys::kernel_sigaction ours = sigsafe::our_action();
    const long result = sys::rt_sigaction(signo, &ours, nullptr);
    if (sys::failed(result)) fail(static_cast<int>(-result), "sigrun: the handler for faults");
  }
  in.installed.fetch_or(signal_set::of(signo).bits());
}

}  // namespace

void arm() {
  const std::lock_guard once(arming);
  if (is_armed()) return;
  sigsafe::intake& in = sigsafe::the_intake();
  // A child of fork whose parent had a runtime: what is installed from here on is its own.
  if (in.pid != sys::getpid()) in.pid = 0;
  symbol::refresh_modules();
  static const bool told = [] {
    const auto another_tid = [] { sigsafe::current_thread_faults().tid = sys::gettid(); };
    if (const int error = pthread_atfork(nullptr, nullptr, another_tid)) {
      fail(error, "sigrun: a hook for forked children");
    }
    return true;
  }();
  static_cast<void>(told);
  sched::set_end_of_faulting(&end_of_goroutine);
  in.recover.store(&recover);
  sigsafe::recoverable_faults.for_each(&install);
  detail::locks_are_noted.store(true);
}

void prepare_to_panic(sigsafe::fault_slot& slot) {
  if (&slot != &sigsafe::current_thread_faults()) {
    if (slot.held != nullptr) return;
    auto table = std::make_unique<detail::held_table>();
    table->begin(nullptr);
    slot.held = table.release();
    return;
  }
  const pthread_key_t key = thread_key();
  if (pthread_getspecific(key) != nullptr) return;
  auto share = std::make_unique<thread_share>();
  share->locks.begin(nullptr);
  const long made = sigsafe::make_signal_stack(share->signal_stack);
  if (sys::failed(made)) {
    fail(static_cast<int>(-made), "sigrun::set_panic_on_fault: a signal stack");
  }
  if (const int error = pthread_setspecific(key, share.get())) {
    sigsafe::free_signal_stack(share->signal_stack);
    fail(error, "sigrun::set_panic_on_fault: the thread's share");
  }
  if (slot.held == nullptr) slot.held = &share->locks;
  static_cast<void>(share.release());
}

}  // namespace sigrun::fault_detail
