// SPDX-License-Identifier: Apache-2.0
//
// The library's one door to the kernel, with a plan to fail one call.
#include "fault/fault_syscall6.hpp"

#include "arch/syscall.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace sigrun::fault {
namespace {

std::atomic<long> planned_number{-1};
std::atomic<int> planned_nth{0};
std::atomic<int> planned_error{0};
std::atomic<int> made{0};
std::atomic<void (*)(long, long, long)> watcher{nullptr};

}  // namespace

void fail(long number, int nth, int error) noexcept {
  planned_number.store(-1);
  made.store(0);
  planned_nth.store(nth);
  planned_error.store(error);
  if (nth != 0) planned_number.store(number);
}

void watch(void (*look)(long, long, long)) noexcept { watcher.store(look); }

int calls() noexcept { return made.load(); }

}  // namespace sigrun::fault

extern "C" long sigrun_syscall6(long number, long a, long b, long c, long d, long e,
                                long f) noexcept {
  using namespace sigrun::fault;
  if (auto* const look = watcher.load()) look(number, a, b);
  if (number == planned_number.load() && made.fetch_add(1) + 1 == planned_nth.load()) {
    return -planned_error.load();
  }
  const int saved = errno;
  const long result = syscall(number, a, b, c, d, e, f);
  const int error = errno;
  errno = saved;
  return result == -1 ? -static_cast<long>(error) : result;
}
