// SPDX-License-Identifier: Apache-2.0
//
// Signals raised for one goroutine: what arrives, in which order, and what becomes of the rest;
// exceptions, deferral. Where the goroutine is meanwhile is directed_test.cpp's. A test never
// sleeps for order.
#include "raising.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/context.hpp>
#include <sigrun/dump.hpp>
#include <sigrun/select.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <system_error>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;

// ------------------------------------------------------------------------------- what arrives

TEST_F(Raise, AnEventArrivesWithItsWholeRecord) {
  std::optional<signal_event> got;
  chan<int> stop(0);
  goroutine target = go([&] {
    const raise_handler on_usr1(SIGUSR1, [&](const signal_event& event) { got = event; });
    stop.recv();
  });
  const std::uint64_t to = target.id();
  std::uint64_t from = 0;
  until_state(to, "chan receive");
  go([&] {
    from = goroutine_id();
    EXPECT_TRUE(target.raise(SIGUSR1, 0x1234567890));
  }).join();
  until([&] { return target.ref().stats().handled == 1; });
  stop.send(1);
  target.join();
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->signo, SIGUSR1);
  EXPECT_EQ(got->origin, signal_origin::goroutine);
  EXPECT_EQ(got->cause, signal_cause::raise);
  EXPECT_EQ(got->value_bits, 0x1234567890U);
  EXPECT_EQ(got->pid, getpid());
  EXPECT_EQ(got->uid, getuid());
  EXPECT_EQ(got->sequence, 1U);
  EXPECT_EQ(got->count, 1U);
  ASSERT_NE(got->raised(), nullptr);
  EXPECT_EQ(got->raised()->from, from);
  EXPECT_EQ(got->raised()->to, to);
  EXPECT_GT(got->at.taken, 0);
  EXPECT_GE(got->at.received, got->at.taken);
}

TEST_F(Raise, EventsOfAllSignalsAreHandledInTheOrderRaised) {
  std::vector<std::uint64_t> seen;
  std::atomic<bool> raised{false};
  goroutine target = go([&] {
    const auto note = [&](const signal_event& event) { seen.push_back(event.value_bits); };
    const raise_handler a(SIGUSR1, note);
    const raise_handler b(signal_set::of(SIGUSR2, 40), note);
    until([&] { return raised.load(); });
    preempt_point();
  });
  const int signals[] = {40, SIGUSR1, SIGUSR2};
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_TRUE(target.raise(signals[i % 3], i));
  raised = true;
  target.join();
  ASSERT_EQ(seen.size(), 60U);
  for (std::uint64_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i);
}

TEST_F(Raise, TheYoungestHandlerCountsAndTheOlderIsBackAfterIt) {
  std::string seen;
  go([&] {
    const goroutine_ref self = this_goroutine();
    const raise_handler outer(SIGUSR1, [&](const signal_event&) { seen += 'o'; });
    {
      const raise_handler inner(SIGUSR1, [&](const signal_event&) { seen += 'i'; });
      self.raise(SIGUSR1);
      preempt_point();
    }
    self.raise(SIGUSR1);
    preempt_point();
  }).join();
  EXPECT_EQ(seen, "io");
}

TEST_F(Raise, WhatHasNoHandlerWaitsForOneAndKeepsNobodyBusy) {
  std::string seen;
  go([&] {
    const goroutine_ref self = this_goroutine();
    const raise_handler usr2(SIGUSR2, [&](const signal_event& e) { seen += char(e.value_bits); });
    self.raise(SIGUSR1, 'a');
    self.raise(SIGUSR2, 'b');
    self.raise(SIGUSR1, 'c');
    preempt_point();
    EXPECT_EQ(seen, "b");
    EXPECT_EQ(info_of(goroutine_id())->deferred, signal_set::of(SIGUSR1));
    const raise_handler usr1(SIGUSR1, [&](const signal_event& e) { seen += char(e.value_bits); });
    preempt_point();
    EXPECT_EQ(seen, "bac");
    EXPECT_TRUE(info_of(goroutine_id())->deferred.empty());
  }).join();
}

