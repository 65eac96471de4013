// SPDX-License-Identifier: Apache-2.0
//
// Goal: the scheduler's use of SIGURG takes nothing from a program that uses it too.

#include "asker.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/signal.hpp>

#include <csignal>

namespace sigrun::test {
namespace {

TEST_F(Preemption, UsersMayHaveSigurgThemselves) {
  signal_chan urgent(64);
  std::atomic<bool> done{false};
  goroutine spinning = go([&] { spin_until(done); });
  const auto goes_on = [] {
    const std::uint64_t goal = injected() + 5;
    while (injected() < goal) wait_a_moment();
  };
  {
    const asker asking;
    for (int round = 0; round < 3; ++round) {
      notify(urgent, SIGURG);
      for (int i = 0; i < 10; ++i) {
        kill(getpid(), SIGURG);
        const auto event = urgent.recv();
        ASSERT_TRUE(event);
        EXPECT_EQ(event->signo, SIGURG);
        EXPECT_EQ(event->pid, getpid());
      }
      goes_on();
      signal_event other;
      EXPECT_FALSE(urgent.try_recv(other)) << "a request of the scheduler's came out";
      if (round == 0) stop(urgent);
      if (round == 1) ignore({SIGURG});
      if (round == 2) reset({SIGURG});
      kill(getpid(), SIGURG);
      goes_on();
    }
  }
  done = true;
  spinning.join();
}

}  // namespace
}  // namespace sigrun::test
