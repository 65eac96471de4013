// SPDX-License-Identifier: Apache-2.0
//
// The threads that the runtime knows, and their masks.
#include "signal/runtime.hpp"

#include "sigsafe/original.hpp"

#include <pthread.h>

#include <cerrno>
#include <stdexcept>

namespace sigrun::signal {
namespace {

// A thread that ends leaves its block to the next one; blocks are never freed, so a reader of the
// list needs no more than the lock.
void thread_ends(void* block) noexcept {
  sigsafe::set_current_thread(nullptr);
  auto& mine = *static_cast<sigsafe::thread_block*>(block);
  mine.closed.store(0);
  mine.tid = 0;
}

pthread_key_t end_key() {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    pthread_key_create(&made, &thread_ends);
    return made;
  }();
  return key;
}

}  // namespace

sigsafe::thread_block& runtime::here() {
  if (sigsafe::thread_block* known = sigsafe::current_thread()) return *known;
  const std::lock_guard hold{threads_lock_};
  sigsafe::thread_block* block = threads_;
  while (block != nullptr && block->tid != 0) block = block->next;
  if (block == nullptr) {
    block = new sigsafe::thread_block;
    block->next = threads_;
    threads_ = block;
  }
  block->tid = sys::gettid();
  block->waits.store(false);
  block->control_held.store(false);
  // Closed already when a thread that we had closed made this one.
  const signal_set mask = sys::current_mask();
  block->closed.store((mask - sigsafe::original_thread_mask(mask)).bits());
  sigsafe::set_current_thread(block);
  pthread_setspecific(end_key(), block);
  return *block;
}

void runtime::open_others(signal_set signals) noexcept {
  const sigsafe::thread_block* self = sigsafe::current_thread();
  const std::lock_guard hold{threads_lock_};
  for (auto* block = threads_; block != nullptr; block = block->next) {
    if (block == self || block->tid == 0) continue;
    const signal_set open = signal_set{block->closed.load()} & signals;
    if (open.empty()) continue;
    sigsafe::request_mask(block->tid, open, {}, sigsafe::mask_request::requested);
  }
}

void runtime::close_here() noexcept {
  const std::lock_guard hold{control_};  // or a stop() would miss this thread
  sigsafe::thread_block& self = here();
  const signal_set open = closable() - sys::current_mask();
  sys::block(open);
  self.closed.fetch_or(open.bits());
  sigsafe::the_intake().ever_closed.fetch_or(open.bits());
}

void runtime::open_here() noexcept {
  const std::lock_guard hold{control_};
  sigsafe::thread_block& self = here();
  const signal_set closed{self.closed.exchange(0)};
  sys::unblock(closed);
}

}  // namespace sigrun::signal

namespace sigrun {
namespace {

using signal::runtime;

void ask(int tid, signal_set open, signal_set close, std::error_code& error) noexcept {
  error.clear();
  const long exists = sys::tgkill(sys::getpid(), tid, 0);
  if (sys::failed(exists)) {
    error = {static_cast<int>(-exists), std::system_category()};
  } else if (!sigsafe::request_mask(tid, open, close, sigsafe::mask_request::requested)) {
    error = {EAGAIN, std::system_category()};
  }
}

}  // namespace

void close_thread() { runtime::start().close_here(); }
void open_thread() { runtime::start().open_here(); }

void close_thread(int tid, std::error_code& error) noexcept {
  runtime* now = runtime::running();
  if (now == nullptr) {
    error.clear();
    return;  // nothing is subscribed
  }
  const signal_set set = now->closable();
  sigsafe::the_intake().ever_closed.fetch_or(set.bits());
  ask(tid, {}, set, error);
}

void open_thread(int tid, std::error_code& error) noexcept {
  runtime* now = runtime::running();
  if (now == nullptr) {
    error.clear();
    return;
  }
  const sigsafe::intake& in = sigsafe::the_intake();
  ask(tid, signal_set{in.ever_closed.load()} - in.start_mask, {}, error);
}

original_mask::original_mask() noexcept : before_(sys::current_mask().bits()) {
  sys::set_mask(sigsafe::original_thread_mask(signal_set{before_}));
}

original_mask::~original_mask() { sys::set_mask(signal_set{before_}); }

}  // namespace sigrun