// A child of fork(2) goes on as the goroutine that it was, without the others.
TEST_F(Raise, AnEventAfterForkAndSetuidHasTheIdsOfThen) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "to the sanitizer the child's scheduler races with the parent's threads";
#endif
#endif
  std::optional<signal_event> got;
  go([&] {
    const goroutine_ref self = this_goroutine();
    const raise_handler usr1(SIGUSR1, [&](const signal_event& event) { got = event; });
    const auto ids_are_right = [&] {
      self.raise(SIGUSR1);
      preempt_point();
      return got->pid == getpid() && got->uid == getuid();
    };
    EXPECT_TRUE(ids_are_right());
    const pid_t child = fork();
    if (child == 0) {
      alarm(45);
      if (!ids_are_right()) _exit(1);
      if (getuid() != 0) _exit(0);
      _exit(setuid(65'534) == 0 && ids_are_right() ? 0 : 2);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(ids_are_right());
  }).join();
}

// ------------------------------------------------------------------------------ from a handler

std::atomic<const handler_raise*> to_raise{nullptr};

extern "C" void raise_in_handler(int signo, siginfo_t* info, void*) {
  (*to_raise)(signo, static_cast<std::uint64_t>(info->si_value.sival_int));
}

TEST_F(Raise, AHandlerOfTheKernelsRaisesAndTheGoroutineHandlesInOrdinaryCode) {
  std::vector<std::uint64_t> seen;
  chan<int> stop(0);
  goroutine target = go([&] {
    const raise_handler note(SIGRTMIN + 5, [&](const signal_event& event) {
      EXPECT_EQ(event.origin, signal_origin::goroutine);
      EXPECT_EQ(event.raised()->from, 0U);
      EXPECT_EQ(event.raised()->to, goroutine_id());
      seen.push_back(event.value_bits);
    });
    stop.recv();
  });
  until_state(target.id(), "chan receive");
  const handler_raise raise_there(target.ref());
  to_raise = &raise_there;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_sigaction = &raise_in_handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  ASSERT_EQ(sigaction(SIGRTMIN + 5, &action, &before), 0);
  const signal_stats signals_before = stats();
  constexpr int sent = 20;
  for (int i = 0; i < sent; ++i) {
    sigval value{};
    value.sival_int = i;
    ASSERT_EQ(sigqueue(getpid(), SIGRTMIN + 5, value), 0);
    until([&] { return target.ref().stats().handled == static_cast<std::uint64_t>(i) + 1; });
  }
  EXPECT_FALSE(raise_there(SIGKILL));
  EXPECT_FALSE(raise_there(65));
  stop.send(1);
  target.join();
  ASSERT_EQ(seen.size(), 20U);
  for (std::uint64_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i);
  // To one that has ended it is unclaimed.
  EXPECT_TRUE(raise_there(SIGUSR1));
  until([&] { return stats().unclaimed == signals_before.unclaimed + 1; });
  const signal_stats now = stats();
  EXPECT_EQ(now.received - signals_before.received, 21U);
  EXPECT_EQ(now.dispatched - signals_before.dispatched, 20U);
  sigaction(SIGRTMIN + 5, &before, nullptr);
  EXPECT_THROW(handler_raise{goroutine_ref()}, std::logic_error);
}

// --------------------------------------------------------------------------------- bad input

TEST_F(Raise, BadInputIsNamed) {
  goroutine_ref self;
  go([&] {
    self = this_goroutine();
    for (const int bad : {0, -1, 65, SIGKILL, SIGSTOP, 32, 33}) {
      EXPECT_THROW(self.raise(bad), std::invalid_argument) << bad;
      EXPECT_THROW(raise_handler(bad, [](const signal_event&) {}), std::invalid_argument) << bad;
      std::error_code error;
      EXPECT_FALSE(self.raise(bad, 0, error));
      EXPECT_EQ(error.value(), EINVAL);
    }
    EXPECT_THROW(raise_handler(signal_set(), [](const signal_event&) {}), std::invalid_argument);
    EXPECT_THROW(raise_handler(SIGUSR1, nullptr), std::invalid_argument);
    EXPECT_THROW(set_raise_queue(0), std::invalid_argument);
    EXPECT_THROW(set_raise_queue(65'537), std::invalid_argument);
    EXPECT_THROW(set_raise_queue(8, overflow::unbounded), std::invalid_argument);
    for (int i = 0; i < 3; ++i) self.raise(SIGUSR1);
    EXPECT_THROW(set_raise_queue(2), std::invalid_argument);
    set_raise_queue(3);
  }).join();
  EXPECT_THROW(raise_handler(SIGUSR1, [](const signal_event&) {}), std::logic_error);
  EXPECT_THROW(this_goroutine(), std::logic_error);
  EXPECT_THROW(set_raise_queue(8), std::logic_error);
  EXPECT_THROW(goroutine().raise(SIGUSR1), std::logic_error);
  EXPECT_THROW(goroutine().ref(), std::logic_error);
  EXPECT_THROW(goroutine_ref().raise(SIGUSR1), std::logic_error);
}

TEST_F(Raise, ToOneThatHasEndedIsAnErrorThatSaysSo) {
  goroutine target = go([] {});
  const goroutine_ref ref = target.ref();
  until([&] { return target.done(); });
  for (const bool by_ref : {false, true}) {
    try {
      by_ref ? ref.raise(SIGUSR1) : target.raise(SIGUSR1);
      FAIL() << "nothing was thrown";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ESRCH);
      const std::string expected = "goroutine " + std::to_string(target.id()) + " has ended";
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }
  std::error_code error;
  EXPECT_FALSE(target.raise(SIGUSR1, 0, error));
  EXPECT_EQ(error.value(), ESRCH);
  target.join();
  // Its stack may be another goroutine's by now.
  go([&] { EXPECT_THROW(ref.raise(SIGUSR1), std::system_error); }).join();
}

// ----------------------------------------------------------------------------------- overflow

std::vector<signal_event> fill(overflow full, raise_stats& stats) {
  std::vector<signal_event> seen;
  go([&] {
    const goroutine_ref self = this_goroutine();
    set_raise_queue(4, full);
    for (std::uint64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(self.raise(SIGUSR1, i), full != overflow::drop_newest || i < 4);
    }
    const raise_handler note(SIGUSR1, [&](const signal_event& event) { seen.push_back(event); });
    preempt_point();
    stats = self.stats();
  }).join();
  books_balance(stats);
  return seen;
}

TEST_F(Raise, AFullQueueDropsTheNewest) {
  raise_stats stats;
  const auto seen = fill(overflow::drop_newest, stats);
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen.back().value_bits, 3U);
  EXPECT_EQ(stats.dropped, 2U);
}

TEST_F(Raise, AFullQueueDropsTheOldest) {
  raise_stats stats;
  const auto seen = fill(overflow::drop_oldest, stats);
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen.front().value_bits, 2U);
  EXPECT_EQ(seen.front().sequence, 3U);
  EXPECT_EQ(stats.dropped, 2U);
}

TEST_F(Raise, AFullQueueMerges) {
  raise_stats stats;
  const auto seen = fill(overflow::coalesce, stats);
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen.back().count, 3U);
  EXPECT_TRUE(seen.back().merged);
  EXPECT_FALSE(seen.front().merged);
  EXPECT_EQ(stats.merged, 2U);
}

// --------------------------------------------------------------------- nesting and exceptions

TEST_F(Raise, HandlersDoNotNestAndRunInOrder) {
  std::string seen;
  go([&] {
    const goroutine_ref self = this_goroutine();
    const raise_handler usr1(SIGUSR1, [&](const signal_event& event) {
      seen += '(';
      if (event.value_bits < 3) {
        self.raise(SIGUSR1, event.value_bits + 1);
        preempt_point();
        yield();
        sleep_for(1us);
      }
      seen += std::to_string(event.value_bits) + ')';
    });
    self.raise(SIGUSR1, 1);
    preempt_point();
    EXPECT_EQ(seen, "(1)(2)(3)");
  }).join();
}

TEST_F(Raise, AHandlerMayBlock) {
  chan<int> ping(0);
  chan<int> pong(0);
  chan<int> stop(0);
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { pong.send(*ping.recv() + 1); });
    stop.recv();
  });
  goroutine_ref ref = target.ref();
  until_state(target.id(), "chan receive");
  ref.raise(SIGUSR1);
  ping.send(41);
  EXPECT_EQ(pong.recv(), 42);
  stop.send(1);
  target.join();
}

