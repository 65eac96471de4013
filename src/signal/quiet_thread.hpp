// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "signal/runtime.hpp"

#include <pthread.h>

#include <thread>
#include <utility>

namespace sigrun::signal {

/// A thread on which nothing but faults is open, for waiting on behalf of a subscription. Throws
/// std::system_error.
template <class F>
std::thread start_quiet_thread(const char* name, F f) {
  const signal_set before =
      sys::exchange_mask(signal_set::all() - fault_signals - signal_set::of(32, 33));
  try {
    std::thread thread([name, f = std::move(f)]() mutable {
      pthread_setname_np(pthread_self(), name);
      sys::unblock(signal_set::of(SIGURG));
      f();
    });
    sys::set_mask(before);
    return thread;
  } catch (...) {
    sys::set_mask(before);
    throw;
  }
}

}  // namespace sigrun::signal
