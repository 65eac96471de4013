// SPDX-License-Identifier: Apache-2.0
//
//   children COMMAND...
//
// Runs each command in a shell, all at once, and says how each one ended. One poll loop waits for
// the ends, through pidfds, and for signals, through a channel: SIGTERM and SIGINT are passed on to
// those that still run, and the second of them kills.
#include <sigrun/process.hpp>
#include <sigrun/signal.hpp>

#include <poll.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace {

struct running {
  std::string command;
  sigrun::process::child child;
  std::optional<sigrun::process::exit_status> ended;
};

void print_end(const running& one) {
  if (one.ended->signal != 0) {
    std::printf("%s: killed by %s\n", one.command.c_str(),
                sigrun::signal_name(one.ended->signal).data());
  } else {
    std::printf("%s: exit status %d\n", one.command.c_str(), one.ended->code);
  }
}

// A child that ended a moment ago is no error (ESRCH).
void pass_on(std::vector<running>& all, int signo) {
  for (running& one : all) {
    std::error_code gone;
    if (!one.ended) one.child.signal(signo, gone);
  }
}

std::size_t reap(std::vector<running>& all) {
  std::size_t left = 0;
  for (running& one : all) {
    if (one.ended) continue;
    one.ended = one.child.wait_for(std::chrono::nanoseconds(0));
    if (one.ended) {
      print_end(one);
    } else {
      ++left;
    }
  }
  return left;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const sigrun::signal_chan signals(16);
  sigrun::notify(signals, SIGTERM, SIGINT);

  std::vector<running> all;
  for (int i = 1; i < argc; ++i) {
    // A group of its own: Ctrl-C is ours to pass on, and reaches no child twice.
    all.push_back(
        {argv[i], sigrun::process::spawn({"sh", "-c", argv[i]}, {.new_process_group = true}), {}});
  }
  std::printf("ready, %zu running\n", all.size());

  bool asked = false;
  while (reap(all) != 0) {
    std::vector<pollfd> wait{{signals.fd(), POLLIN, 0}};
    for (const running& one : all) {
      if (!one.ended) wait.push_back({one.child.pidfd(), POLLIN, 0});
    }
    ::poll(wait.data(), wait.size(), -1);
    for (sigrun::signal_event event; signals.try_recv(event);) {
      std::printf("%s from pid %d\n", sigrun::signal_name(event.signo).data(), event.pid);
      pass_on(all, asked ? SIGKILL : event.signo);
      asked = true;
    }
  }
  for (const running& one : all) {
    if (!one.ended->success()) return 1;
  }
  return 0;
}
