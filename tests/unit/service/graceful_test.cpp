// SPDX-License-Identifier: Apache-2.0
//
// The three phases of the end, in one process: their order, their budgets, what they wait for and
// what they cut off. Whole processes under real signals are in stop_process_test.cpp.
#include <sigrun/graceful.hpp>
#include <sigrun/notify_context.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include "receiver.hpp"
#include "support/callers.hpp"
#include "support/proc_self.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>
#include <mutex>
#include <thread>

namespace {

using namespace std::chrono_literals;
using sigrun::graceful;
using sigrun::graceful_options;
using sigrun::stop_outcome;
using sigrun::stop_phase;
using sigrun::test::yield_until;

// Lines from many goroutines, in the order they came.
class diary {
 public:
  void add(const std::string& line) {
    const std::lock_guard hold(lock_);
    lines_.push_back(line);
  }
  std::vector<std::string> lines() {
    const std::lock_guard hold(lock_);
    return lines_;
  }
  bool has(const std::string& part) {
    for (const std::string& line : lines()) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }

 private:
  sigrun::mutex lock_;
  std::vector<std::string> lines_;
};

class GracefulTest : public ::testing::Test {
 protected:
  GracefulTest() {
    ::alarm(50);
    ::unsetenv("SIGRUN_STOP_GRACE");
    ::unsetenv("NOTIFY_SOCKET");
  }
  ~GracefulTest() override { ::alarm(0); }

