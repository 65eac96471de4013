// SPDX-License-Identifier: Apache-2.0
//
// The system makes no more threads for a while: goroutines go on with those there are, each refusal
// is counted and none leaves anything behind, and later ones are made again.
#include "sched/scheduler.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>

#include <gtest/gtest.h>

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

namespace {

std::atomic<bool> refusing{false};
std::atomic<int> refusals{0};

}  // namespace

// In place of the C library's, for the whole program.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*run)(void*), void* arg) {
  if (refusing) {
    ++refusals;
    return EAGAIN;
  }
  using create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<create>(dlsym(RTLD_NEXT, "pthread_create"));
  return real(thread, attributes, run, arg);
}

namespace sigrun {
namespace {

int machines() {
  sched::scheduler& s = sched::the_scheduler();
  const std::lock_guard hold(s.lock);
  int count = 0;
  for (const sched::machine* m = s.all_ms; m != nullptr; m = m->next) ++count;
  return count;
}

TEST(ThreadsRefused, GoroutinesGoOnAndNothingPilesUp) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a pthread_create of its own";
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
  GTEST_SKIP() << "the sanitizer has a pthread_create of its own";
#endif
#endif
  alarm(50);
  max_procs(4);
  go([] {}).join();
  refusing = true;
  const auto refused_before = statistics_of_scheduler().threads_refused;
  constexpr int many = 2000;
  go([] {
    std::vector<goroutine> all;
    while (refusals < many) {
      for (int i = 0; i < 4; ++i) all.push_back(go([] { yield(); }));
      for (auto& one : std::exchange(all, {})) one.join();
    }
  }).join();
  EXPECT_LE(machines(), 8) << "an object for each that the system refused";
  EXPECT_GE(statistics_of_scheduler().threads_refused - refused_before, std::uint64_t{many});
  refusing = false;
  // Needs a thread beside the one that is in the foreign call.
  chan<int> done(0);
  goroutine blocked = go([done] { foreign_call([done] { done.recv(); }); });
  go([done] { done.send(1); }).join();
  blocked.join();
  alarm(0);
}

}  // namespace
}  // namespace sigrun
