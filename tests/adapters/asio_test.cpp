// SPDX-License-Identifier: Apache-2.0
//
// Goal: async_recv keeps Asio's rules (tokens, cancellation, nothing completes inside the call) and
// the channel's (nothing lost, nothing twice).
#include "same_signal.hpp"

#include <sigrun/asio.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <sys/resource.h>

#include <memory>
#include <optional>

namespace sigrun::test {
namespace {

namespace net = boost::asio;
using boost::system::error_code;

TEST(AsioAdapter, TwoLoopsAndTwoThreadsReceiveTheSameSignal) {
  two_loops_and_two_threads_receive_the_same_signal([](const signal_chan& ch, int n) {
    std::vector<int> got;
    net::io_context io;
    std::function<void()> next = [&] {
      sigrun::asio::async_recv(ch, io.get_executor(), [&](error_code error, signal_event event) {
        EXPECT_FALSE(error);
        EXPECT_GT(event.at.received, 0);
        got.push_back(event.value_int());
        if (got.size() < static_cast<std::size_t>(n)) next();
      });
    };
    next();
    io.run();
    return got;
  });
}

TEST(AsioAdapter, TheExamplePrintsItsSignalsAndEnds) {
  the_example_prints_its_signals_and_ends("example_asio");
}

TEST(AsioAdapter, AValueThatIsThereNeverCompletesInsideTheCall) {
  net::io_context io;
  chan<int> ch(1);
  ch.send(5);
  std::optional<int> got;
  sigrun::asio::async_recv(ch, io.get_executor(), [&](error_code, int value) { got = value; });
  EXPECT_FALSE(got);
  io.run();
  EXPECT_EQ(got, 5);
}

TEST(AsioAdapter, ACancelledReceiveTakesNoValue) {
  net::io_context io;
  chan<int> ch(1);
  net::cancellation_signal cancel;
  error_code result;
  sigrun::asio::async_recv(
      ch, io.get_executor(),
      net::bind_cancellation_slot(cancel.slot(), [&](error_code error, int) { result = error; }));
  io.poll();
  EXPECT_FALSE(result);
  cancel.emit(net::cancellation_type::total);
  ch.send(1);
  io.run();
  EXPECT_EQ(result, net::error::operation_aborted);
  EXPECT_EQ(ch.size(), 1U);
}

TEST(AsioAdapter, AClosedChannelIsEndOfFileAfterItsValues) {
  net::io_context io;
  chan<int> ch(2);
  std::vector<std::pair<error_code, int>> got;
  const auto keep = [&](error_code error, int value) { got.emplace_back(error, value); };
  sigrun::asio::async_recv(ch, io.get_executor(), keep);
  sigrun::asio::async_recv(ch, io.get_executor(), keep);
  io.poll();
  ch.send(7);
  ch.close();
  io.run();
  ASSERT_EQ(got.size(), 2U);
  if (got[0].first) std::swap(got[0], got[1]);
  EXPECT_EQ(got[0], std::pair(error_code(), 7));
  EXPECT_EQ(got[1].first, net::error::eof);
}

TEST(AsioAdapter, ManyOperationsOnOneChannelShareItsValues) {
  net::io_context io;
  chan<int> ch(50);
  int sum = 0;
  for (int i = 0; i < 50; ++i) {
    sigrun::asio::async_recv(ch, io.get_executor(), [&](error_code error, int value) {
      EXPECT_FALSE(error);
      sum += value;
    });
  }
  std::thread sender([ch] {
    for (int i = 1; i <= 50; ++i) ch.send(i);
  });
  io.run();
  sender.join();
  EXPECT_EQ(sum, 1275);
}

TEST(AsioAdapter, FuturesAndMoveOnlyValuesWork) {
  net::io_context io;
  chan<std::unique_ptr<int>> ch(1);
  auto future = sigrun::asio::async_recv(ch, io.get_executor(), net::use_future);
  io.poll();
  ch.send(std::make_unique<int>(3));
  io.run();
  EXPECT_EQ(*future.get(), 3);
}

TEST(AsioAdapter, WithoutDescriptorsTheErrorSaysSo) {
  net::io_context io;
  chan<int> ch(1);
  ch.fd();  // what fails below is the copy
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const int lowest_free = dup(0);
  close(lowest_free);
  const rlimit none{static_cast<rlim_t>(lowest_free), before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  error_code result;
  sigrun::asio::async_recv(ch, io.get_executor(), [&](error_code e, int) { result = e; });
  setrlimit(RLIMIT_NOFILE, &before);
  io.run();
  EXPECT_EQ(result.value(), EMFILE);
}

TEST(AsioAdapter, AnEmptyHandleIsRefused) {
  net::io_context io;
  EXPECT_THROW(sigrun::asio::async_recv(chan<int>(), io.get_executor(), [](error_code, int) {}),
               std::logic_error);
}

}  // namespace
}  // namespace sigrun::test
