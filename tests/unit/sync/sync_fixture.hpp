// SPDX-License-Identifier: Apache-2.0
//
// What the tests of sync.hpp share. No test sleeps to get an order: a caller is known to wait when
// the object's queue says so.
#pragma once

#include <sigrun/sync.hpp>

#include "support/callers.hpp"
#include "sync/wait_list.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace sigrun::test {

/// Returns when n callers wait on the object.
template <class T>
void until_waiting(T& object, std::size_t n) {
  while (detail::sync_access::waiting(object) != n) std::this_thread::yield();
}

template <class F>
std::string logic_error_text(F f) {
  try {
    f();
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "nothing thrown";
}

/// Joins at the end of a scope.
class threads {
 public:
  template <class F>
  void start(F f) {
    threads_.emplace_back(std::move(f));
  }
  void join() {
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  ~threads() { join(); }

 private:
  std::vector<std::thread> threads_;
};

/// A test that hangs ends the program, and says so by its wait status.
class SyncTest : public ::testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }
};

}  // namespace sigrun::test
