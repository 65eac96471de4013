// SPDX-License-Identifier: Apache-2.0
//
// bench_startup COUNT PROGRAM [ARG...]
//
// Starts PROGRAM COUNT times, one after the other, and prints how long each took from the fork to
// the end of its wait, as one line of JSON. The child is made by vfork, so the cost does not
// depend on this program's size.
#include "page.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

std::int64_t run_once(char** arguments) {
  const std::int64_t begin = bench::now();
  const pid_t child = vfork();
  if (child == 0) {
    execv(arguments[0], arguments);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
    std::fprintf(stderr, "bench_startup: %s did not end with status 0\n", arguments[0]);
    std::exit(1);
  }
  return bench::now() - begin;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 2 ? std::atoi(argv[1]) : 0;
  if (count <= 0) {
    std::fprintf(stderr, "usage: %s COUNT PROGRAM [ARG...]\n", argv[0]);
    return 2;
  }
  constexpr int warm_up = 5;
  for (int i = 0; i < warm_up; ++i) run_once(argv + 2);
  std::vector<std::int64_t> v;
  v.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) v.push_back(run_once(argv + 2));
  std::sort(v.begin(), v.end());
  const auto at = [&v](std::size_t percent) {
    return static_cast<long long>(v[(v.size() - 1) * percent / 100]);
  };
  std::printf("{\"n\": %d, \"p50_ns\": %lld, \"p99_ns\": %lld, \"min_ns\": %lld}\n", count, at(50),
              at(99), at(0));
}
