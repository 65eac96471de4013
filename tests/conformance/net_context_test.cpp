// SPDX-License-Identifier: Apache-2.0
//
// Operations on streams and listeners in a context: its end ends them, wherever they wait, and
// leaves the stream as it is.
#include "support/net_fixture.hpp"

#include <sigrun/context.hpp>
#include <sigrun/pipe.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <system_error>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using poll::side;

using net_context_test = net_test;
INSTANTIATE_TEST_SUITE_P(callers, net_context_test,
                         ::testing::Values(caller_kind::threads, caller_kind::goroutines,
                                           caller_kind::mixed),
                         caller_name);

const std::error_code canceled = context_errc::canceled;

TEST_P(net_context_test, its_end_ends_a_read_that_waits) {
  run_here([this] {
    auto [here, there] = net::unix_stream::pair();
    auto [ctx, cancel] = with_cancel(context::background());
    std::error_code error;
    task reader = beside([&, &here = here, &ctx = ctx] {
      std::array<char, 8> room{};
      EXPECT_EQ(here.read(ctx, room, error), 0U);
    });
    until_blocked(here, side::read);
    cancel();
    reader.join();
    EXPECT_EQ(error, canceled);
    EXPECT_EQ(error, std::errc::operation_canceled);
    // The stream is as it was.
    there.write_all("hello");
    std::array<char, 8> room{};
    EXPECT_EQ(here.read(context::background(), room), 5U);
  });
}

TEST_P(net_context_test, one_that_has_ended_lets_nothing_begin) {
  run_here([] {
    auto [here, there] = tcp_pair();
    auto [ctx, cancel] = with_cancel(context::background());
    cancel(std::make_error_code(std::errc::host_unreachable));
    there.write_all("hello");
    std::array<char, 8> room{};
    const auto& in = ctx;
    auto& stream = here;
    EXPECT_EQ(error_of([&](auto& error) { stream.read(in, room, error); }), canceled);
    EXPECT_EQ(error_of([&](auto& error) { stream.read_full(in, room, error); }), canceled);
    EXPECT_EQ(error_of([&](auto& error) { stream.write(in, "x", error); }), canceled);
    EXPECT_EQ(error_of([&](auto& error) { stream.write_all(in, "x", error); }), canceled);
    EXPECT_THROW(stream.read(in, room), std::system_error);
    auto listener = net::tcp_listener::listen({net::ip_address::loopback_v4(), 0});
    const net::endpoint to = listener.local_endpoint();
    EXPECT_EQ(error_of([&](auto& error) { net::tcp_stream::connect(in, to, {}, error); }),
              canceled);
    EXPECT_EQ(error_of([&](auto& error) { listener.accept(in, error); }), canceled);
    EXPECT_EQ(here.read(room), 5U);
  });
}

TEST_P(net_context_test, its_deadline_ends_what_waits) {
  run_here([] {
    auto [here, there] = tcp_pair();
    auto [ctx, cancel] = with_timeout(context::background(), 2ms);
    std::array<char, 8> room{};
    std::error_code error;
    EXPECT_EQ(here.read_full(ctx, room, error), 0U);
    EXPECT_EQ(error, context_errc::deadline_exceeded);
    EXPECT_EQ(error, std::errc::timed_out);
  });
}

TEST_P(net_context_test, its_end_ends_a_write_for_which_there_is_no_room) {
  run_here([this] {
    auto [here, there] = net::unix_stream::pair();
    auto [ctx, cancel] = with_cancel(context::background());
    const std::string much(8 << 20, 'x');
    std::size_t sent = 0;
    std::error_code error;
    task writer =
        beside([&, &here = here, &ctx = ctx] { sent = here.write_all(ctx, much, error); });
    until_blocked(here, side::write);
    cancel();
    writer.join();
    EXPECT_EQ(error, canceled);
    EXPECT_GT(sent, 0U);
    EXPECT_LT(sent, much.size());
    // What was said to be sent can be read, and not a byte more.
    here.close();
    std::size_t got = 0;
    std::vector<char> room(1 << 20);
    while (const std::size_t count = there.read(room)) got += count;
    EXPECT_EQ(got, sent);
  });
}

TEST_P(net_context_test, its_end_ends_an_accept_and_the_listener_goes_on) {
  run_here([this] {
    auto listener = net::tcp_listener::listen({net::ip_address::loopback_v4(), 0});
    auto [ctx, cancel] = with_cancel(context::background());
    std::error_code error;
    task acceptor = beside([&, &ctx = ctx] { listener.accept(ctx, error); });
    until_blocked(listener, side::read);
    cancel();
    acceptor.join();
    EXPECT_EQ(error, canceled);
    auto client = net::tcp_stream::connect(context::background(), listener.local_endpoint());
    EXPECT_TRUE(listener.accept().is_open());
  });
}

TEST_P(net_context_test, one_in_the_queue_for_its_turn_leaves_and_the_others_stay) {
  run_here([this] {
    auto [reader, writer] = make_pipe();
    auto [ctx, cancel] = with_cancel(context::background());
    std::error_code error;
    char first = 0;
    char last = 0;
    task holds = beside([&, &reader = reader] { reader.read({&first, 1}); });
    until_blocked(reader, side::read);
    task queued = beside([&, &reader = reader, &ctx = ctx] {
      char none = 0;
      reader.read(ctx, {&none, 1}, error);
    });
    until_queued(reader, side::read);
    cancel();
    queued.join();
    EXPECT_EQ(error, canceled);
    task behind = beside([&, &reader = reader] { reader.read({&last, 1}); });
    until_queued(reader, side::read);
    writer.write_all("ab");
    holds.join();
    behind.join();
    EXPECT_EQ(first, 'a');
    EXPECT_EQ(last, 'b');
  });
}

TEST_P(net_context_test, a_connect_to_a_full_unix_listener_ends_with_it) {
  run_here([this] {
    const auto at = net::unix_address::abstract("sigrun-context-" + std::to_string(getpid()));
    auto listener = net::unix_listener::listen(at, {.backlog = 0});
    auto first = net::unix_stream::connect(at);
    auto [ctx, cancel] = with_cancel(context::background());
    std::error_code error;
    std::atomic<bool> begun{false};
    task client = beside([&, &ctx = ctx] {
      begun = true;
      net::unix_stream::connect(ctx, at, {}, error);
    });
    while (!begun) yield();
    cancel();
    client.join();
    EXPECT_EQ(error, canceled);
  });
}

TEST_P(net_context_test, cancels_and_data_race_and_nothing_is_lost) {
  run_here([this] {
    auto [here, there] = net::unix_stream::pair();
    constexpr int rounds = 300;
    int sent = 0;
    int received = 0;
    for (int i = 0; i < rounds; ++i) {
      auto [ctx, cancel] = with_cancel(context::background());
      task canceler = beside([cancel = cancel] { cancel(); });
      std::error_code error;
      char byte = 0;
      there.write_all("x");
      ++sent;
      received += static_cast<int>(here.read(ctx, {&byte, 1}, error));
      EXPECT_TRUE(!error || error == canceled) << error.message();
      canceler.join();
    }
    there.close();
    std::array<char, 512> room{};
    while (const std::size_t count = here.read(room)) received += static_cast<int>(count);
    EXPECT_EQ(received, sent);
  });
}

}  // namespace
}  // namespace sigrun::test