/// Runs `wait` in a goroutine, and raises a signal whose handler throws once it waits. `wait` must
/// let that through.
void exception_ends(const std::string& state, const std::function<void()>& wait) {
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [](const signal_event&) { throw stopped(); });
    wait();
  });
  until_state(target.id(), state);
  target.raise(SIGUSR1);
  EXPECT_THROW(target.join(), stopped) << state;
}

TEST_F(Raise, AnExceptionOfAHandlerLeavesThePreemptionPoint) {
  go([] {
    const goroutine_ref self = this_goroutine();
    int handled = 0;
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) {
      if (++handled == 1) throw stopped();
    });
    self.raise(SIGUSR1);
    self.raise(SIGUSR1);
    EXPECT_THROW(preempt_point(), stopped);
    EXPECT_EQ(handled, 1);
    yield();  // what is left is handled at the next point
    EXPECT_EQ(handled, 2);
    self.raise(SIGUSR1);
    handled = 0;
    EXPECT_THROW(yield(), stopped);
    EXPECT_EQ(self.stats().waiting, 0U);
  }).join();
}

TEST_F(Raise, AnExceptionOfAHandlerEndsEachKindOfWait) {
  exception_ends("chan receive", [] { chan<int>(0).recv(); });
  exception_ends("chan send", [] { chan<int>(0).send(1); });
  exception_ends("select", [] {
    const chan<int> a(0);
    const chan<int> b(0);
    select(recv_case(a), recv_case(b));
  });
  exception_ends("sleep", [] { sleep_for(10min); });
  exception_ends("chan receive", [] {
    const cancelable c = with_cancel(context::background());
    c.ctx.wait();
  });
  exception_ends("context wait", [] { context::background().wait_for(10min); });
  exception_ends("sync.WaitGroup.Wait", [] {
    wait_group group(1);
    group.wait();
  });
  exception_ends("semacquire", [] {
    semaphore none(0);
    none.acquire();
  });
  exception_ends("sync.Cond.Wait", [] {
    mutex m;
    cond c;
    std::unique_lock hold(m);
    struct check {
      std::unique_lock<mutex>& hold;
      ~check() { EXPECT_TRUE(hold.owns_lock()); }
    } const locked_again{hold};
    c.wait(hold);
  });
}

