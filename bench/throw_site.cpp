// SPDX-License-Identifier: Apache-2.0
//
// bench_throw_site on|off
//
// What it costs to throw and catch an exception, through 1, 10 and 25 frames that have nothing to
// be destroyed, with the place of each throw noted for crash reports (`throw_sites`) and without.
#include "samples.hpp"

#include <sigrun/crash.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

[[gnu::noinline]] int thrown_through(int frames) {
  if (frames <= 1) throw frames;
  const int result = thrown_through(frames - 1);
  asm volatile("" ::: "memory");  // not a tail call
  return result + 1;
}

bool catches(int frames) {
  try {
    return thrown_through(frames) == 0;
  } catch (int) {
    return true;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc > 1 ? argv[1] : "";
  if (how != "on" && how != "off") {
    std::fprintf(stderr, "usage: %s on|off\n", argv[0]);
    return 2;
  }
  sigrun::install_crash_reports({.symbolize = false, .throw_sites = how == "on"});
  bench::report report;
  constexpr int batches = 200;
  constexpr long throws = 100;
  for (const int frames : {1, 10, 25}) {
    report.samples("frames_" + std::to_string(frames),
                   bench::per_operation(batches, throws, [&](long n) {
                     for (long i = 0; i < n; ++i) {
                       if (!catches(frames)) std::exit(3);
                     }
                   }));
  }
  report.print();
}
