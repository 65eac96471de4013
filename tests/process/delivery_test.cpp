// SPDX-License-Identifier: Apache-2.0
//
// What arrives, how often, in which order and how soon (contract A5, B2, B3, B4, B10). Each test
// is one child with a runtime of its own; the test itself never starts one.
#include "support/child_process.hpp"
#include "support/test_body.hpp"
#include "sys/clock.hpp"
#include "sys/signal.hpp"

#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sigrun::chan_status;
using sigrun::notify_options;
using sigrun::overflow;
using sigrun::signal_chan;
using sigrun::signal_event;
using sigrun::signal_set;
using sigrun::test::child_options;
using sigrun::test::child_process;

// Fails the child's test with the line and the numbers that were not as they should be.
#define REQUIRE_EQ(a, b)                                                                      \
  do {                                                                                        \
    const auto left = static_cast<long long>(a);                                              \
    const auto right = static_cast<long long>(b);                                             \
    if (left != right) {                                                                      \
      std::fprintf(stderr, "line %d: %s = %lld, %s = %lld\n", __LINE__, #a, left, #b, right); \
      return 1;                                                                               \
    }                                                                                         \
  } while (false)

void expect_ok(const std::function<int()>& body, const child_options& options = {}) {
  const auto result = sigrun::test::run_child(body, options);
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

bool environment_is(const char* name, std::string_view value) {
  const char* const found = std::getenv(name);
  return found != nullptr && found == value;
}

notify_options unbounded() {
  notify_options options;
  options.full = overflow::unbounded;
  return options;
}

// Sends to the process whatever it takes: a full kernel queue is waited out, not lost.
void queue_all(int pid, int signo, int count) {
  for (int i = 0; i < count; ++i) {
    sigval value;
    value.sival_ptr = nullptr;
    value.sival_int = i;
    while (::sigqueue(pid, signo, value) != 0 && errno == EAGAIN) ::sched_yield();
  }
}

TEST(Delivery, TheArrangementIsGivenWhole) { EXPECT_TRUE(sigrun::test::arrangement_is_whole()); }

TEST(Delivery, ABurstOfRealTimeSignalsArrivesWholeAndInOrder) {
  constexpr int count = 20'000;
  child_process child{[] {
    const signal_chan ch{64};
    sigrun::notify(ch, {SIGRTMIN + 1}, unbounded());
    sigrun::test::announce_ready();
    const bool several_takers = environment_is("SIGRUN_ISOLATION", "shared");
    std::vector<bool> seen(count, false);
    std::map<int, int> taken_by;  // thread id → the value after the last that it took
    std::uint64_t last = 0;
    for (int i = 0; i < count; ++i) {
      signal_event event;
      REQUIRE_EQ(ch.recv_for(15s, event), chan_status::ok);
      // Under `shared` two open threads may each take one and reach the queue in the other order.
      REQUIRE_EQ(event.value_int() >= 0 && event.value_int() < count, true);
      const auto value = static_cast<std::size_t>(event.value_int());
      if (!several_takers) REQUIRE_EQ(event.value_int(), i);
      // Each of them on its own takes them in order.
      int& least = taken_by[event.tid];
      REQUIRE_EQ(event.value_int() >= least, true);
      least = event.value_int() + 1;
      REQUIRE_EQ(seen[value], false);
      seen[value] = true;
      REQUIRE_EQ(event.count, 1);
      REQUIRE_EQ(event.sequence > last, true);
      REQUIRE_EQ(event.pid, ::getppid());
      last = event.sequence;
    }
    // A counter moves just after its event was given away.
    const std::int64_t deadline = sigrun::sys::now_ns() + 5'000'000'000;
    auto totals = sigrun::stats(ch);
    while (totals.delivered < count && sigrun::sys::now_ns() < deadline) totals = sigrun::stats(ch);
    REQUIRE_EQ(totals.delivered, count);
    REQUIRE_EQ(totals.dropped + totals.merged, 0);
    return 0;
  }};
  ASSERT_TRUE(child.ready());
  queue_all(child.pid(), SIGRTMIN + 1, count);
  const auto result = child.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(Delivery, ASlowReaderOfABurstStillLosesNothingUncounted) {
  constexpr int count = 5'000;
  child_process child{[] {
    const signal_chan ch{16};
    sigrun::notify(ch, SIGRTMIN + 1);
    sigrun::test::announce_ready();
    sigrun::test::wait_for_go();
    // Everything was sent; what the channel could not hold must be in its counter.
    const std::int64_t deadline = sigrun::sys::now_ns() + 15'000'000'000;
    auto totals = sigrun::stats(ch);
    while (totals.delivered + totals.dropped < count && sigrun::sys::now_ns() < deadline) {
      ::sched_yield();
      totals = sigrun::stats(ch);
    }
    REQUIRE_EQ(totals.delivered + totals.dropped, count);
    REQUIRE_EQ(totals.delivered, 16);
    return 0;
  }};
  ASSERT_TRUE(child.ready());
  queue_all(child.pid(), SIGRTMIN + 1, count);
  child.go_on();
  const auto result = child.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(Delivery, ABlockedConsumerOfSigchldDelaysNoSigterm) {
  child_process child{[] {
    const signal_chan children{1};
    const signal_chan term{1};
    sigrun::notify(children, SIGCHLD);
    sigrun::notify(term, SIGTERM);
    int hold[2];
    REQUIRE_EQ(::pipe2(hold, O_CLOEXEC), 0);
    // A consumer that waits for a child which ends only after SIGTERM was handled.
    std::thread consumer{[&] {
      const int pid = ::fork();
      if (pid == 0) {
        ::close(hold[1]);
        char byte;
        [[maybe_unused]] const auto got = ::read(hold[0], &byte, 1);
        ::_exit(0);
      }
      ::kill(::getpid(), SIGCHLD);
      children.recv();
      ::waitpid(pid, nullptr, 0);
    }};
    sigrun::test::announce_ready();
    signal_event event;
    const chan_status status = term.recv_for(10s, event);
    ::close(hold[1]);
    consumer.join();
    REQUIRE_EQ(status, chan_status::ok);
    REQUIRE_EQ(event.at.received - event.at.taken <= 5'000'000'000, true);
    return 0;
  }};
  ASSERT_TRUE(child.ready());
  child.signal(SIGTERM);
  const auto result = child.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(Delivery, EachPolicyKeepsItsBooks) {
  // Elsewhere several threads may take them, one M after the other at least, and what two of them
  // take at the same time may change places.
  const bool in_order = !sigrun::test::runs_in_goroutine("child") &&
                        environment_is("SIGRUN_ISOLATION", "strict") &&
                        environment_is("SIGRUN_WAY_IN", "wait");
  expect_ok([in_order] {
    struct expected {
      overflow policy;
      unsigned dropped;
      int first;
    };
    // Ten values into a channel of four that nobody reads meanwhile.
    for (const expected& e :
         {expected{overflow::drop_newest, 6, 0}, expected{overflow::drop_oldest, 6, 6},
          expected{overflow::coalesce, 0, 0}, expected{overflow::unbounded, 0, 0}}) {
      const signal_chan ch{4};
      notify_options options;
      options.full = e.policy;
      sigrun::notify(ch, {SIGRTMIN + 3}, options);
      queue_all(::getpid(), SIGRTMIN + 3, 10);
      sigrun::stop(ch);  // delivers what was sent before
      signal_event event;
      unsigned got = 0;
      unsigned stands_for = 0;
      for (int next = e.first; ch.try_recv(event); ++next, ++got) {
        if (in_order) REQUIRE_EQ(event.value_int(), next);
        stands_for += event.count;
      }
      REQUIRE_EQ(got, e.policy == overflow::unbounded ? 10 : 4);
      REQUIRE_EQ(stands_for, 10 - e.dropped);
    }
    return 0;
  });
}

// Threads that are open, and more than there are processors, take what is sent; some are given a
// signal and then no processor for a while.
TEST(Delivery, WhatAnotherThreadHasJustBeenGivenIsDeliveredByStop) {
  expect_ok([] {
    std::atomic<bool> over{false};
    std::vector<std::thread> open;
    for (int i = 0; i < 6; ++i) {
      open.emplace_back([&over] {
        while (!over.load()) {
        }
      });
    }
    int got = 0;
    constexpr int rounds = 10;
    for (int i = 0; i < rounds; ++i) {
      const signal_chan ch{16};
      sigrun::notify(ch, SIGRTMIN + 3);
      queue_all(::getpid(), SIGRTMIN + 3, 10);
      sigrun::stop(ch);
      for (signal_event event; ch.try_recv(event);) ++got;
    }
    over.store(true);
    for (std::thread& one : open) one.join();
    REQUIRE_EQ(got, rounds * 10);
    return 0;
  });
}

TEST(Delivery, CountersOfAChannelNameEveryLoss) {
  expect_ok([] {
    const signal_chan ch{2};
    sigrun::notify(ch, SIGRTMIN + 3);
    queue_all(::getpid(), SIGRTMIN + 3, 7);
    const std::int64_t deadline = sigrun::sys::now_ns() + 10'000'000'000;
    while (sigrun::stats(ch).delivered + sigrun::stats(ch).dropped < 7 &&
           sigrun::sys::now_ns() < deadline) {
      ::sched_yield();
    }
    REQUIRE_EQ(sigrun::stats(ch).delivered, 2);
    REQUIRE_EQ(sigrun::stats(ch).dropped, 5);
    return 0;
  });
}

TEST(Delivery, ADeniedSenderIsCountedAndLogged) {
  child_process child{[] {
    notify_options options = unbounded();
    options.senders = {{sigrun::verdict::deny, {::getppid()}, {}, false}};
    const signal_chan ch{4};
    sigrun::notify(ch, {SIGUSR1}, options);
    sigrun::test::announce_ready();
    sigrun::test::wait_for_go();
    ::kill(::getpid(), SIGUSR1);
    signal_event event;
    REQUIRE_EQ(ch.recv_for(10s, event), chan_status::ok);
    REQUIRE_EQ(event.pid, ::getpid());
    REQUIRE_EQ(sigrun::stats(ch).denied, 1);
    REQUIRE_EQ(sigrun::policy_log(ch).size(), 1);
    REQUIRE_EQ(sigrun::policy_log(ch)[0].pid, ::getppid());
    return 0;
  }};
  ASSERT_TRUE(child.ready());
  child.signal(SIGUSR1);
  // Its own SIGUSR1 must not merge with ours in the kernel: ours has left ShdPnd once it is denied,
  // and a real-time one behind it would not merge at all. So the child is told only then.
  while (true) {
    child_process probe{
        {"sh", "-c",
         "grep -q '^ShdPnd:.0000000000000000' /proc/" + std::to_string(child.pid()) + "/status"}};
    if (probe.finish().exited_with(0)) break;
  }
  child.go_on();
  const auto result = child.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(Delivery, ARateLimitLetsItsNumberThroughAndCountsTheRest) {
  expect_ok([] {
    notify_options options = unbounded();
    options.rate = {5, 1h};
    const signal_chan ch{64};
    sigrun::notify(ch, {SIGRTMIN + 3}, options);
    queue_all(::getpid(), SIGRTMIN + 3, 20);
    const std::int64_t deadline = sigrun::sys::now_ns() + 10'000'000'000;
    while (sigrun::stats(ch).delivered + sigrun::stats(ch).limited < 20 &&
           sigrun::sys::now_ns() < deadline) {
      ::sched_yield();
    }
    REQUIRE_EQ(sigrun::stats(ch).delivered, 5);
    REQUIRE_EQ(sigrun::stats(ch).limited, 15);
    return 0;
  });
}

TEST(Delivery, ErrnoSurvivesAHandler) {
  expect_ok([] {
    const signal_chan ch{64};
    notify_options options = unbounded();
    options.previous = sigrun::chain::before;
    // A foreign handler that clobbers errno, chained to.
    ::signal(SIGUSR1, [](int) { errno = EXDEV; });
    sigrun::notify(ch, {SIGUSR1}, options);
    for (int i = 0; i < 1000; ++i) {
      errno = ENOTTY;
      sigrun::sys::tgkill(sigrun::sys::getpid(), sigrun::sys::gettid(), SIGUSR1);
      REQUIRE_EQ(errno, ENOTTY);
    }
    return 0;
  });
}

TEST(Delivery, AUsedUpPendingLimitIsEagainForTheSender) {
  expect_ok([] {
    const signal_chan ch{4};
    sigrun::notify(ch, {SIGRTMIN + 3, SIGUSR1});
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_SIGPENDING, &none);
    std::error_code error;
    sigrun::send(::getpid(), SIGRTMIN + 3, 1, error);
    REQUIRE_EQ(error.value(), EAGAIN);
    // A standard signal needs no memory of the kernel's.
    ::kill(::getpid(), SIGUSR1);
    signal_event event;
    REQUIRE_EQ(ch.recv_for(10s, event), chan_status::ok);
    REQUIRE_EQ(event.signo, SIGUSR1);
    return 0;
  });
}

TEST(Delivery, ARuntimeThatCannotStartSaysWhy) {
  child_options options;
  options.limits = {{RLIMIT_SIGPENDING, 0}};
  expect_ok(
      [] {
        try {
          sigrun::notify(signal_chan{4}, SIGUSR1);
        } catch (const std::system_error& error) {
          REQUIRE_EQ(error.code().value(), EAGAIN);
          return 0;
        }
        return 0;
      },
      options);
}

TEST(Delivery, WithoutAnFdOrAProcessToHaveNotifyStillWorksOrSaysWhy) {
  expect_ok([] {
    const rlimit none{4, 4};
    ::setrlimit(RLIMIT_NOFILE, &none);
    while (::dup(0) >= 0) {
    }
    try {
      const signal_chan ch{4};
      sigrun::notify(ch, SIGUSR1);
      ::kill(::getpid(), SIGUSR1);
      signal_event event;
      REQUIRE_EQ(ch.recv_for(10s, event), chan_status::ok);
    } catch (const std::system_error& error) {
      REQUIRE_EQ(error.code().value(), EMFILE);
    }
    return 0;
  });
  expect_ok([] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_NPROC, &none);
    if (::setresuid(65534, 65534, 65534) != 0) return 0;
    try {
      const signal_chan ch{4};
      sigrun::notify(ch, SIGUSR1);
      ::kill(::getpid(), SIGUSR1);
      signal_event event;
      REQUIRE_EQ(ch.recv_for(10s, event), chan_status::ok);
    } catch (const std::system_error& error) {
      REQUIRE_EQ(error.code().value(), EAGAIN);
    }
    return 0;
  });
}

// notify and stop in turn while signals come. SIG_IGN is what lies below, so that one which finds
// nobody subscribed is discarded by the kernel rather than deadly.
TEST(Delivery, FlipsAgainstAStormLoseNothingUncounted) {
  const char* wanted = std::getenv("SIGRUN_STRESS");
  const int flips = wanted != nullptr ? std::atoi(wanted) : 500;
  child_options options;
  options.ignored = signal_set::of(SIGRTMIN + 2);
  options.timeout = std::chrono::milliseconds{50'000 + flips * 20};
  expect_ok(
      [flips] {
        const signal_chan steady{1};
        const signal_chan flipped{1};
        sigrun::notify(steady, {SIGRTMIN + 2}, unbounded());
        std::atomic<bool> end{false};
        std::atomic<long> sent{0};
        std::thread storm{[&] {
          while (!end.load()) {
            std::error_code error;
            sigrun::send(::getpid(), SIGRTMIN + 2, 1, error);
            if (!error) sent.fetch_add(1);
            if (sent.load() % 64 == 0) std::this_thread::yield();
          }
        }};
        long drained = 0;
        signal_event event;
        for (int i = 0; i < flips; ++i) {
          sigrun::notify(flipped, {SIGRTMIN + 2}, unbounded());
          sigrun::stop(flipped);
          while (flipped.try_recv(event)) {
          }
          while (steady.try_recv(event)) ++drained;
        }
        end.store(true);
        storm.join();
        sigrun::stop(steady);
        while (steady.try_recv(event)) ++drained;
        REQUIRE_EQ(drained, sent.load());
        return 0;
      },
      options);
}

TEST(Delivery, TheLastStopInAStormLosesNothingUncounted) {
  child_options options;
  options.ignored = signal_set::of(SIGRTMIN + 2);
  expect_ok(
      [] {
        const signal_chan ch{1};
        std::atomic<bool> end{false};
        std::thread storm{[&] {
          while (!end.load()) {
            std::error_code error;
            sigrun::send(::getpid(), SIGRTMIN + 2, 1, error);
          }
        }};
        const auto before = sigrun::stats();
        long drained = 0;
        signal_event event;
        for (int i = 0; i < 200; ++i) {
          sigrun::notify(ch, {SIGRTMIN + 2}, unbounded());
          sigrun::stop(ch);
          while (ch.try_recv(event)) ++drained;
        }
        end.store(true);
        storm.join();
        const auto after = sigrun::stats();
        const auto taken = after.received - before.received;
        const auto accounted = (after.dispatched - before.dispatched) +
                               (after.unclaimed - before.unclaimed) +
                               (after.merged - before.merged) + (after.dropped - before.dropped);
        REQUIRE_EQ(taken, accounted);
        REQUIRE_EQ(after.dispatched - before.dispatched, drained);
        return 0;
      },
      options);
}

}  // namespace