TEST_F(Raise, WhatAnInterruptedWaitWaitedForIsLeftAlone) {
  chan<int> values(0);
  exception_ends("chan receive", [&] { values.recv(); });
  EXPECT_FALSE(values.try_send(1));  // nobody waits there any more
  goroutine receiver = go([&] { EXPECT_EQ(values.recv(), 7); });
  values.send(7);
  receiver.join();
}

TEST_F(Raise, AnExceptionDuringAJoinIsThrownAfterIt) {
  chan<int> stop(0);
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [](const signal_event&) { throw stopped(); });
    goroutine other = go([&] { stop.recv(); });
    other.join();
    EXPECT_FALSE(other.joinable());
    EXPECT_THROW(preempt_point(), stopped);
  });
  until_state(target.id(), "join");
  const goroutine_ref ref = target.ref();
  ref.raise(SIGUSR1);
  until([&] { return ref.stats().handled == 1; });
  stop.send(1);
  target.join();
}

TEST_F(Raise, AnExceptionWhileTheStackUnwindsIsThrownAfterwards) {
  go([] {
    const goroutine_ref self = this_goroutine();
    const raise_handler usr1(SIGUSR1, [](const signal_event&) { throw stopped(); });
    struct blocks {
      const goroutine_ref& self;
      ~blocks() {
        self.raise(SIGUSR1);
        sleep_for(1ms);
        yield();
      }
    };
    EXPECT_THROW(
        {
          const blocks at_the_end{self};
          throw std::logic_error("first");
        },
        std::logic_error);
    EXPECT_THROW(yield(), stopped);
  }).join();
}

