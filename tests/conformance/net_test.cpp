// SPDX-License-Identifier: Apache-2.0
//
// Connected streams: bytes, deadlines, close and what the peer does, each from plain threads and
// from goroutines.
#include "support/net_fixture.hpp"

#include <gtest/gtest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using poll::side;
using std::chrono::steady_clock;

using stream_test = net_test;
INSTANTIATE_TEST_SUITE_P(callers, stream_test,
                         ::testing::Values(caller_kind::threads, caller_kind::goroutines,
                                           caller_kind::mixed),
                         caller_name);

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

std::string read_to_end(net::stream& from) {
  std::string all;
  std::array<char, 5000> room{};
  while (const std::size_t count = from.read(room)) all.append(room.data(), count);
  return all;
}

/// Both directions at once, with more than the kernel's buffers hold.
template <class Stream>
void talk(std::pair<Stream, Stream> both,
          const std::function<task(std::function<void()>)>& beside) {
  const std::string there = pattern(3'000'000);
  const std::string back = pattern(2'000'001);
  auto& a = both.first;
  auto& b = both.second;
  task writer = beside([&] {
    EXPECT_EQ(a.write_all(there), there.size());
    a.shutdown_write();
  });
  task answer = beside([&] {
    EXPECT_EQ(b.write_all(back), back.size());
    b.shutdown_write();
  });
  task reader = beside([&] { EXPECT_EQ(read_to_end(a), back); });
  EXPECT_EQ(read_to_end(b), there);
  writer.join();
  answer.join();
  reader.join();
}

TEST_P(stream_test, what_one_writes_the_other_reads) {
  run_here([this] {
    const auto spawn = [this](std::function<void()> work) { return beside(std::move(work)); };
    talk(tcp_pair(false), spawn);
    talk(tcp_pair(true), spawn);
    talk(net::unix_stream::pair(), spawn);
  });
}

TEST_P(stream_test, a_read_waits_for_what_is_written_later) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 16> room{};
    task reader = beside([&] {
      EXPECT_EQ(b.read(room), 5u);
      EXPECT_EQ(std::string_view(room.data(), 5), "hello");
    });
    until_blocked(b, side::read);
    a.write_all("hello");
  });
}

// After a short read the next one sleeps without trying. What makes it wrong to do so comes here
// together with the data that is read short.
TEST_P(stream_test, an_end_that_comes_with_the_last_bytes_is_read) {
  run_here([] {
    for (int i = 0; i < 100; ++i) {
      auto ends = tcp_pair();
      auto& a = ends.first;
      auto& b = ends.second;
      std::array<char, 16> room{};
      a.write_all("x");
      EXPECT_EQ(b.read(room), 1u);  // drained from here on
      a.write_all("y");
      a.shutdown_write();
      EXPECT_EQ(b.read(room), 1u);
      EXPECT_EQ(b.read(room), 0u);
      EXPECT_EQ(b.read(room), 0u);
    }
  });
}

TEST_P(stream_test, data_that_comes_just_after_a_short_read_is_read) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    constexpr int rounds = 3000;
    task echo = beside([&] {
      std::array<char, 64> room{};
      for (int i = 0; i < rounds; ++i) b.write_all(const_buffer(room.data(), b.read(room)));
    });
    std::array<char, 64> room{};
    for (int i = 0; i < rounds; ++i) {
      a.write_all("ping");
      ASSERT_EQ(a.read(room), 4u);
    }
  });
}

TEST_P(stream_test, urgent_data_does_not_hold_up_a_reader) {
  run_here([] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    ASSERT_EQ(::send(a.fd(), "abc!", 4, MSG_OOB | MSG_NOSIGNAL), 4);  // "!" is urgent
    a.write_all("def");
    a.shutdown_write();
    EXPECT_EQ(read_to_end(b), "abcdef");  // stops short before the "!", which is not inline
  });
}

TEST_P(stream_test, no_bytes_are_no_operation) {
  run_here([] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    EXPECT_EQ(a.write(""), 0u);
    EXPECT_EQ(a.write_all(""), 0u);
    EXPECT_EQ(b.read(mutable_buffer()), 0u);
    EXPECT_EQ(b.read_full(mutable_buffer()), 0u);
    std::error_code error;
    EXPECT_EQ(b.read_some(mutable_buffer(), error), 0u);
    EXPECT_FALSE(error);
  });
}

// --------------------------------------------------------------------------------- buffer lists

