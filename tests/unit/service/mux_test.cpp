// SPDX-License-Identifier: Apache-2.0
//
// The router of signals: who gets an event, in which order, how many at once; what becomes of those
// that nobody handles; and changes while signals arrive.
#include <sigrun/mux.hpp>
#include <sigrun/sync.hpp>

#include "support/callers.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <set>

namespace {

using namespace std::chrono_literals;
using sigrun::context;
using sigrun::dead_letter;
using sigrun::dead_reason;
using sigrun::mux_options;
using sigrun::signal_event;
using sigrun::signal_mux;
using sigrun::test::yield_until;

const int rt = SIGRTMIN + 6;

void send(int signo, int value = 0) {
  sigrun::send(::getpid(), signo, static_cast<std::uint64_t>(value));
}

class diary {
 public:
  void add(std::string line) {
    const std::lock_guard hold(lock_);
    lines_.push_back(std::move(line));
  }
  std::vector<std::string> lines() {
    const std::lock_guard hold(lock_);
    return lines_;
  }

 private:
  sigrun::mutex lock_;
  std::vector<std::string> lines_;
};

class MuxTest : public ::testing::Test {
 protected:
  MuxTest() { ::alarm(50); }
  ~MuxTest() override { ::alarm(0); }
  mux_options quiet() {
    mux_options options;
    options.log = [this](std::string_view line) { log.add(std::string(line)); };
    return options;
  }
  diary log;
};

TEST_F(MuxTest, EachHandlerGetsTheEventsOfItsSignalsInOrder) {
  signal_mux mux(quiet());
  std::vector<signal_event> one;
  std::vector<signal_event> both;
  mux.handle("one", {rt}, [&](const signal_event& event) { one.push_back(event); });
  mux.handle("both", {rt, rt + 1}, [&](const signal_event& event) { both.push_back(event); });
  for (int i = 0; i < 300; ++i) send(rt, i);
  send(rt + 1, 300);
  mux.close();
  ASSERT_EQ(one.size(), 300U);
  ASSERT_EQ(both.size(), 301U);
  // In the order in which they were taken; each once.
  const auto earlier = [](const signal_event& a, const signal_event& b) {
    return a.sequence < b.sequence;
  };
  EXPECT_TRUE(std::is_sorted(one.begin(), one.end(), earlier));
  EXPECT_TRUE(std::is_sorted(both.begin(), both.end(), earlier));
  std::set<int> values;
  for (const signal_event& event : both) values.insert(event.value_int());
  EXPECT_EQ(values.size(), 301U);
  EXPECT_EQ(mux.dead_letter_count(), 0U);
}

TEST_F(MuxTest, AHandlerIsSerialUnlessItSaysOtherwise) {
  signal_mux mux(quiet());
  std::atomic<int> serial{0};
  std::atomic<int> serial_most{0};
  std::atomic<int> three{0};
  std::atomic<int> three_most{0};
  sigrun::chan<bool> go_on(0);
  const auto counting = [](std::atomic<int>& now, std::atomic<int>& most, auto wait) {
    const int running = ++now;
    int seen = most.load();
    while (seen < running && !most.compare_exchange_weak(seen, running)) {
    }
    wait();
    --now;
  };
  mux.handle("serial", {rt}, [&] { counting(serial, serial_most, [] { sigrun::yield(); }); });
  mux.handle("three", {rt}, [&] { counting(three, three_most, [&] { go_on.recv(); }); },
             {.concurrency = 3});
  for (int i = 0; i < 9; ++i) send(rt, i);
  yield_until([&] { return three == 3; });
  for (int i = 0; i < 9; ++i) go_on.send(true);
  mux.close();
  EXPECT_EQ(serial_most, 1);
  EXPECT_EQ(three_most, 3);
}

TEST_F(MuxTest, TheHighestPriorityGoesFirstAndNineIsNeverHeldUp) {
  mux_options options = quiet();
  options.running_max = 1;
  signal_mux mux(options);
  diary order;
  sigrun::chan<bool> go_on(0);
  mux.handle("holds", {rt}, [&] { go_on.recv(); }, {.priority = 8});
  mux.handle("low", {rt + 1}, [&] { order.add("low"); }, {.priority = 1});
  mux.handle("high", {rt + 1}, [&] { order.add("high"); }, {.priority = 7});
  mux.handle("graceful_shutdown", {rt + 2}, [&] { order.add("shutdown"); }, {.priority = 9});
  send(rt);
  yield_until([&] { return mux.table()[1].running == 1; });
  send(rt + 1);
  send(rt + 2);
  yield_until([&] { return !order.lines().empty(); });
  EXPECT_EQ(order.lines(), std::vector<std::string>{"shutdown"});
  yield_until([&] { return mux.table()[2].waiting == 1 && mux.table()[3].waiting == 1; });
  go_on.send(true);
  mux.close();
  EXPECT_EQ(order.lines(), (std::vector<std::string>{"shutdown", "high", "low"}));
}

TEST_F(MuxTest, AHandlersContextEndsAtItsTimeLimitAndItIsSaidToBeLate) {
  signal_mux mux(quiet());
  std::error_code why;
  mux.handle("slow", {rt},
             [&](const signal_event&, const context& ctx) {
               ctx.wait();
               why = ctx.err();
               // Late is counted beside it.
               yield_until([&] { return mux.table()[0].late == 1; });
             },
             {.timeout = 1ms});
  send(rt);
  mux.close();
  EXPECT_EQ(why, std::errc::timed_out);
  EXPECT_EQ(mux.table()[0].handled, 1U);
  ASSERT_EQ(log.lines().size(), 1U);
  EXPECT_NE(log.lines()[0].find("mux: slow has had 1 ms for SIGRT"), std::string::npos)
      << log.lines()[0];
}

TEST_F(MuxTest, WhatIsNotHandledIsADeadLetterWithItsReason) {
  signal_mux mux(quiet());
  sigrun::chan<bool> go_on(0);
  mux.handle("full", {rt}, [&] { go_on.recv(); }, {.waiting_max = 2});
  mux.handle("limited", {rt}, [] {}, {.rate = {1, 1h}});
  mux.handle("throws", {rt + 1}, [] { throw std::runtime_error("no"); });
  send(rt, 1);
  yield_until([&] { return mux.table()[0].running == 1; });
  for (int i = 2; i <= 4; ++i) send(rt, i);
  send(rt + 1, 5);
  yield_until([&] { return mux.dead_letter_count() == 5; });
  std::vector<std::string> dead;
  for (const dead_letter& one : mux.dead_letters()) {
    dead.push_back(one.route + " " + std::string(to_string(one.reason)) + " " +
                   std::to_string(one.event.value_int()) + one.failure);
  }
  std::sort(dead.begin(), dead.end());
  EXPECT_EQ(dead, (std::vector<std::string>{"full too many waited 4", "limited rate limit 2",
                                            "limited rate limit 3", "limited rate limit 4",
                                            "throws failed 5no"}));
  sigrun::test::callers other(sigrun::test::caller_kind::goroutines);
  other.start([&] { EXPECT_TRUE(mux.remove("full")); });
  yield_until([&] { return mux.dead_letter_count() == 7; });
  EXPECT_EQ(mux.dead_letters().back().reason, dead_reason::removed);
  go_on.send(true);
  other.join();
  EXPECT_FALSE(mux.remove("full"));
  mux.close();
}

TEST_F(MuxTest, AHandlerIsReplacedUnderFireAndNoEventIsLostOrDoubled) {
  signal_mux mux(quiet());
  std::mutex lock;  // handlers here do not park while they hold it
  std::vector<int> seen;
  const auto record = [&](const signal_event& event) {
    const std::lock_guard hold(lock);
    seen.push_back(event.value_int());
  };
  mux.handle("work", {rt}, record, {.waiting_max = 10'000});
  mux.handle("comes and goes", {rt + 1}, [] {});
  std::atomic<bool> over{false};
  std::thread sender([&] {
    for (int i = 0; i < 3000; ++i) {
      for (;;) {
        std::error_code error;
        sigrun::send(::getpid(), rt, static_cast<std::uint64_t>(i), error);
        if (!error) break;
        sigrun::yield();  // RLIMIT_SIGPENDING
      }
      if (i % 64 == 0) sigrun::yield();
    }
    over = true;
  });
  int changes = 0;
  while (!over || changes < 40) {
    ++changes;
    // The same signals by another function; on a thread of its own; and subscriptions that end,
    // for which the channel under all of this is exchanged.
    mux.handle("work", {rt}, record, {.waiting_max = 10'000, .pinned = changes % 3 == 0});
    mux.remove("comes and goes");
    mux.handle("comes and goes", {rt + 1, rt + 2}, [] {});
    mux.handle("comes and goes", {rt + 1}, [] {});
  }
  sender.join();
  mux.close();
  std::sort(seen.begin(), seen.end());
  ASSERT_EQ(seen.size() + mux.dead_letter_count(), 3000U);
  EXPECT_EQ(mux.dead_letter_count(), 0U);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(seen[static_cast<std::size_t>(i)], i);
}

TEST_F(MuxTest, SignalsWithoutAHandlerGetTheirDispositionBack) {
  struct sigaction before {};
  before.sa_handler = SIG_IGN;
  struct sigaction now {};
  ::sigaction(SIGUSR2, &before, nullptr);
  signal_mux mux(quiet());
  std::atomic<int> got{0};
  mux.handle("a", {SIGUSR2, SIGUSR1}, [&] { ++got; });
  EXPECT_FALSE(sigrun::ignored(SIGUSR2));
  ::kill(::getpid(), SIGUSR2);
  yield_until([&] { return got == 1; });
  mux.handle("a", {SIGUSR1}, [&] { ++got; });
  ::sigaction(SIGUSR2, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
  ::kill(::getpid(), SIGUSR2);
  ::kill(::getpid(), SIGUSR1);
  yield_until([&] { return got == 2; });
  before.sa_handler = SIG_DFL;
  mux.close();
  ::sigaction(SIGUSR2, &before, nullptr);
}

TEST_F(MuxTest, AHandlerMayRemoveItselfAndOthers) {
  signal_mux mux(quiet());
  std::atomic<bool> done{false};
  mux.handle("other", {rt + 1}, [] {});
  mux.handle("once", {rt}, [&] {
    EXPECT_TRUE(mux.remove("other"));
    EXPECT_TRUE(mux.remove("once"));
    done = true;
  });
  send(rt);
  yield_until([&] { return done.load(); });
  EXPECT_TRUE(mux.table().empty());
}

TEST_F(MuxTest, TheTableListsHandlersByPriority) {
  signal_mux mux(quiet());
  mux.handle("b", {SIGHUP}, [] {});
  mux.handle("a", {SIGUSR1, SIGUSR2}, [] {}, {.priority = 9, .timeout = 1s, .pinned = true});
  EXPECT_EQ(mux.table_text(),
            "9 a: SIGUSR1 SIGUSR2, pinned, 0 waiting, 0 running, 0 handled, 0 failed, 0 late, 0 "
            "turned away\n"
            "5 b: SIGHUP, 0 waiting, 0 running, 0 handled, 0 failed, 0 late, 0 turned away\n");
}

TEST_F(MuxTest, MisuseIsNamed) {
  signal_mux mux(quiet());
  const auto nothing = [] {};
  EXPECT_THROW(mux.handle("x", {SIGHUP}, nothing, {.priority = 10}), std::invalid_argument);
  EXPECT_THROW(mux.handle("x", {SIGHUP}, nothing, {.concurrency = 0}), std::invalid_argument);
  EXPECT_THROW(mux.handle("x", {SIGHUP}, nothing, {.concurrency = 2, .pinned = true}),
               std::invalid_argument);
  EXPECT_THROW(mux.handle("", {SIGHUP}, nothing), std::invalid_argument);
  EXPECT_THROW(mux.handle("x", {}, nothing), std::invalid_argument);
  EXPECT_THROW(mux.handle("x", {99}, nothing), std::invalid_argument);
  EXPECT_THROW(mux.handle("x", {SIGKILL}, nothing), std::invalid_argument);
  EXPECT_TRUE(mux.table().empty());
  mux.close();
  EXPECT_THROW(mux.handle("x", {SIGHUP}, nothing), std::logic_error);
  EXPECT_THROW(signal_mux({.running_max = 0}), std::invalid_argument);
}

// ------------------------------------------------------------------------------- I/O by signal

// From now on the kernel sends SIGIO, with the descriptor, when there is something to read.
void signal_when_readable(int fd) {
  ASSERT_EQ(::fcntl(fd, F_SETOWN, ::getpid()), 0);
  ASSERT_EQ(::fcntl(fd, F_SETSIG, SIGIO), 0);
  ASSERT_EQ(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_ASYNC | O_NONBLOCK), 0);
}

// Reads what comes on `reader` in a pinned handler while others write to `writer`.
void read_by_signal(int reader, int writer) {
  signal_mux mux;
  std::string got;
  std::vector<int> threads;
  std::atomic<std::size_t> size{0};
  mux.handle("io", {SIGIO},
             [&](const signal_event& event) {
               threads.push_back(::gettid());
               ASSERT_NE(event.poll(), nullptr);
               EXPECT_EQ(event.poll()->fd, reader);
               char bytes[256];
               // SIGIO is merged by the kernel: an event means that there is something, not how
               // much of it.
               for (ssize_t n; (n = ::read(reader, bytes, sizeof bytes)) > 0;) {
                 got.append(bytes, static_cast<std::size_t>(n));
               }
               size = got.size();
             },
             {.pinned = true});
  signal_when_readable(reader);
  std::string sent;
  for (int i = 0; i < 50; ++i) {
    const std::string word = "word " + std::to_string(i) + "\n";
    sent += word;
    ASSERT_EQ(::write(writer, word.data(), word.size()), static_cast<ssize_t>(word.size()));
    // Others keep the scheduler busy, and do not get its thread.
    std::vector<sigrun::goroutine> crowd;
    for (int n = 0; n < 4; ++n) crowd.push_back(sigrun::go([] { sigrun::yield(); }));
    for (auto& one : crowd) one.join();
    if (i % 10 == 0) yield_until([&] { return size == sent.size(); });
  }
  yield_until([&] { return size == sent.size(); });
  mux.close();
  EXPECT_EQ(got, sent);
  ASSERT_FALSE(threads.empty());
  EXPECT_EQ(std::count(threads.begin(), threads.end(), threads[0]),
            static_cast<std::ptrdiff_t>(threads.size()));
}

TEST_F(MuxTest, APinnedHandlerReadsAPipeBySigio) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  read_by_signal(ends[0], ends[1]);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(MuxTest, APinnedHandlerReadsATerminalBySigio) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(master, 0);
  ASSERT_EQ(::grantpt(master), 0);
  ASSERT_EQ(::unlockpt(master), 0);
  char name[128];
  ASSERT_EQ(::ptsname_r(master, name, sizeof name), 0);
  const int terminal = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(terminal, 0);
  termios raw{};
  ASSERT_EQ(::tcgetattr(terminal, &raw), 0);
  ::cfmakeraw(&raw);
  ASSERT_EQ(::tcsetattr(terminal, TCSANOW, &raw), 0);
  read_by_signal(terminal, master);
  ::close(terminal);
  ::close(master);
}

}  // namespace