TEST_F(Raise, AnExceptionThatFindsNoPointAnyMoreLeavesTheGoroutine) {
  goroutine target = go([] {
    const goroutine_ref self = this_goroutine();
    const raise_handler usr1(SIGUSR1, [](const signal_event&) { throw stopped(); });
    goroutine other = go([self] { self.raise(SIGUSR1); });
    {
      const signal_deferral not_here;
      until([&] { return self.stats().waiting != 0; });
    }
    goroutine longer = go([self] { until([&] { return self.stats().handled == 1; }); });
    longer.join();  // the handler runs here
    other.join();
  });
  EXPECT_THROW(target.join(), stopped);
}

TEST_F(Raise, GoexitInAHandlerEndsTheGoroutine) {
  bool destroyed = false;
  goroutine target = go([&] {
    struct sets {
      bool& what;
      ~sets() { what = true; }
    } const at_the_end{destroyed};
    const raise_handler usr1(SIGUSR1, [](const signal_event&) { goexit(); });
    chan<int>(0).recv();
  });
  until_state(target.id(), "chan receive");
  target.raise(SIGUSR1);
  target.join();
  EXPECT_TRUE(destroyed);
}

// ------------------------------------------------------------------------------------ deferral

TEST_F(Raise, ADeferralHoldsBackAndReleaseHandlesInOrder) {
  std::string seen;
  go([&] {
    const goroutine_ref self = this_goroutine();
    const raise_handler note(signal_set::of(SIGUSR1, SIGUSR2),
                             [&](const signal_event& e) { seen += char(e.value_bits); });
    signal_deferral outer;
    {
      signal_deferral inner;
      self.raise(SIGUSR2, 'a');
      self.raise(SIGUSR1, 'b');
      preempt_point();
      yield();
      sleep_for(1ms);
      EXPECT_EQ(seen, "");
      inner.release();
      EXPECT_EQ(seen, "");  // the outer one holds
    }
    EXPECT_EQ(info_of(goroutine_id())->deferred, signal_set::of(SIGUSR1, SIGUSR2));
    EXPECT_NE(goroutines_text().find("signals deferred: 10 12"), std::string::npos);
    EXPECT_NE(goroutine_stacks().find("signals deferred: 10 12"), std::string::npos);
    outer.release();
    EXPECT_EQ(seen, "ab");
    {
      const signal_deferral again;
      self.raise(SIGUSR1, 'c');
    }
    EXPECT_EQ(seen, "ab");  // the end of the scope is no point
    preempt_point();
    EXPECT_EQ(seen, "abc");
  }).join();
}

TEST_F(Raise, ADeferralOfAGoroutineThatWaitsLeavesItAsleep) {
  chan<int> stop(0);
  std::atomic<int> handled{0};
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
    signal_deferral deferral;
    stop.recv();
    EXPECT_EQ(handled, 0);
    deferral.release();
    EXPECT_EQ(handled, 5);
  });
  until_state(target.id(), "chan receive");
  for (int i = 0; i < 5; ++i) target.raise(SIGUSR1);
  EXPECT_EQ(info_of(target.id())->state, "chan receive");
  stop.send(1);
  target.join();
}

TEST_F(Raise, ADeferralHoldsBackARequestToYield) {
  max_procs(1);
  std::atomic<bool> other_ran{false};
  go([&] {
    goroutine other = go([&] { other_ran = true; });
    signal_deferral deferral;
    // The monitor asks after 10 ms, and takes the processor: the other runs, on another thread.
    until([&] {
      preempt_point();
      return other_ran.load() || false;
    });
    deferral.release();
    other.join();
  }).join();
  EXPECT_TRUE(other_ran);
}

}  // namespace
}  // namespace sigrun::test
