// SPDX-License-Identifier: Apache-2.0
//
// Pipes and SIGPIPE. The program has no handler for it, so a test in which it is raised dies of it.
#include "io/quiet.hpp"
#include "support/child_process.hpp"
#include "support/net_fixture.hpp"

#include <sigrun/pipe.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include <csignal>

#include <array>
#include <chrono>

namespace sigrun {
namespace {

using namespace std::chrono_literals;
using poll::side;
using test::error_of;
using test::task;

using pipe_test = test::net_test;
INSTANTIATE_TEST_SUITE_P(callers, pipe_test,
                         ::testing::Values(test::caller_kind::threads,
                                           test::caller_kind::goroutines),
                         test::caller_name);

TEST_P(pipe_test, what_goes_in_comes_out) {
  run_here([this] {
    auto ends = make_pipe();
    auto& reader = ends.first;
    auto& writer = ends.second;
    const std::string text(1'000'000, 'x');
    task in = beside([&] {
      writer.write_all(text);
      writer.close();
    });
    std::string all;
    std::array<char, 4000> room{};
    while (const std::size_t n = reader.read(room)) all.append(room.data(), n);
    EXPECT_EQ(all, text);
  });
}

TEST_P(pipe_test, both_ends_have_deadlines_and_can_be_closed) {
  run_here([this] {
    auto ends = make_pipe();
    auto& reader = ends.first;
    auto& writer = ends.second;
    std::array<char, 4> room{};
    reader.set_read_deadline_in(2ms);
    EXPECT_EQ(error_of([&](auto& e) { reader.read(room, e); }), std::errc::timed_out);
    reader.set_read_deadline(std::chrono::steady_clock::time_point::max());
    writer.set_write_deadline_in(2ms);
    const std::string text(1'000'000, 'x');
    EXPECT_EQ(error_of([&](auto& e) { writer.write_all(text, e); }), std::errc::timed_out);
    // Emptied by hand: a deadline may pass on a busy machine while there is still something.
    while (::read(reader.fd(), room.data(), room.size()) > 0) {
    }
    reader.set_read_deadline(std::chrono::steady_clock::time_point::max());
    task blocked = beside([&] {
      EXPECT_EQ(error_of([&](auto& e) { reader.read(room, e); }), std::errc::operation_canceled);
    });
    test::until_blocked(reader, side::read);
    reader.close();
  });
}

TEST_P(pipe_test, a_pipe_that_nobody_reads_is_an_error_and_no_signal) {
  run_here([] {
    auto ends = make_pipe();
    auto& reader = ends.first;
    auto& writer = ends.second;
    reader.close();
    EXPECT_EQ(error_of([&](auto& e) { writer.write("x", e); }), std::errc::broken_pipe);
    EXPECT_EQ(error_of([&](auto& e) { writer.write_all("x", e); }), std::errc::broken_pipe);
    sigset_t pending;
    ::sigpending(&pending);
    EXPECT_FALSE(sigismember(&pending, SIGPIPE)) << "nor is it left for later";
  });
}

TEST_P(pipe_test, only_what_can_be_polled_is_adopted) {
  run_here([] {
    std::error_code error;
    const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    const auto none = pipe_reader::adopt(file, error);
    EXPECT_EQ(error, std::errc::operation_not_permitted);
    EXPECT_FALSE(none);
    EXPECT_EQ(::fcntl(file, F_GETFD), -1) << "it is closed all the same";
    EXPECT_THROW(pipe_writer::adopt(-1), std::system_error);
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    auto reader = pipe_reader::adopt(fds[0]);
    auto writer = pipe_writer::adopt(fds[1]);
    writer.write_all("x");
    std::array<char, 4> room{};
    EXPECT_EQ(reader.read(room), 1u);
  });
}

// What is done for pipes before Linux 6.18, and for sendfile always.
TEST(sigpipe_guard_test, the_signal_that_the_call_raised_is_taken) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  ::close(fds[0]);
  {
    detail::sigpipe_guard guard;
    ASSERT_EQ(::write(fds[1], "x", 1), -1);
    guard.raised();
  }
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  EXPECT_FALSE(sigismember(&mask, SIGPIPE));
  ::close(fds[1]);
}

TEST(sigpipe_guard_test, one_that_was_pending_before_stays) {
  sigset_t pipe_only;
  sigset_t before;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  pthread_kill(pthread_self(), SIGPIPE);
  {
    detail::sigpipe_guard guard;
    guard.raised();
  }
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_TRUE(sigismember(&pending, SIGPIPE));
  int signo = 0;
  sigwait(&pipe_only, &signo);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(sigpipe_test, who_writes_to_a_standard_output_without_a_reader_dies_of_it) {
  const auto result = test::run_child([] {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) return 10;
    ::close(fds[0]);
    ::dup2(fds[1], STDOUT_FILENO);
    auto out = pipe_writer::adopt(STDOUT_FILENO);
    out.write_all("x");
    return 11;
  });
  EXPECT_TRUE(result.killed_by(SIGPIPE)) << result.describe();
}

}  // namespace
}  // namespace sigrun
