// SPDX-License-Identifier: Apache-2.0
//
// signal_probe MODE SIGNO: one program under one signal. It sets up MODE, says that it is ready,
// and then either waits for the event and prints it ("event SIGNO CODE PID"), or waits to be told
// to end and prints "alive". What happens to it in between is what matrix_test.cpp asserts.
//
//   nothing          the runtime is linked and never used
//   idle             the runtime runs for another signal
//   notify           a channel has SIGNO
//   ignore           ignore(SIGNO)
//   stop             notify, then stop
//   reset            ignore, then reset
//   respect          notify with respect_inherited_ignore
//
// All of that in a goroutine, with SIGRUN_TEST_BODY=child in the environment.
#include "support/child_process.hpp"
#include "support/test_body.hpp"

#include <sigrun/signal.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;
using sigrun::signal_chan;

// Keeps the runtime at work without touching the signal under test.
void start_runtime(const signal_chan& ch, int signo) {
  sigrun::notify(ch, signo == SIGWINCH ? SIGIO : SIGWINCH);
}

bool subscribe(const signal_chan& ch, int signo, bool respect = false) {
  sigrun::notify_options options;
  options.allow_sent_faults = true;
  options.respect_inherited_ignore = respect;
  try {
    sigrun::notify(ch, {signo}, options);
    return true;
  } catch (const std::invalid_argument& refused) {
    std::printf("refused %s\n", refused.what());
    return false;
  }
}

int stay_alive() {
  std::fflush(stdout);
  sigrun::test::announce_ready();
  sigrun::test::wait_for_go();
  std::printf("alive\n");
  return 0;
}

int print_event(const signal_chan& ch) {
  std::fflush(stdout);
  sigrun::test::announce_ready();
  sigrun::signal_event event;
  if (ch.recv_for(8s, event) != sigrun::chan_status::ok) {
    std::printf("nothing came\n");
    return 1;
  }
  std::printf("event %d %d %d\n", event.signo, event.code, event.pid);
  return 0;
}

int probe(const std::string& mode, int signo) {
  if (mode == "nothing") return stay_alive();
  const signal_chan other{8};
  start_runtime(other, signo);
  const signal_chan ch{8};
  if (mode == "idle") return stay_alive();
  if (mode == "notify") return subscribe(ch, signo) ? print_event(ch) : stay_alive();
  if (mode == "respect") {
    subscribe(ch, signo, true);
    const int code = stay_alive();
    sigrun::signal_event event;
    std::printf("%s\n", ch.try_recv(event) ? "got it" : "got nothing");
    return code;
  }
  if (mode == "stop") {
    if (subscribe(ch, signo)) sigrun::stop(ch);
    return stay_alive();
  }
  try {
    sigrun::ignore({signo});
    if (!sigrun::ignored(signo)) std::printf("not ignored\n");
    if (mode == "reset") {
      sigrun::reset({signo});
      if (sigrun::ignored(signo)) std::printf("still ignored\n");
    }
  } catch (const std::invalid_argument& refused) {
    std::printf("refused %s\n", refused.what());
  }
  return stay_alive();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: signal_probe MODE SIGNO\n");
    return 2;
  }
  return sigrun::test::run_child_body([argv] { return probe(argv[1], std::atoi(argv[2])); });
}
