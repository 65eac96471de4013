// SPDX-License-Identifier: Apache-2.0
//
// Whole services under real signals: how they end, whatever hangs in them.
#include <sigrun/graceful.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include "support/child_process.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

using namespace std::chrono_literals;
using sigrun::exit_as;
using sigrun::graceful;
using sigrun::graceful_options;
using sigrun::signal_set;
using sigrun::stop_phase;
using sigrun::test::announce_ready;
using sigrun::test::child_options;
using sigrun::test::child_process;
using sigrun::test::child_result;

struct tracer {
  ~tracer() { std::puts("locals gone"); }
};

// A service whose set-up is `prepare`.
template <class F>
auto service(graceful_options options, F prepare) {
  return [options, prepare] {
    return sigrun::run_service(options, [&](graceful& life) {
      const tracer local;
      prepare(life);
      life.ready();
      announce_ready();
      life.serve();
    });
  };
}
const auto nothing = [](graceful&) {};

child_result stopped(const std::function<int()>& body, int signo,
                     const child_options& options = {}) {
  child_process child(body, options);
  EXPECT_TRUE(child.ready());
  child.signal(signo);
  return child.finish();
}

TEST(StopProcess, AnIdleServiceDiesByTheSignalAfterItsLocalsAreGone) {
  for (const int signo : {SIGTERM, SIGINT}) {
    const auto result = stopped(service({}, nothing), signo);
    EXPECT_TRUE(result.killed_by(signo)) << result.describe();
    EXPECT_NE(result.out.find("locals gone"), std::string::npos);
    EXPECT_NE(result.err.find("from pid " + std::to_string(::getpid())), std::string::npos);
  }
}

TEST(StopProcess, TheStatusCanBeTheCodeOrZero) {
  graceful_options options;
  options.clean = exit_as::code;
  EXPECT_TRUE(stopped(service(options, nothing), SIGTERM).exited_with(128 + SIGTERM));
  options.clean = exit_as::zero;
  EXPECT_TRUE(stopped(service(options, nothing), SIGTERM).exited_with(0));
}

