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
  const signal_set before = sys::current_mask();
  sys::set_mask(signal_set::all() - fault_signals - signal_set::of(32, 33, SIGURG));
  try {
    std::thread thread([name, f = std::move(f)]() mutable {
      pthread_setname_np(pthread_self(), name);
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
