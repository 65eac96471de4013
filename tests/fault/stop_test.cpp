// SPDX-License-Identifier: Apache-2.0
//
// A signal that the kernel has handed to our handler while stop() is putting the program's own back
// on another thread. The order of the two is forced by watching their system calls.
#include "fault/fault_syscall6.hpp"

#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <atomic>
#include <thread>

namespace sigrun {
namespace {

// The kernel's struct begins with the handler on both CPUs.
struct raw_action {
  void (*handler)(int);
  unsigned long rest[8];
};

std::atomic<int> handled{0};
std::atomic<int> bystander{0};  // the thread that has the signal open
enum { before_stop, stopping, sent, entered };
std::atomic<int> stage{before_stop};

void program_handler(int) { ++handled; }

bool handler_is_back() {
  raw_action now{};
  syscall(SYS_rt_sigaction, SIGUSR1, nullptr, &now, 8);
  return now.handler == &program_handler;
}

// stop() asks for the disposition before it puts the older one back: there the signal is sent. The
// handler asks for it too: there it waits until stop() has done so.
void force_order(long number, long signo, long action) {
  if (number != SYS_rt_sigaction || signo != SIGUSR1 || action != 0) return;
  const long tid = syscall(SYS_gettid);
  int expected = stopping;
  if (tid != bystander && stage.compare_exchange_strong(expected, sent)) {
    syscall(SYS_tgkill, getpid(), bystander.load(), SIGUSR1);
    while (stage.load() != entered) sched_yield();
  } else if (tid == bystander && stage.load() == sent) {
    stage = entered;
    while (!handler_is_back()) sched_yield();
  }
}

int stop_while_our_handler_runs() {
  signal(SIGUSR1, &program_handler);
  std::atomic<bool> done{false};
  // Made before notify(), so nobody closes it.
  std::thread open([&done] {
    bystander = static_cast<int>(syscall(SYS_gettid));
    while (!done) sched_yield();
  });
  while (bystander == 0) sched_yield();
  signal_chan ch(4);
  notify(ch, {SIGUSR1});
  fault::watch(&force_order);
  stage = stopping;
  stop(ch);
  while (handled == 0) sched_yield();
  fault::watch(nullptr);
  done = true;
  open.join();
  if (stage != entered) return 1;
  return handled == 1 ? 0 : 2;
}

TEST(stop_test, a_signal_between_two_handlers_reaches_the_one_that_is_put_back) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the watcher runs in a handler, which TSan must not see";
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "the watcher runs in a handler, which TSan must not see";
#endif
#endif
  const pid_t child = fork();
  if (child == 0) {
    alarm(40);
    _exit(stop_while_our_handler_runs());
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "a signal number is the death by it, 256 and more an exit status";
}

}  // namespace
}  // namespace sigrun
