// SPDX-License-Identifier: Apache-2.0
//
// The smallest scheduler: a worker is a thread, and resumes a test_fiber until that parks or ends.
#pragma once

#include "fiber/fiber.hpp"

#include <sys/mman.h>

#include <functional>
#include <stdexcept>
#include <utility>

namespace sigrun::test {

struct worker {
  worker() {
    fiber::adopt_thread(self);
    words = fiber::this_thread_words();
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;
  ~worker() { fiber::destroy(self); }

  fiber::fiber_state self;
  fiber::thread_words words;
};

class test_fiber {
 public:
  explicit test_fiber(std::function<void(test_fiber&)> body) : body_(std::move(body)) {
    memory_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::runtime_error("mmap");
    fiber::create(state_, memory_, size, entry, this);
  }
  test_fiber(const test_fiber&) = delete;
  test_fiber& operator=(const test_fiber&) = delete;
  ~test_fiber() {
    fiber::destroy(state_);
    munmap(memory_, size);
  }

  /// Runs it on the calling thread until it parks or ends.
  void resume(worker& on) {
    worker_ = &on;
    fiber::switch_to(on.self, state_, fiber::leave::parks, on.words);
  }
  /// From inside.
  void park() {
    worker& on = *worker_;
    fiber::switch_to(state_, on.self, fiber::leave::parks, on.words);
  }
  bool done() const { return done_; }
  fiber::fiber_state& state() { return state_; }
  worker& on() { return *worker_; }
  bool holds(const void* address) const {
    return address >= memory_ && address < static_cast<std::byte*>(memory_) + size;
  }

 private:
  static constexpr std::size_t size = 256 * 1024;

  static void entry(void* arg, void*) {
    fiber::arrived();
    auto& self = *static_cast<test_fiber*>(arg);
    self.body_(self);
    self.done_ = true;
    fiber::switch_to(self.state_, self.worker_->self, fiber::leave::ends, self.worker_->words);
  }

  std::function<void(test_fiber&)> body_;
  fiber::fiber_state state_;
  worker* worker_ = nullptr;
  void* memory_ = nullptr;
  bool done_ = false;
};

}  // namespace sigrun::test
