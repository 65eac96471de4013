// SPDX-License-Identifier: Apache-2.0
//
// A test's body in a process of its own, since the intake is the process's. The body returns 0, or
// says by REQUIRE at which line it failed.
#pragma once

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGRUN_UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define SIGRUN_UNDER_TSAN 1
#endif

#if defined(SIGRUN_UNDER_TSAN)
#define SKIP_UNDER_TSAN() GTEST_SKIP() << "the sanitizer runs a handler later, in no signal frame"
#else
#define SKIP_UNDER_TSAN() static_cast<void>(0)
#endif

#define REQUIRE(condition)       \
  do {                           \
    if (!(condition)) {          \
      return __LINE__ % 250 + 1; \
    }                            \
  } while (false)

namespace sigrun::test {

/// Its exit status, or minus the signal that killed it.
template <class F>
int in_a_child(F body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(45);  // a dead man's switch
    _exit(body());
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace sigrun::test
