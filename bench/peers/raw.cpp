// SPDX-License-Identifier: Apache-2.0
//
// The floors, by system calls alone: HOW is sigwait (a thread in sigwaitinfo), signalfd (a loop of
// epoll_wait and signalfd) or pipe (a handler that writes a byte to a pipe, and epoll_wait).
#include "../receiver.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace {

sigset_t awaited(const bench::receiver& r) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, r.signo());
  sigaddset(&set, bench::end_signal);
  return set;
}

// Only sigqueue carries a payload.
bool take(bench::receiver& r, int signo, int code, int value) {
  return code == SI_QUEUE ? r.on_signal_with(signo, value) : r.on_signal(signo);
}

void sigwait_thread(bench::receiver& r) {
  const sigset_t set = awaited(r);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  r.ready();
  siginfo_t info;
  do {
    while (sigwaitinfo(&set, &info) < 0) {
    }
  } while (take(r, info.si_signo, info.si_code, info.si_value.sival_int));
}

int epoll_on(int fd) {
  const int ep = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
  return ep;
}

void signalfd_loop(bench::receiver& r) {
  const sigset_t set = awaited(r);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK);
  const int ep = epoll_on(fd);
  r.ready();
  for (;;) {
    epoll_event event;
    epoll_wait(ep, &event, 1, -1);
    signalfd_siginfo records[64];
    ssize_t bytes;
    while ((bytes = read(fd, records, sizeof records)) > 0) {
      const std::size_t n = static_cast<std::size_t>(bytes) / sizeof records[0];
      for (std::size_t i = 0; i < n; ++i) {
        const auto& info = records[i];
        if (!take(r, static_cast<int>(info.ssi_signo), info.ssi_code, info.ssi_int)) return;
      }
    }
  }
}

int pipe_ends[2];

void write_byte(int signo) {
  const int before = errno;
  const auto byte = static_cast<unsigned char>(signo);
  static_cast<void>(!write(pipe_ends[1], &byte, 1));
  errno = before;
}

void pipe_loop(bench::receiver& r) {
  if (pipe2(pipe_ends, O_NONBLOCK) != 0) std::exit(2);
  struct sigaction action {};
  action.sa_handler = write_byte;
  action.sa_flags = SA_RESTART;
  sigaction(r.signo(), &action, nullptr);
  sigaction(bench::end_signal, &action, nullptr);
  const int ep = epoll_on(pipe_ends[0]);
  r.ready();
  for (;;) {
    epoll_event event;
    epoll_wait(ep, &event, 1, -1);
    unsigned char bytes[256];
    ssize_t n;
    while ((n = read(pipe_ends[0], bytes, sizeof bytes)) > 0) {
      for (ssize_t i = 0; i < n; ++i) {
        if (!r.on_signal(bytes[i])) return;
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::receiver r(argc, argv);
  if (r.how("sigwait")) {
    sigwait_thread(r);
  } else if (r.how("signalfd")) {
    signalfd_loop(r);
  } else if (r.how("pipe")) {
    pipe_loop(r);
  } else {
    std::fprintf(stderr, "HOW must be sigwait, signalfd or pipe\n");
    return 2;
  }
  return 0;
}