TEST_P(stream_test, scattered_and_gathered_bytes_keep_their_order) {
  run_here([this] {
    auto ends = net::unix_stream::pair();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string text = pattern(300'000);
    // More buffers than go into one call, empty ones among them.
    std::vector<const_buffer> parts;
    for (std::size_t at = 0, step = 0; at < text.size(); at += step, step = (step + 7) % 9000) {
      step = std::min(step, text.size() - at);
      parts.emplace_back(text.data() + at, step);
    }
    task writer = beside([&] {
      EXPECT_EQ(a.writev_all(parts), text.size());
      a.shutdown_write();
    });
    std::string all;
    for (;;) {
      std::array<char, 10> first{};
      std::array<char, 1> none{};
      std::array<char, 1000> rest{};
      const std::array<mutable_buffer, 3> into{first, mutable_buffer(none.data(), 0), rest};
      const std::size_t count = b.readv(into);
      if (count == 0) break;
      all.append(first.data(), std::min(count, first.size()));
      if (count > first.size()) all.append(rest.data(), count - first.size());
    }
    EXPECT_EQ(all, text);
  });
}

TEST_P(stream_test, read_full_fills_or_says_why_not) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    task writer = beside([&] {
      a.write_all("12");
      until_blocked(b, side::read);
      a.write_all("3456");
      a.shutdown_write();
    });
    std::array<char, 4> room{};
    EXPECT_EQ(b.read_full(room), 4u);
    EXPECT_EQ(std::string_view(room.data(), 4), "1234");
    std::error_code error;
    EXPECT_EQ(b.read_full(room, error), 2u);
    EXPECT_EQ(error, stream_errc::end_of_stream);
    EXPECT_EQ(b.read_some(mutable_buffer(room), error), 0u);
    EXPECT_EQ(error, stream_errc::end_of_stream);
    EXPECT_THROW(b.read_some(mutable_buffer(room)), std::system_error);
  });
}

TEST_P(stream_test, sendfile_sends_the_piece_that_was_asked_for) {
  run_here([this] {
    const std::string text = pattern(5'000'000);
    char path[] = "/tmp/sigrun-sendfile-XXXXXX";
    const int file = ::mkstemp(path);
    ASSERT_GE(file, 0);
    ::unlink(path);
    ASSERT_EQ(::write(file, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    task writer = beside([&] {
      EXPECT_EQ(a.sendfile(file, 10, 20), 20u);
      EXPECT_EQ(a.sendfile(file, 100, text.size()), text.size() - 100) << "up to the file's end";
      EXPECT_EQ(a.sendfile(file, text.size() + 5, 10), 0u);
      a.shutdown_write();
    });
    EXPECT_EQ(read_to_end(b), text.substr(10, 20) + text.substr(100));
    writer.join();
    EXPECT_EQ(error_of([&](auto& e) { b.sendfile(-1, 0, 1, e); }), std::errc::bad_file_descriptor);
    ::close(file);
  });
}

// ------------------------------------------------------------------------------------- deadlines

TEST_P(stream_test, a_deadline_ends_a_read_and_another_one_allows_it_again) {
  run_here([] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 16> room{};
    const auto at = steady_clock::now() + 5ms;
    b.set_read_deadline(at);
    EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::timed_out);
    EXPECT_GE(steady_clock::now(), at);
    EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::timed_out);
    a.write_all("x");
    EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::timed_out)
        << "also when there is something";
    EXPECT_EQ(b.write("y"), 1u) << "the other side has no deadline";
    b.set_read_deadline(net::no_deadline);
    EXPECT_EQ(b.read(room), 1u);
  });
}

TEST_P(stream_test, a_deadline_that_has_passed_ends_what_waits_now) {
  run_here([this] {
    auto ends = tcp_pair();
    [[maybe_unused]] auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 16> room{};
    task reader = beside(
        [&] { EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::timed_out); });
    until_blocked(b, side::read);
    b.set_deadline_in(-1s);
    reader.join();
    EXPECT_EQ(error_of([&](auto& e) { b.write("x", e); }), std::errc::timed_out);
  });
}

TEST_P(stream_test, a_deadline_can_be_moved_while_somebody_waits) {
  run_here([this] {
    auto ends = tcp_pair();
    [[maybe_unused]] auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 16> room{};
    b.set_read_deadline_in(1h);
    const auto at = steady_clock::now() + 20ms;
    task reader = beside([&] {
      EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::timed_out);
      EXPECT_GE(steady_clock::now(), at);
    });
    until_blocked(b, side::read);
    b.set_read_deadline_in(10ms);
    b.set_read_deadline(at);
    reader.join();
  });
}

TEST_P(stream_test, a_write_that_a_deadline_ends_says_how_far_it_came) {
  run_here([] {
    auto ends = net::unix_stream::pair();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string text = pattern(4'000'000);
    a.set_write_deadline_in(10ms);
    std::error_code error;
    const std::size_t count = a.write_all(text, error);
    EXPECT_EQ(error, std::errc::timed_out);
    EXPECT_GT(count, 0u);
    EXPECT_LT(count, text.size());
    std::string got(count, '\0');
    EXPECT_EQ(b.read_full(got), count);
    EXPECT_EQ(got, text.substr(0, count));
  });
}

