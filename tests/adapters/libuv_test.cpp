// SPDX-License-Identifier: Apache-2.0
//
// Goal: a watcher delivers everything, ends when told (also by its own callback), and leaves a loop
// that can be closed.
#include "same_signal.hpp"

#include <sigrun/libuv.hpp>

#include <optional>

namespace sigrun::test {
namespace {

struct loop_guard {
  loop_guard() { uv_loop_init(&loop); }
  ~loop_guard() {
    uv_run(&loop, UV_RUN_DEFAULT);
    EXPECT_EQ(uv_loop_close(&loop), 0) << "a handle was left open";
  }
  uv_loop_t loop{};
};

TEST(LibuvAdapter, TwoLoopsAndTwoThreadsReceiveTheSameSignal) {
  two_loops_and_two_threads_receive_the_same_signal([](const signal_chan& ch, int n) {
    std::vector<int> got;
    loop_guard guard;
    std::optional<libuv::watcher<signal_event>> watcher;
    watcher.emplace(&guard.loop, ch, [&](std::optional<signal_event> event) {
      got.push_back(event.value().value_int());
      if (got.size() == static_cast<std::size_t>(n)) watcher.reset();
    });
    uv_run(&guard.loop, UV_RUN_DEFAULT);
    return got;
  });
}

TEST(LibuvAdapter, TheExamplePrintsItsSignalsAndEnds) {
  the_example_prints_its_signals_and_ends("example_libuv");
}

TEST(LibuvAdapter, ACloseIsToldOnceAfterTheLastValueAndEndsTheLoop) {
  loop_guard guard;
  chan<int> ch(200);
  for (int i = 0; i < 200; ++i) ch.send(i);
  ch.close();
  std::vector<int> got;
  int ends = 0;
  libuv::watcher<int> watcher(&guard.loop, ch, [&](std::optional<int> value) {
    value ? got.push_back(*value) : void(++ends);
  });
  uv_run(&guard.loop, UV_RUN_DEFAULT);  // returns: a stopped watcher keeps no loop alive
  EXPECT_EQ(got.size(), 200U);
  EXPECT_EQ(ends, 1);
}

TEST(LibuvAdapter, AfterItsEndAWatcherCallsNobodyAndTakesNothing) {
  loop_guard guard;
  chan<int> ch(4);
  int calls = 0;
  {
    libuv::watcher<int> watcher(&guard.loop, ch, [&](std::optional<int>) { ++calls; });
    ch.send(1);
    ch.send(2);
  }
  uv_run(&guard.loop, UV_RUN_DEFAULT);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(ch.size(), 2U);
}

TEST(LibuvAdapter, TwoWatchersMayShareAChannelAndALoop) {
  loop_guard guard;
  chan<int> ch(64);
  int sum = 0;
  const auto add = [&](std::optional<int> value) { sum += value.value_or(0); };
  libuv::watcher<int> one(&guard.loop, ch, add);
  libuv::watcher<int> moved_from(&guard.loop, ch, add);
  libuv::watcher<int> two = std::move(moved_from);
  std::thread sender([ch] {
    for (int i = 1; i <= 500; ++i) ch.send(i);
    ch.close();
  });
  uv_run(&guard.loop, UV_RUN_DEFAULT);
  sender.join();
  EXPECT_EQ(sum, 125250);
}

TEST(LibuvAdapter, AnEmptyHandleIsRefused) {
  loop_guard guard;
  EXPECT_THROW(libuv::watcher<int>(&guard.loop, {}, nullptr), std::logic_error);
}

}  // namespace
}  // namespace sigrun::test