TEST(StopProcess, WithoutASignalItIsZero) {
  const auto result = sigrun::test::run_child([] {
    return sigrun::run_service([](graceful& life) {
      life.begin_stop();
      life.serve();
    });
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StopProcess, AServiceThatNeverServesEndsWithZero) {
  const auto result = sigrun::test::run_child([] { return sigrun::run_service(nothing); });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST(StopProcess, AFailedWorkerIsStatusOne) {
  const auto result = sigrun::test::run_child([] {
    return sigrun::run_service([](graceful& life) {
      life.go("worker", [] { throw std::runtime_error("gone wrong"); });
      life.serve();
    });
  });
  EXPECT_TRUE(result.exited_with(1)) << result.describe();
  EXPECT_NE(result.err.find("goroutine worker failed: gone wrong"), std::string::npos);
}

TEST(StopProcess, PastTheDeadlineItNamesWhatRanAndExits128PlusSigno) {
  graceful_options options;
  options.deadline = 50ms;
  const auto result = stopped(service(options,
                                      [](graceful& life) {
                                        life.go("stubborn", [] {
                                          const sigrun::chan<int> never(1);
                                          never.recv();
                                        });
                                      }),
                              SIGTERM);
  EXPECT_TRUE(result.exited_with(128 + SIGTERM)) << result.describe();
  EXPECT_NE(result.err.find("1 still running: goroutine stubborn"), std::string::npos);
  EXPECT_EQ(result.out.find("locals gone"), std::string::npos);
}

TEST(StopProcess, ASecondSignalEndsItAtOnceThoughTheDeadlineIsFar) {
  graceful_options options;
  options.deadline = 1h;
  child_process child(service(options,
                              [](graceful& life) {
                                life.go("stubborn", [&life] {
                                  life.stopping().wait();
                                  std::puts("draining");
                                  std::fflush(stdout);
                                  const sigrun::chan<int> never(1);
                                  never.recv();
                                });
                              }),
                      {});
  ASSERT_TRUE(child.ready());
  child.signal(SIGINT);
  ASSERT_EQ(child.read_line(), "draining");
  child.signal(SIGTERM);
  const auto result = child.finish();
  EXPECT_TRUE(result.exited_with(128 + SIGINT)) << result.describe();
  EXPECT_NE(result.err.find("cut short"), std::string::npos);
}

// The scheduler itself is of no help here: every P is taken by a loop that never yields.
TEST(StopProcess, LoopsThatNeverYieldDoNotHoldUpTheDeadline) {
  graceful_options options;
  options.deadline = 100ms;
  const auto result = stopped(service(options,
                                      [](graceful& life) {
                                        for (int i = 0; i < 4; ++i) {
                                          life.go("loop", [] {
                                            std::atomic<unsigned> n{0};
                                            for (;;) ++n;
                                          });
                                        }
                                      }),
                              SIGTERM);
  EXPECT_TRUE(result.exited_with(128 + SIGTERM)) << result.describe();
}

TEST(StopProcess, AMainThatHangsAfterServeIsHeldToTheDeadline) {
  const auto body = [] {
    graceful_options options;
    options.deadline = 100ms;
    return sigrun::run_service(options, [](graceful& life) {
      life.ready();
      announce_ready();
      life.serve();
      const sigrun::chan<int> never(1);
      never.recv();
    });
  };
  const auto result = stopped(body, SIGTERM);
  EXPECT_TRUE(result.exited_with(128 + SIGTERM)) << result.describe();
  EXPECT_NE(result.err.find("has not ended by its deadline"), std::string::npos);
}

TEST(StopProcess, StderrThatNobodyReadsHoldsNothingUp) {
  const auto body = [] {
    int ends[2];
    if (::pipe(ends) != 0) return 99;
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
    char block[4096] = {};
    while (::write(ends[1], block, sizeof block) > 0) {
    }
    ::fcntl(ends[1], F_SETFL, 0);
    ::dup2(ends[1], 2);
    return service({}, nothing)();
  };
  const auto result = stopped(body, SIGTERM);
  EXPECT_TRUE(result.killed_by(SIGTERM)) << result.describe();
}

TEST(StopProcess, AFullDiskUnderStderrHoldsNothingUp) {
  const auto body = [] {
    const int full = ::open("/dev/full", O_WRONLY);
    if (full < 0) return 99;
    ::dup2(full, 2);
    return service({}, nothing)();
  };
  EXPECT_TRUE(stopped(body, SIGTERM).killed_by(SIGTERM));
}

TEST(StopProcess, WithoutDescriptorsAcceptingWaitsAndTheEndComesAllTheSame) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs a pipe to look whether an object is there";
#endif
  const auto body = [] {
    const rlimit few{32, 32};
    ::setrlimit(RLIMIT_NOFILE, &few);
    return sigrun::run_service([](graceful& life) {
      auto listener =
          sigrun::net::tcp_listener::listen({sigrun::net::ip_address::loopback_v4(), 0});
      const auto at = listener.local_endpoint();
      life.accept("echo", std::move(listener), [](sigrun::net::tcp_stream& peer) {
        char byte[1];
        peer.read_full(byte);
        peer.write_all(std::string_view(byte, 1));
      });
      auto client = sigrun::net::tcp_stream::connect(at);
      while (life.in_flight_count() == 0) sigrun::yield();
      std::vector<int> taken;
      for (int fd; (fd = ::dup(0)) >= 0;) taken.push_back(fd);
      // This connection stays in the kernel's queue until there is a descriptor for it.
      ::close(taken.back());
      taken.pop_back();
      std::error_code error;
      auto second = sigrun::net::tcp_stream::connect(at, {}, error);
      for (int i = 0; i < 1000; ++i) sigrun::yield();
      for (const int fd : taken) ::close(fd);
      client.write_all("a");
      char answer[1];
      client.read_full(answer);
      second.write_all("b");
      second.read_full(answer);
      if (answer[0] != 'b') std::puts("wrong");
      announce_ready();
      life.serve();
    });
  };
  const auto result = stopped(body, SIGTERM);
  EXPECT_TRUE(result.killed_by(SIGTERM)) << result.describe();
  EXPECT_EQ(result.out, "");
}

TEST(StopProcess, ABackgroundJobsIgnoredInterruptStaysIgnored) {
  child_options options;
  options.ignored = signal_set::of(SIGINT);
  child_process child(service({}, nothing), options);
  ASSERT_TRUE(child.ready());
  child.signal(SIGINT);
  child.signal(SIGTERM);
  const auto result = child.finish();
  EXPECT_TRUE(result.killed_by(SIGTERM)) << result.describe();
  EXPECT_EQ(result.err.find("SIGINT"), std::string::npos);
}

TEST(StopProcess, TheGraceOfTheEnvironmentIsKept) {
  child_options options;
  options.environment = {"SIGRUN_STOP_GRACE=100ms"};
  const auto result = stopped(service({},
                                      [](graceful& life) {
                                        life.go("stubborn", [] {
                                          const sigrun::chan<int> never(1);
                                          never.recv();
                                        });
                                      }),
                              SIGTERM, options);
  EXPECT_TRUE(result.exited_with(128 + SIGTERM)) << result.describe();
  EXPECT_NE(result.err.find("lowers the deadline from 30.0 s to 90 ms"), std::string::npos);
}

}  // namespace
