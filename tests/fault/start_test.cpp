// SPDX-License-Identifier: Apache-2.0
//
// Every system call that starting the runtime needs, failing in turn: notify() throws the kernel's
// own error, nothing stays behind, and the next notify() works. Each case in a child of its own,
// because the runtime starts once per process.
#include "fault/fault_syscall6.hpp"

#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <cerrno>
#include <filesystem>
#include <functional>

namespace sigrun {
namespace {

struct refusal {
  const char* name;
  long number;
  int nth;
  int error;
};

int threads() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

int in_a_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

class start_test : public ::testing::TestWithParam<refusal> {};

TEST_P(start_test, a_refused_system_call_is_the_error_of_notify_and_leaves_nothing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has threads and alternate stacks of its own";
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
  GTEST_SKIP() << "the sanitizer has threads and alternate stacks of its own";
#endif
#endif
  const refusal& refused = GetParam();
  const int status = in_a_child([&refused] {
    signal_chan ch(4);
    fault::fail(refused.number, refused.nth, refused.error);
    try {
      notify(ch, SIGUSR1);
      return 10;
    } catch (const std::system_error& error) {
      if (error.code().value() != refused.error) return 11;
    }
    if (fault::calls() < refused.nth) return 12;
    fault::fail(0, 0, 0);
    if (threads() != 1) return 13;
    struct sigaction now {};
    sigaction(SIGUSR1, nullptr, &now);
    if (now.sa_handler != SIG_DFL) return 14;
    signal_chan again(4);
    notify(again, SIGUSR1);
    kill(getpid(), SIGUSR1);
    const auto event = again.recv();
    return event && event->signo == SIGUSR1 ? 0 : 15;
  });
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

INSTANTIATE_TEST_SUITE_P(calls, start_test,
                         ::testing::Values(refusal{"queue", SYS_mmap, 1, ENOMEM},
                                           refusal{"stack", SYS_mmap, 2, ENOMEM},
                                           refusal{"guard", SYS_mprotect, 1, ENOMEM},
                                           refusal{"altstack", SYS_sigaltstack, 2, ENOMEM}),
                         [](const auto& instance) { return instance.param.name; });

TEST(fd_test, a_refused_descriptor_is_an_error_that_names_the_call) {
  signal_chan ch(1);
  fault::fail(SYS_eventfd2, 1, EMFILE);
  try {
    static_cast<void>(ch.fd());
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EMFILE);
    EXPECT_NE(std::string(error.what()).find("eventfd"), std::string::npos);
  }
  fault::fail(0, 0, 0);
  EXPECT_GE(ch.fd(), 0);
}

TEST(fd_test, without_a_signalfd_the_channel_still_has_a_descriptor) {
  const int status = in_a_child([] {
    signal_chan ch(4);
    notify(ch, SIGUSR2);
    fault::fail(SYS_signalfd4, 1, EMFILE);
    if (ch.fd() < 0) return 10;
    kill(getpid(), SIGUSR2);
    return ch.recv()->signo == SIGUSR2 ? 0 : 11;
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace sigrun
