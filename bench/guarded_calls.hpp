// SPDX-License-Identifier: Apache-2.0
//
// What is called under a guard: a function that does nothing, and one that reads through null. The
// guards differ, and the rest is the same.
#pragma once

#include "samples.hpp"

#include <cstdlib>

namespace bench {

using function = void (*)();

// Unknown to the compiler, so that every call is one.
inline function opaque(function f) {
  asm volatile("" : "+r"(f));
  return f;
}

[[gnu::noinline]] inline void does_nothing() { asm volatile("" ::: "memory"); }

[[gnu::noinline]] inline void reads_through_null() {
  const int* at = nullptr;
  asm volatile("" : "+r"(at));
  asm volatile("" : : "r"(*at) : "memory");
}

/// call_ns: the function alone; guarded_ns: under the guard; beyond_ns: the difference.
template <class Guard>
void guarded_calls(report& to, Guard guard) {
  constexpr int batches = 400;
  constexpr long calls = 5000;
  const function f = opaque(&does_nothing);
  std::vector<double> alone = per_operation(batches, calls, [&](long n) {
    for (long i = 0; i < n; ++i) opaque(f)();
  });
  std::vector<double> guarded = per_operation(batches, calls, [&](long n) {
    for (long i = 0; i < n; ++i) guard(opaque(f));
  });
  std::sort(alone.begin(), alone.end());
  const double call_ns = alone[(alone.size() - 1) / 2];
  std::vector<double> beyond = guarded;
  for (double& each : beyond) each -= call_ns;
  to.value("call_ns", call_ns);
  to.samples("guarded", std::move(guarded));
  to.samples("beyond", std::move(beyond));
}

/// caught_ns: from the call to the handler's first line, the handler left.
template <class Guard>
void guarded_faults(report& to, Guard guard) {
  constexpr int batches = 200;
  constexpr long faults = 50;
  to.samples("caught", per_operation(batches, faults, [&](long n) {
               for (long i = 0; i < n; ++i) {
                 if (!guard(opaque(&reads_through_null))) std::exit(3);
               }
             }));
}

}  // namespace bench
