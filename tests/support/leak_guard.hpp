// SPDX-License-Identifier: Apache-2.0
//
// What a test must leave as it found it: open fds, threads, the calling thread's signal mask and
// all 64 dispositions, read past libc so that 32 and 33 are seen too.
#pragma once

#include "sys/signal.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>
#include <vector>

namespace sigrun::test {

struct process_snapshot {
  std::map<int, std::string> fds;      // fd → what it is, as /proc/self/fd says
  std::map<int, std::string> threads;  // tid → name
  signal_set mask;
  std::array<sys::kernel_sigaction, signal_max + 1> actions;

  static process_snapshot take();
};

/// The runtime starts its own threads, eventfds and handlers once and keeps them for the rest of
/// the process: a test that uses it calls warm_up() first, or allows them.
struct leak_allowance {
  bool runtime_threads = true;  // threads named "sigrun-…"
  bool runtime_fds = true;      // eventfds and epoll fds that appear together with such a thread
  /// Dispositions that may change: glibc takes 32 and 33 when the first thread is made.
  signal_set actions = signal_set::of(32, 33);
  signal_set mask;  // blocked signals that may change
};

/// One line for each thing that differs; empty when nothing leaked. Threads that are just ending
/// are waited for, at most a second.
std::vector<std::string> leaks_since(const process_snapshot& before,
                                     const leak_allowance& allowed = {});

/// Compares at the end of a scope and fails the test with the list.
class leak_guard {
 public:
  explicit leak_guard(leak_allowance allowed = {});
  ~leak_guard();
  leak_guard(const leak_guard&) = delete;
  leak_guard& operator=(const leak_guard&) = delete;

 private:
  leak_allowance allowed_;
  process_snapshot before_;
};

/// Base of a fixture whose every test is a leak test.
class leak_guard_test : public ::testing::Test {
 protected:
  explicit leak_guard_test(leak_allowance allowed = {}) : guard_(allowed) {}

 private:
  leak_guard guard_;
};

}  // namespace sigrun::test
