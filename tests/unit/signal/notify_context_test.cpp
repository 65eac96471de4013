// SPDX-License-Identifier: Apache-2.0
//
// A context that a signal ends: with its sender as the cause, once, and with the signal's earlier
// disposition back in every way it can end.
#include <sigrun/notify_context.hpp>

#include <gtest/gtest.h>

#include <unistd.h>
#include <csignal>

#include <atomic>
#include <thread>

namespace sigrun {
namespace {

using namespace std::chrono_literals;

std::atomic<int> handled{0};

/// SIGUSR1 counts in a handler of the program's own where nobody subscribes.
class notify_context_test : public ::testing::Test {
 protected:
  void SetUp() override {
    alarm(50);
    handled = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { ++handled; };
    sigaction(SIGUSR1, &action, &before_);
  }
  void TearDown() override {
    // A test may have sent more than it saw handled. What is on its way to another thread yet, and
    // would be that thread's death by the default action, goes with the disposition (sigaction(2):
    // ignoring a signal discards what is pending of it).
    signal(SIGUSR1, SIG_IGN);
    sigaction(SIGUSR1, &before_, nullptr);
    alarm(0);
  }
  /// Whether a signal sent now reaches that handler.
  static bool disposition_is_back() {
    const int now = handled;
    kill(getpid(), SIGUSR1);
    while (handled == now) std::this_thread::yield();  // or the alarm ends the program
    return true;
  }

 private:
  struct sigaction before_ {};
};

TEST_F(notify_context_test, ends_by_the_first_signal_and_names_it_and_its_sender) {
  auto [ctx, stop] = notify_context(context(), {SIGUSR1, SIGHUP});
  EXPECT_FALSE(ctx.ended());
  auto [child, cancel] = with_timeout(ctx, 1h);
  kill(getpid(), SIGUSR1);
  child.wait();
  EXPECT_EQ(ctx.err(), context_errc::canceled);
  EXPECT_EQ(child.err(), context_errc::canceled);
  try {
    child.throw_if_ended();
    FAIL();
  } catch (const canceled_by_signal& cause) {
    EXPECT_EQ(cause.event().signo, SIGUSR1);
    EXPECT_EQ(cause.event().pid, getpid());
    EXPECT_EQ(cause.what(), "SIGUSR1 from pid " + std::to_string(getpid()) + " (uid " +
                                std::to_string(getuid()) + ")");
  }
  EXPECT_EQ(handled, 0);
  EXPECT_TRUE(disposition_is_back()) << "without a call of stop";
}

TEST_F(notify_context_test, stop_gives_the_signal_back_and_ends_the_context) {
  auto [ctx, stop] = notify_context(context(), {SIGUSR1});
  stop();
  EXPECT_EQ(ctx.err(), context_errc::canceled);
  EXPECT_EQ(ctx.reason(), "context canceled");
  EXPECT_TRUE(disposition_is_back());
  stop();
}

TEST_F(notify_context_test, dropping_stop_gives_the_signal_back_and_leaves_the_context) {
  context kept;
  {
    auto [ctx, stop] = notify_context(context(), {SIGUSR1});
    kept = ctx;
  }
  EXPECT_TRUE(disposition_is_back());
  EXPECT_FALSE(kept.ended());
}

TEST_F(notify_context_test, the_end_of_the_parent_gives_the_signal_back) {
  auto [parent, cancel] =
      with_timeout(context(), 5ms, std::make_exception_ptr(std::runtime_error("too late")));
  auto [ctx, stop] = notify_context(parent, {SIGUSR1});
  ctx.wait();
  EXPECT_EQ(ctx.reason(), "too late");
  while (handled == 0) {  // those sent while the subscription ends are taken by it
    kill(getpid(), SIGUSR1);
    std::this_thread::yield();
  }
  stop = signal_stop();
  EXPECT_TRUE(disposition_is_back());
  EXPECT_EQ(ctx.reason(), "too late");
}

TEST_F(notify_context_test, below_an_ended_parent_nothing_is_subscribed) {
  auto [parent, cancel] = with_cancel(context());
  cancel();
  auto [ctx, stop] = notify_context(parent, {SIGUSR1});
  EXPECT_TRUE(ctx.ended());
  EXPECT_TRUE(disposition_is_back());
}

TEST_F(notify_context_test, misuse_is_an_error_that_names_the_signal) {
  EXPECT_THROW(static_cast<void>(notify_context(context(), {SIGKILL})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(notify_context(context(), {0})), std::invalid_argument);
}

TEST_F(notify_context_test, a_signal_against_stop_is_the_cause_or_the_handlers) {
  for (int round = 0; round < 200; ++round) {
    const int before = handled;
    auto [ctx, stop] = notify_context(context(), {SIGUSR1});
    std::thread sender([] { kill(getpid(), SIGUSR1); });
    if (round % 2 == 0) std::this_thread::yield();
    stop();
    sender.join();
    bool by_signal = false;
    try {
      ctx.throw_if_ended();
    } catch (const canceled_by_signal&) {
      by_signal = true;
    } catch (const std::system_error&) {
    }
    if (by_signal) {
      EXPECT_EQ(handled, before);
    } else {
      while (handled == before) std::this_thread::yield();
    }
  }
}

}  // namespace
}  // namespace sigrun