TEST_P(stream_test, deadlines_come_and_go_while_bytes_do) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    constexpr int rounds = 2000;
    task writer = beside([&] {
      for (int i = 0; i < rounds; ++i) a.write_all("x");
    });
    std::array<char, 16> room{};
    std::size_t count = 0;
    for (int i = 0; count < rounds; ++i) {
      b.set_read_deadline_in(std::chrono::microseconds(i % 50));
      std::error_code error;
      count += b.read(room, error);
      if (error) {
        ASSERT_EQ(error, std::errc::timed_out);
      }
    }
    EXPECT_EQ(count, static_cast<std::size_t>(rounds));
  });
}

// ----------------------------------------------------------------------------------------- close

TEST_P(stream_test, close_wakes_a_reader_and_a_writer) {
  run_here([this] {
    auto ends = net::unix_stream::pair();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string text = pattern(4'000'000);
    task reader = beside([&] {
      std::array<char, 16> room{};
      EXPECT_EQ(error_of([&](auto& e) { a.read(room, e); }), std::errc::operation_canceled);
    });
    task writer = beside([&] {
      EXPECT_EQ(error_of([&](auto& e) { a.write_all(text, e); }), std::errc::operation_canceled);
    });
    until_blocked(a, side::read);
    until_blocked(a, side::write);
    a.close();
    reader.join();
    writer.join();
    EXPECT_FALSE(a.is_open());
    const std::string rest = read_to_end(b);
    EXPECT_EQ(rest, text.substr(0, rest.size()));
  });
}

TEST_P(stream_test, what_comes_after_close_is_an_error) {
  run_here([] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    a.close();
    std::array<char, 16> room{};
    constexpr auto bad = std::errc::bad_file_descriptor;
    EXPECT_EQ(error_of([&](auto& e) { a.close(e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.read(room, e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.read_full(room, e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.write("x", e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.write_all("x", e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.shutdown_write(e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.sendfile(0, 0, 1, e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.set_deadline_in(1s, e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.local_endpoint(e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { a.remote_endpoint(e); }), bad);
    EXPECT_THROW(a.close(), std::system_error);
    EXPECT_THROW(a.nodelay(), std::system_error);
    EXPECT_EQ(a.fd(), -1);
    EXPECT_EQ(b.read(room), 0u);

    net::tcp_stream none;
    EXPECT_FALSE(none);
    EXPECT_EQ(error_of([&](auto& e) { none.read(room, e); }), bad);
    EXPECT_EQ(error_of([&](auto& e) { none.close(e); }), bad);
  });
}

TEST_P(stream_test, readers_take_turns_in_the_order_they_came) {
  run_here([this] {
    auto ends = net::unix_stream::pair();
    auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 2> first{};
    std::array<char, 2> second{};
    task one = beside([&] { EXPECT_EQ(b.read_full(first), 2u); });
    until_blocked(b, side::read);
    task two = beside([&] { EXPECT_EQ(b.read_full(second), 2u); });
    until_queued(b, side::read);
    a.write_all("1");
    a.write_all("122");
    one.join();
    two.join();
    EXPECT_EQ(std::string_view(first.data(), 2), "11");
    EXPECT_EQ(std::string_view(second.data(), 2), "22");
  });
}

TEST_P(stream_test, who_waits_for_a_turn_has_the_deadline_too) {
  run_here([this] {
    auto ends = net::unix_stream::pair();
    [[maybe_unused]] auto& a = ends.first;
    auto& b = ends.second;
    const auto reads_too_late = [&] {
      std::array<char, 2> room{};
      EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::timed_out);
    };
    task one = beside(reads_too_late);
    until_blocked(b, side::read);
    task two = beside(reads_too_late);
    until_queued(b, side::read);
    b.set_read_deadline_in(1h);
    b.set_read_deadline_in(5ms);
    one.join();
    two.join();
  });
}

TEST_P(stream_test, close_wakes_all_who_wait_for_a_turn) {
  run_here([this] {
    auto ends = net::unix_stream::pair();
    [[maybe_unused]] auto& a = ends.first;
    auto& b = ends.second;
    std::vector<task> all;
    std::atomic<int> canceled{0};
    const auto reads = [&] {
      std::array<char, 2> room{};
      if (error_of([&](auto& e) { b.read(room, e); }) == std::errc::operation_canceled) ++canceled;
    };
    all.push_back(beside(reads));
    until_blocked(b, side::read);
    for (int i = 0; i < 5; ++i) all.push_back(beside(reads));
    until_queued(b, side::read);
    b.close();
    for (task& one : all) one.join();
    // Those that came only after close() have another error.
    EXPECT_GE(canceled.load(), 2);
  });
}

TEST_P(stream_test, what_many_writers_write_is_not_mixed) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    constexpr std::size_t size = 200'000;
    std::vector<task> all;
    for (const char letter : "abcd"sv) {
      all.push_back(beside([&, letter] { a.write_all(std::string(size, letter)); }));
    }
    std::string got(4 * size, '\0');
    b.read_full(got);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(got.substr(i * size, size), std::string(size, got[i * size]));
    }
  });
}

TEST_P(stream_test, close_races_with_everything_and_loses_nothing) {
  run_here([this] {
    for (int i = 0; i < 200; ++i) {
      auto ends = net::unix_stream::pair();
      auto& a = ends.first;
      auto& b = ends.second;
      std::array<task, 3> all{beside([&] {
                                std::array<char, 8> room{};
                                std::error_code error;
                                while (!error) b.read(room, error);
                              }),
                              beside([&] {
                                std::error_code error;
                                while (!error) b.write("x", error);
                              }),
                              beside([&] {
                                std::error_code error;
                                while (!error) b.set_deadline_in(1s, error);
                              })};
      std::array<char, 8> room{};
      a.write("x");
      a.read(room);
      b.close();
      for (task& one : all) one.join();
    }
  });
}

// -------------------------------------------------------------------------------------- the peer

TEST_P(stream_test, a_half_closed_stream_still_brings_the_answer) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    task server = beside([&] {
      const std::string question = read_to_end(b);
      b.write_all("you said: " + question);
      b.close();
    });
    a.write_all("hello");
    a.shutdown_write();
    EXPECT_EQ(error_of([&](auto& e) { a.write("x", e); }), std::errc::broken_pipe);
    EXPECT_EQ(read_to_end(a), "you said: hello");
  });
}

TEST_P(stream_test, shutdown_read_ends_a_read_that_waits) {
  run_here([this] {
    auto ends = tcp_pair();
    [[maybe_unused]] auto& a = ends.first;
    auto& b = ends.second;
    task reader = beside([&] {
      std::array<char, 16> room{};
      EXPECT_EQ(b.read(room), 0u);
    });
    until_blocked(b, side::read);
    b.shutdown_read();
  });
}

TEST_P(stream_test, a_reset_is_an_error_of_reads_and_writes_and_no_signal) {
  run_here([this] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    task reader = beside([&] {
      std::array<char, 16> room{};
      EXPECT_EQ(error_of([&](auto& e) { b.read(room, e); }), std::errc::connection_reset);
    });
    until_blocked(b, side::read);
    a.set_linger(0s);
    a.close();
    reader.join();
    EXPECT_EQ(error_of([&](auto& e) { b.write("x", e); }), std::errc::broken_pipe);
    const std::array<const_buffer, 2> list{const_buffer("x"), const_buffer("y")};
    EXPECT_EQ(error_of([&](auto& e) { b.writev_all(list, e); }), std::errc::broken_pipe);
  });
}

