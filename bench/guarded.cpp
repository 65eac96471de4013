// SPDX-License-Identifier: Apache-2.0
//
// bench_guarded: what sigrun::guarded costs beyond the call itself, and what a fault costs that it
// catches.
#include "guarded_calls.hpp"

#include <sigrun/fault.hpp>

int main() {
  bench::report report;
  bench::guarded_calls(report, [](bench::function f) { sigrun::guarded(f); });
  bench::guarded_faults(report, [](bench::function f) {
    try {
      sigrun::guarded(f);
      return false;
    } catch (const sigrun::fault_error&) {
      return true;
    }
  });
  report.print();
}
