// SPDX-License-Identifier: Apache-2.0
//
// The program the runner tests run. It works through raw system calls, so that it also sees signals
// 32 and 33, and reports each thing it learns as one line on stdout.
//
//   probe listen        blocks everything, prints "ready PID PGID SID", then one line per signal:
//                       "signal SIGNO CODE PID VALUE". SIGRTMAX with value 1000+N: exits with N.
//   probe listen-fork   the same in a parent and a child of one group, each line led by "0 " or "1
//   " probe state         prints "blocked HEX ignored HEX" probe orphans N     leaves N processes
//   behind, one after another, that end at once probe hold          prints "ready PID" and waits
//   with SIGTERM, SIGINT, SIGHUP ignored
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

using sigrun::signal_set;
namespace sys = sigrun::sys;

constexpr unsigned dead_man_s = 100;  // no probe outlives a test that died

[[noreturn]] void listen(const char* lead) {
  sys::set_mask(signal_set::all());
  std::printf("%sready %d %d %d\n", lead, getpid(), getpgid(0), getsid(0));
  std::fflush(stdout);
  for (;;) {
    siginfo_t info;
    std::memset(&info, 0, sizeof info);
    const sys::timespec64 patience{dead_man_s, 0};
    const long signo = sys::rt_sigtimedwait(signal_set::all(), &info, &patience);
    if (signo == -EAGAIN) std::exit(99);
    if (signo < 0) continue;
    const int value = info.si_code == SI_QUEUE ? info.si_value.sival_int : 0;
    if (signo == 64 && value >= 1000) std::exit(value - 1000);
    std::printf("%ssignal %ld %d %d %d\n", lead, signo, info.si_code, info.si_pid, value);
    std::fflush(stdout);
  }
}

int state() {
  signal_set ignored;
  for (int signo = 1; signo <= 64; ++signo) {
    sys::kernel_sigaction action;
    sys::rt_sigaction(signo, nullptr, &action);
    if (action.handler == sys::handler_ignore) ignored |= signal_set::of(signo);
  }
  std::printf("blocked %016llx ignored %016llx\n",
              static_cast<unsigned long long>(sys::current_mask().bits()),
              static_cast<unsigned long long>(ignored.bits()));
  return 0;
}

int orphans(int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      if (fork() == 0) _exit(0);
      _exit(0);
    }
    if (child < 0 || waitpid(child, nullptr, 0) != child) return 1;
  }
  std::printf("left %d\n", count);
  std::fflush(stdout);
  return 0;
}

int hold() {
  for (const int signo : {SIGTERM, SIGINT, SIGHUP}) std::signal(signo, SIG_IGN);
  std::printf("ready %d\n", getpid());
  std::fflush(stdout);
  alarm(dead_man_s);
  for (;;) pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode(argc > 1 ? argv[1] : "");
  if (mode == "listen") listen("");
  if (mode == "listen-fork") listen(fork() == 0 ? "1 " : "0 ");
  if (mode == "state") return state();
  if (mode == "orphans") {
    const int result = orphans(std::atoi(argv[2]));
    if (argc > 3 && result == 0) listen("");
    return result;
  }
  if (mode == "hold") return hold();
  return 98;
}
