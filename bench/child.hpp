// SPDX-License-Identifier: Apache-2.0
//
// A program under test that is measured from outside: started, heard to say "ready NUMBER" on its
// first line, looked at, and killed. A peer that catches signals cannot escape SIGKILL.
#pragma once

#include "page.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace bench {

class child {
 public:
  /// Starts argv[0], looked up as a shell does, and waits until it is ready.
  explicit child(char** argv) {
    int ends[2];
    if (pipe(ends) != 0) fail("pipe");
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) fail("fork");
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      execvp(argv[0], argv);
      _exit(127);
    }
    close(ends[1]);
    output_ = fdopen(ends[0], "r");
    if (output_ == nullptr || std::fscanf(output_, "ready %d", &number_) != 1) {
      std::fprintf(stderr, "bench: %s did not become ready\n", argv[0]);
      std::exit(1);
    }
    if (clock_getcpuclockid(pid_, &cpu_clock_) != 0) fail("clock_getcpuclockid");
  }
  child(const child&) = delete;
  child& operator=(const child&) = delete;
  ~child() {
    if (pid_ != 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    std::fclose(output_);
  }

  /// Waits for its end: when that was.
  std::int64_t wait() {
    waitpid(pid_, nullptr, 0);
    const std::int64_t at = now();
    pid_ = 0;
    return at;
  }
  /// The number behind a word of its own line; 0 when there is none.
  long long said(const char* word) {
    char line[256];
    while (std::fgets(line, sizeof line, output_) != nullptr) {
      const std::size_t length = std::strlen(word);
      if (std::strncmp(line, word, length) == 0) return std::atoll(line + length);
    }
    return 0;
  }

  pid_t pid() const { return pid_; }
  /// What it said after "ready": a port.
  int number() const { return number_; }

  /// Processor time of all its threads so far. The scheduler's own account, in nanoseconds; the
  /// ticks of /proc/PID/stat are 10 ms.
  double cpu_ns() const {
    timespec t{};
    if (clock_gettime(cpu_clock_, &t) != 0) fail("the child is gone: clock_gettime");
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    std::perror(what);
    std::exit(1);
  }

  pid_t pid_ = 0;
  std::FILE* output_ = nullptr;
  int number_ = 0;
  clockid_t cpu_clock_{};
};

}  // namespace bench
