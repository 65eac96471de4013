// SPDX-License-Identifier: Apache-2.0
//
// run_with_signals: the initial thread serves the duty while the program's own main runs elsewhere.
#include "signal/runtime.hpp"

#include <exception>
#include <stdexcept>

namespace sigrun::signal {

// The initial thread becomes a receiver that is never notified until the program has ended: as
// such it leads whenever no other receiver does, and the kernel asks it first.
void runtime::serve_here() {
  sched::parker parker;
  service_.store(&parker);
  wait(&parker, sys::never);
  service_.store(nullptr);
}

void runtime::end_service() noexcept {
  for (;;) {
    if (sched::parker* parker = service_.load()) {
      parker->unpark();
      return;
    }
    sys::call(SYS_sched_yield);
  }
}

}  // namespace sigrun::signal

namespace sigrun {

int run_with_signals(int (*main)(void*), void* argument) {
  if (sys::gettid() != sys::getpid()) {
    throw std::logic_error("sigrun::run_with_signals: not on the process's initial thread");
  }
  signal::runtime& runtime = signal::runtime::start();
  int result = 0;
  std::exception_ptr failure;
  std::thread program([&] {
    try {
      result = main(argument);
    } catch (...) {
      failure = std::current_exception();
    }
    runtime.end_service();
  });
  runtime.serve_here();
  program.join();
  if (failure) std::rethrow_exception(failure);
  return result;
}

}  // namespace sigrun