  // Stays in the process, takes no signals, writes into `log`.
  graceful_options quiet(std::chrono::nanoseconds deadline = 30s) {
    graceful_options options;
    options.signals = {};
    options.deadline = deadline;
    options.end_process = false;
    options.log = [this](std::string_view line) { log.add(std::string(line)); };
    return options;
  }
  diary log;
};

sigrun::net::tcp_listener any_port() {
  return sigrun::net::tcp_listener::listen({sigrun::net::ip_address::loopback_v4(), 0});
}

TEST_F(GracefulTest, PhasesFollowEachOtherAndHooksTheirPriority) {
  graceful life(quiet());
  diary order;
  const auto hook = [&](stop_phase when, int priority, const char* name) {
    life.on(when, priority, name, [&, name, when] {
      order.add(name);
      EXPECT_EQ(life.phase(), when);
    });
  };
  hook(stop_phase::drain, 5, "drain 5");
  hook(stop_phase::refuse, 1, "refuse 1");
  hook(stop_phase::refuse, 9, "refuse 9 first");
  hook(stop_phase::refuse, 9, "refuse 9 second");
  hook(stop_phase::listen, 0, "listen 0");
  hook(stop_phase::listen, 3, "listen 3");
  EXPECT_FALSE(life.is_ready());
  life.ready();
  EXPECT_TRUE(life.is_ready());
  life.begin_stop();
  const stop_outcome& end = life.serve();
  EXPECT_EQ(order.lines(), (std::vector<std::string>{"listen 3", "listen 0", "refuse 9 first",
                                                     "refuse 9 second", "refuse 1", "drain 5"}));
  EXPECT_FALSE(end.forced);
  EXPECT_EQ(end.shell_code(), 0);
  EXPECT_EQ(life.phase(), stop_phase::ended);
  EXPECT_FALSE(life.is_ready());
}

// What the program subscribes to later must not come in there either, past what comes in order.
TEST_F(GracefulTest, TheThreadThatWaitsForTheEndTakesNoSignal) {
  graceful life(quiet());
  const auto of_the_end = [] {
    for (const int tid : sigrun::test::thread_ids(getpid())) {
      const auto found = sigrun::test::read_task_signals(getpid(), tid);
      if (found && found->name == "sigrun-stop") return found->blocked;
    }
    return sigrun::signal_set{};
  };
  yield_until([&] { return !of_the_end().empty(); });
  EXPECT_TRUE(of_the_end().has(SIGTERM));
  EXPECT_TRUE(of_the_end().has(sigrun::signal_rt_min + 1));
  EXPECT_FALSE(of_the_end().has(SIGSEGV));
}

TEST_F(GracefulTest, TheLameDuckTimeServesAsBeforeButIsNotReady) {
  graceful_options options = quiet();
  options.lame_duck = 24h;
  options.deadline = 48h;
  graceful life(std::move(options));
  life.ready();
  life.begin_stop();
  yield_until([&] { return life.phase() == stop_phase::listen; });
  EXPECT_FALSE(life.is_ready());
  EXPECT_FALSE(life.stopping().ended());
  EXPECT_TRUE(life.begin("late but welcome"));
  sigrun::signal_event second;
  second.signo = SIGTERM;
  life.begin_stop(second);
  EXPECT_TRUE(life.serve().cut_short);
}

TEST_F(GracefulTest, AdmittedWorkIsWaitedForAndLaterWorkRefused) {
  graceful life(quiet());
  graceful::ticket work = life.begin("job 1");
  ASSERT_TRUE(work);
  life.begin_stop();
  life.stopping().wait();
  yield_until([&] { return life.phase() == stop_phase::drain; });
  EXPECT_FALSE(life.begin("job 2"));
  EXPECT_EQ(life.in_flight_count(), 1U);
  EXPECT_EQ(life.in_flight().at(0).substr(0, 6), "job 1,");
  graceful::ticket moved = std::move(work);
  EXPECT_FALSE(work);
  moved = {};
  EXPECT_FALSE(life.serve().forced);
}

TEST_F(GracefulTest, WorkersLearnOfTheEndAndAreWaitedFor) {
  graceful life(quiet());
  std::atomic<bool> ended{false};
  life.go("worker", [&](const sigrun::context& stopping) {
    stopping.wait();
    ended = true;
  });
  life.begin_stop();
  EXPECT_FALSE(life.serve().forced);
  EXPECT_TRUE(ended);
}

TEST_F(GracefulTest, AWorkerThatThrowsBeginsTheEndWithStatusOne) {
  graceful life(quiet());
  life.go("worker", [] { throw std::runtime_error("disk on fire"); });
  const stop_outcome& end = life.serve();
  EXPECT_EQ(end.failure, "goroutine worker: disk on fire");
  EXPECT_EQ(end.shell_code(), 1);
  EXPECT_FALSE(end.forced);
  EXPECT_EQ(sigrun::end_service(end, sigrun::exit_as::zero), 1);
}

TEST_F(GracefulTest, AWorkerMayGoexit) {
  graceful life(quiet());
  life.go("worker", [] { sigrun::goexit(); });
  life.begin_stop();
  EXPECT_EQ(life.serve().failure, "");
}

TEST_F(GracefulTest, AHookThatThrowsIsNamedAndTheOthersRun) {
  graceful life(quiet());
  std::atomic<int> ran{0};
  life.on(stop_phase::drain, 5, "flush", [] { throw std::runtime_error("no space"); });
  life.on(stop_phase::drain, 4, "close", [&] { ++ran; });
  life.begin_stop();
  const stop_outcome& end = life.serve();
  EXPECT_EQ(end.failed_hooks, std::vector<std::string>{"hook flush: no space"});
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(end.forced);
}

TEST_F(GracefulTest, AHookThatHangsCostsItsOwnTimeOnly) {
  const sigrun::chan<int> never(1);
  graceful life(quiet());
  std::atomic<int> ran{0};
  life.on(
      stop_phase::refuse, 5, "stuck", [never] { never.recv(); }, 10ms);
  life.on(stop_phase::refuse, 4, "next", [&] { ++ran; });
  life.begin_stop();
  const stop_outcome& end = life.serve();
  EXPECT_EQ(end.failed_hooks, std::vector<std::string>{"hook stuck: still runs"});
  EXPECT_EQ(ran, 1);
  never.close();
}

TEST_F(GracefulTest, APhaseHasABudgetForAllItsHooks) {
  const sigrun::chan<int> never(1);
  graceful_options options = quiet();
  options.listen_budget = 10ms;
  graceful life(std::move(options));
  for (int i = 0; i < 5; ++i)
    life.on(
        stop_phase::listen, 5, "stuck", [never] { never.recv(); }, 1h);
  life.begin_stop();
  EXPECT_EQ(life.serve().failed_hooks.size(), 5U);
  never.close();
}

TEST_F(GracefulTest, AtTheDeadlineItSaysWhatStillRunsAndCutsOff) {
  graceful life(quiet(50ms));
  std::atomic<bool> cut{false};
  life.go("stubborn", [&](const sigrun::context&) {
    life.cut().wait();
    cut = true;
  });
  const graceful::ticket job = life.begin("job 7");
  life.begin_stop();
  const stop_outcome& end = life.serve();
  EXPECT_TRUE(end.forced);
  EXPECT_FALSE(end.cut_short);
  ASSERT_EQ(end.still_running.size(), 2U);
  EXPECT_EQ(end.still_running[0].substr(0, 19), "goroutine stubborn,");
  EXPECT_EQ(end.still_running[1].substr(0, 6), "job 7,");
  EXPECT_GE(end.took, 50ms);
  EXPECT_EQ(end.shell_code(), 1);
  yield_until([&] { return cut.load(); });
  EXPECT_TRUE(log.has("2 still running: goroutine stubborn"));
  EXPECT_EQ(life.remaining(), 0ns);
}

TEST_F(GracefulTest, HooksOfDrainRunWhenAllWorkIsDone) {
  graceful life(quiet());
  graceful::ticket job = life.begin("job");
  std::atomic<bool> closed{false};
  life.on(stop_phase::drain, 5, "close the store", [&] {
    EXPECT_EQ(life.in_flight_count(), 0U);
    closed = true;
  });
  life.begin_stop();
  yield_until([&] { return life.phase() == stop_phase::drain; });
  for (int i = 0; i < 100; ++i) sigrun::yield();
  EXPECT_FALSE(closed);
  job = {};
  EXPECT_FALSE(life.serve().forced);
  EXPECT_TRUE(closed);
}

TEST_F(GracefulTest, HooksOfDrainRunInTheLastQuarterThoughWorkHangs) {
  graceful life(quiet(200ms));
  const graceful::ticket job = life.begin("hanging");
  std::atomic<bool> flushed{false};
  life.on(stop_phase::drain, 5, "flush", [&] { flushed = true; });
  life.begin_stop();
  EXPECT_TRUE(life.serve().forced);
  EXPECT_TRUE(flushed);
}

TEST_F(GracefulTest, ASecondSignalCutsShort) {
  graceful life(quiet(24h));
  const graceful::ticket job = life.begin("endless");
  sigrun::signal_event event;
  event.signo = SIGTERM;
  event.pid = 4711;
  life.begin_stop(event);
  yield_until([&] { return life.phase() == stop_phase::drain; });
  life.begin_stop();  // no signal: changes nothing
  life.begin_stop(event);
  const stop_outcome& end = life.serve();
  EXPECT_TRUE(end.forced);
  EXPECT_TRUE(end.cut_short);
  EXPECT_EQ(end.signo, SIGTERM);
  EXPECT_EQ(end.pid, 4711);
  EXPECT_EQ(end.shell_code(), 128 + SIGTERM);
}

TEST_F(GracefulTest, TheCauseOfStoppingIsTheSignal) {
  graceful life(quiet());
  sigrun::signal_event event;
  event.signo = SIGINT;
  event.pid = 12;
  life.begin_stop(event);
  life.serve();
  try {
    life.stopping().throw_if_ended();
    FAIL();
  } catch (const sigrun::canceled_by_signal& cause) {
    EXPECT_EQ(cause.event().signo, SIGINT);
  }
}

TEST_F(GracefulTest, WithoutServeTheEndOfTheObjectEndsWorkersAndConnections) {
  std::atomic<bool> ended{false};
  sigrun::net::tcp_stream client;
  {
    graceful life(quiet(24h));
    life.go("worker", [&](const sigrun::context& stopping) {
      stopping.wait();
      ended = true;
    });
    auto listener = any_port();
    const auto at = listener.local_endpoint();
    life.accept("echo", std::move(listener), [](sigrun::net::tcp_stream& peer) {
      char byte[1];
      peer.read(byte);
    });
    client = sigrun::net::tcp_stream::connect(at);
    yield_until([&] { return life.in_flight_count() == 2; });
  }
  EXPECT_TRUE(ended);
  char byte[1];
  std::error_code error;
  EXPECT_EQ(client.read(byte, error), 0U);
}

TEST_F(GracefulTest, WhatAHandlerHoldsGoesWithTheService) {
  const auto held = std::make_shared<int>(0);
  {
    graceful life(quiet());
    life.accept("holder", any_port(), [held](sigrun::net::tcp_stream&) {});
    EXPECT_GT(held.use_count(), 1);
    life.begin_stop();
    EXPECT_FALSE(life.serve().forced);
  }
  yield_until([&] { return held.use_count() == 1; });
}

// ----------------------------------------------------------------------------------- connections

TEST_F(GracefulTest, ConnectionsInFlightAreServedToTheirEndAndNewOnesRefused) {
  graceful life(quiet());
  auto listener = any_port();
  const auto at = listener.local_endpoint();
  life.accept("upper", std::move(listener), [](sigrun::net::tcp_stream& peer) {
    char bytes[4];
    peer.read_full(bytes);
    peer.write_all("done");
  });
  auto client = sigrun::net::tcp_stream::connect(at);
  yield_until([&] { return life.in_flight_count() == 1; });
  life.begin_stop();
  yield_until([&] { return life.phase() == stop_phase::drain; });
  std::error_code error;
  sigrun::net::tcp_stream::connect(at, {}, error);
  EXPECT_EQ(error, std::errc::connection_refused);
  client.write_all("work");
  char answer[4];
  client.read_full(answer);
  EXPECT_EQ(std::string(answer, 4), "done");
  EXPECT_FALSE(life.serve().forced);
}

TEST_F(GracefulTest, WhatTheKernelHadQueuedIsServedToo) {
  graceful life(quiet());
  auto listener = any_port();
  const auto at = listener.local_endpoint();
  // One at a time: the second and third connection stay in the kernel's queue.
  life.accept("one", std::move(listener),
              [](sigrun::net::tcp_stream& peer) {
                char bytes[4];
                peer.read_full(bytes);
                peer.write_all("done");
              },
              {.connections_max = 1});
  std::vector<sigrun::net::tcp_stream> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(sigrun::net::tcp_stream::connect(at));
  yield_until([&] { return life.in_flight_count() == 1; });
  for (int i = 0; i < 100; ++i) sigrun::yield();
  EXPECT_EQ(life.in_flight_count(), 1U);
  life.begin_stop();
  yield_until([&] { return life.phase() == stop_phase::drain; });
  for (auto& client : clients) client.write_all("work");
  for (auto& client : clients) {
    char answer[4];
    client.read_full(answer);
    EXPECT_EQ(std::string(answer, 4), "done");
  }
  EXPECT_FALSE(life.serve().forced);
}

TEST_F(GracefulTest, ConnectionsThatHangAreClosedAtTheDeadline) {
  graceful life(quiet(50ms));
  auto listener = any_port();
  const auto at = listener.local_endpoint();
  std::atomic<bool> woken{false};
  life.accept("silent", std::move(listener), [&](sigrun::net::tcp_stream& peer) {
    char byte[1];
    std::error_code error;
    peer.read(byte, error);
    woken = error == std::errc::operation_canceled;
  });
  auto client = sigrun::net::tcp_stream::connect(at);
  yield_until([&] { return life.in_flight_count() == 1; });
  life.begin_stop();
  const stop_outcome& end = life.serve();
  EXPECT_TRUE(end.forced);
  ASSERT_EQ(end.still_running.size(), 1U);
  EXPECT_EQ(end.still_running[0].substr(0, 17), "silent 127.0.0.1:");
  char byte[1];
  std::error_code error;
  EXPECT_EQ(client.read(byte, error), 0U);
  yield_until([&] { return woken.load(); });
}

TEST_F(GracefulTest, IdleReadersSeeTheEndOfTheStreamIfSoAsked) {
  graceful life(quiet());
  auto [a, b] = sigrun::net::unix_stream::pair();
  auto listener = sigrun::net::unix_listener::listen(
      sigrun::net::unix_address::abstract("sigrun-graceful-" + std::to_string(::getpid())));
  life.accept("idle", std::move(listener),
              [](sigrun::net::unix_stream& peer, const sigrun::context&) {
                char byte[1];
                while (peer.read(byte) != 0) {
                }
              },
              {.end_reads = true});
  auto client = sigrun::net::unix_stream::connect(
      sigrun::net::unix_address::abstract("sigrun-graceful-" + std::to_string(::getpid())));
  yield_until([&] { return life.in_flight_count() == 1; });
  life.begin_stop();
  EXPECT_FALSE(life.serve().forced);
}

TEST_F(GracefulTest, AHandlerThatThrowsEndsItsConnectionOnly) {
  graceful life(quiet());
  auto listener = any_port();
  const auto at = listener.local_endpoint();
  life.accept("bad", std::move(listener),
              [](sigrun::net::tcp_stream&) { throw std::runtime_error("bad luck"); });
  for (int i = 0; i < 3; ++i) {
    auto client = sigrun::net::tcp_stream::connect(at);
    char byte[1];
    EXPECT_EQ(client.read(byte), 0U);
  }
  life.begin_stop();
  life.serve();
  EXPECT_EQ(life.failed_connections(), 3U);
  EXPECT_TRUE(log.has("bad: bad luck"));
}

// ------------------------------------------------------------------------------------ drainables

class fake_server final : public sigrun::drainable {
 public:
  explicit fake_server(diary& order) : order_(order) {}
  void leaving() override { order_.add("leaving"); }
  void refuse() override { order_.add("refuse"); }
  void drain(const sigrun::context& cut) override {
    order_.add("drain");
    if (hang) cut.wait();
    order_.add(cut.ended() ? "drain cut" : "drained");
  }
  void cut_off() noexcept override { order_.add("cut off"); }
  std::string in_flight() const override { return "2 requests"; }
  bool hang = false;

