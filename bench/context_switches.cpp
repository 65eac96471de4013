// SPDX-License-Identifier: Apache-2.0
//
// bench_context_switches MILLISECONDS PROGRAM [ARG...]
//
// Starts PROGRAM, which says "ready NUMBER" and then has nothing to do, and prints how often a
// minute the kernel switched one of its threads in or out, and the processor time it used.
#include "child.hpp"
#include "samples.hpp"

#include <dirent.h>

#include <cerrno>

namespace {

void sleep_ms(long milliseconds) {
  timespec left{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

// Voluntary and involuntary, of all threads. A thread that ends takes its count with it; an idle
// process has none that do.
long switches_of(pid_t pid) {
  char path[320];
  std::snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR* tasks = opendir(path);
  if (tasks == nullptr) {
    std::perror(path);
    std::exit(1);
  }
  long sum = 0;
  while (const dirent* task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    std::snprintf(path, sizeof path, "/proc/%d/task/%s/status", pid, task->d_name);
    std::FILE* status = std::fopen(path, "re");
    if (status == nullptr) continue;
    char line[256];
    long count = 0;
    while (std::fgets(line, sizeof line, status) != nullptr) {
      if (std::sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1) sum += count;
      if (std::sscanf(line, "nonvoluntary_ctxt_switches: %ld", &count) == 1) sum += count;
    }
    std::fclose(status);
  }
  closedir(tasks);
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const long milliseconds = argc > 2 ? std::atol(argv[1]) : 0;
  if (milliseconds <= 0) {
    std::fprintf(stderr, "usage: %s MILLISECONDS PROGRAM [ARG...]\n", argv[0]);
    return 2;
  }
  const bench::child program(argv + 2);
  sleep_ms(300);  // what it does once after its start
  const long before = switches_of(program.pid());
  const double cpu = program.cpu_ns();
  sleep_ms(milliseconds);
  const double minutes = static_cast<double>(milliseconds) / 60'000;
  bench::report report;
  report.value("per_minute", static_cast<double>(switches_of(program.pid()) - before) / minutes);
  report.value("cpu_us_per_minute", (program.cpu_ns() - cpu) / 1000 / minutes);
  report.print();
}