TEST_P(stream_test, sendfile_to_a_peer_that_is_gone_is_an_error_and_no_signal) {
  run_here([] {
    auto ends = net::unix_stream::pair();
    auto& a = ends.first;
    auto& b = ends.second;
    char path[] = "/tmp/sigrun-sendfile-XXXXXX";
    const int file = ::mkstemp(path);
    ::unlink(path);
    ASSERT_EQ(::write(file, "hello", 5), 5);
    a.close();
    EXPECT_EQ(error_of([&](auto& e) { b.sendfile(file, 0, 5, e); }), std::errc::broken_pipe);
    ::close(file);
  });
}

TEST_P(stream_test, options_say_what_was_set) {
  run_here([] {
    auto ends = tcp_pair();
    auto& a = ends.first;
    auto& b = ends.second;
    EXPECT_TRUE(a.nodelay());
    EXPECT_TRUE(b.nodelay()) << "accepted ones too";
    a.set_nodelay(false);
    EXPECT_FALSE(a.nodelay());
    EXPECT_FALSE(a.is_kept_alive());
    a.set_keep_alive(net::keep_alive{.idle = 30s, .interval = 5s, .count = 3});
    EXPECT_TRUE(a.is_kept_alive());
    EXPECT_THROW(a.set_keep_alive(net::keep_alive{.idle = -1s}), std::system_error);
    a.set_keep_alive(false);
    EXPECT_FALSE(a.is_kept_alive());
    a.set_send_buffer(100'000);
    a.set_receive_buffer(100'000);
    EXPECT_EQ(a.local_endpoint(), b.remote_endpoint());
    EXPECT_EQ(a.remote_endpoint(), b.local_endpoint());
  });
}

}  // namespace
}  // namespace sigrun::test