 private:
  diary& order_;
};

TEST_F(GracefulTest, AServerOfAnotherKindIsAskedInOrder) {
  diary order;
  graceful life(quiet());
  life.add("fake", std::make_shared<fake_server>(order));
  life.begin_stop();
  EXPECT_FALSE(life.serve().forced);
  EXPECT_EQ(order.lines(), (std::vector<std::string>{"leaving", "refuse", "drain", "drained"}));
}

TEST_F(GracefulTest, AServerThatDoesNotDrainIsCutOff) {
  diary order;
  const auto server = std::make_shared<fake_server>(order);
  server->hang = true;
  // Long enough for one look at what still runs, on a busy machine too.
  graceful life(quiet(400ms));
  life.add("fake", server);
  life.begin_stop();
  EXPECT_TRUE(life.serve().forced);
  yield_until([&] { return order.has("drain cut"); });
  EXPECT_TRUE(order.has("cut off"));
  EXPECT_TRUE(log.has("fake: 2 requests"));
}

// ------------------------------------------------------------------- supervisors, bad input, log

TEST_F(GracefulTest, TheSupervisorHearsReadyStoppingAndHowMuchTimeItTakes) {
  const sigrun::test::supervisor_socket heard;
  graceful life(quiet());
  life.ready();
  EXPECT_EQ(heard.receive(), "READY=1");
  life.begin_stop();
  life.serve();
  EXPECT_EQ(heard.receive(), "STOPPING=1");
  EXPECT_EQ(heard.receive(), "EXTEND_TIMEOUT_USEC=30000000");
}

TEST_F(GracefulTest, WhileItDrainsItAsksForTheTimeThatIsLeft) {
  const sigrun::test::supervisor_socket heard;
  graceful life(quiet());
  graceful::ticket job = life.begin("job");
  life.begin_stop();
  EXPECT_EQ(heard.receive("EXTEND"), "EXTEND_TIMEOUT_USEC=30000000");
  const std::string next = heard.receive("EXTEND");
  EXPECT_LT(std::stoll(next.substr(20)), 30'000'000);
  EXPECT_EQ(heard.receive("STATUS"), "STATUS=stopping, 1 in flight");
  job = {};
  life.serve();
}

TEST_F(GracefulTest, TheSupervisorsGraceLowersTheDeadline) {
  ::setenv("SIGRUN_STOP_GRACE", "10", 1);
  EXPECT_EQ(graceful(quiet()).deadline(), 9s);
  ::setenv("SIGRUN_STOP_GRACE", "1m", 1);
  EXPECT_EQ(graceful(quiet()).deadline(), 30s);
  EXPECT_EQ(graceful(quiet(2min)).deadline(), 58s);
  graceful_options unheeding = quiet(2min);
  unheeding.heed_grace = false;
  EXPECT_EQ(graceful(std::move(unheeding)).deadline(), 2min);
  ::setenv("SIGRUN_STOP_GRACE", "soon", 1);
  EXPECT_EQ(graceful(quiet()).deadline(), 30s);
  yield_until([&] { return log.has("SIGRUN_STOP_GRACE=soon is not"); });
}

TEST_F(GracefulTest, MisuseIsNamed) {
  const auto complaint = [this](auto change) -> std::string {
    graceful_options options = quiet();
    change(options);
    try {
      graceful life(std::move(options));
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(complaint([](auto& o) { o.deadline = -1s; }).find("deadline"), std::string::npos);
  EXPECT_NE(complaint([](auto& o) { o.lame_duck = 1h; }).find("lame_duck"), std::string::npos);
  EXPECT_NE(complaint([](auto& o) { o.refuse_budget = -1s; }).find("refuse_budget"),
            std::string::npos);
  EXPECT_NE(complaint([](auto& o) { o.signals = {99}; }).find("99"), std::string::npos);
  EXPECT_NE(complaint([](auto& o) { o.signals = {SIGKILL}; }).find("SIGKILL"), std::string::npos);

  graceful life(quiet());
  EXPECT_THROW(life.on(stop_phase::serving, 5, "x", [] {}), std::invalid_argument);
  EXPECT_THROW(life.on(stop_phase::drain, 10, "x", [] {}), std::invalid_argument);
  EXPECT_THROW(life.on(stop_phase::drain, 5, "x", nullptr), std::invalid_argument);
  EXPECT_THROW(life.add("x", nullptr), std::invalid_argument);
  EXPECT_THROW(life.accept("x", sigrun::net::tcp_listener(), [](sigrun::net::tcp_stream&) {}),
               std::invalid_argument);
  EXPECT_THROW(
      life.accept("x", any_port(), [](sigrun::net::tcp_stream&) {}, {.connections_max = 0}),
      std::invalid_argument);
  life.begin_stop();
  life.serve();
  EXPECT_THROW(life.on(stop_phase::drain, 5, "x", [] {}), std::logic_error);
  EXPECT_THROW(life.accept("x", any_port(), [](sigrun::net::tcp_stream&) {}), std::logic_error);
}

TEST_F(GracefulTest, ALogThatThrowsOrHangsHoldsNothingUp) {
  const sigrun::chan<int> never(1);
  for (const bool hangs : {true, false}) {
    graceful_options options = quiet();
    options.log = [never, hangs](std::string_view) {
      if (hangs) never.recv();
      throw std::runtime_error("no space left on device");
    };
    graceful life(std::move(options));
    life.begin_stop();
    EXPECT_FALSE(life.serve().forced);
  }
  never.close();
}

TEST_F(GracefulTest, ServeMayBeCalledByAPlainThreadAndByAGoroutine) {
  graceful life(quiet());
  const stop_outcome* from_thread = nullptr;
  std::thread thread([&] { from_thread = &life.serve(); });
  const stop_outcome* from_goroutine = nullptr;
  sigrun::goroutine g = sigrun::go([&] { from_goroutine = &life.serve(); });
  life.begin_stop();
  thread.join();
  g.join();
  EXPECT_EQ(from_thread, from_goroutine);
}

}  // namespace
