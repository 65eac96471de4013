// SPDX-License-Identifier: Apache-2.0
//
// The system calls of the poller and of streams, failing one at a time: what can be tried again is,
// everything else is the caller's error, and no descriptor stays behind.
#include "fault/fault_syscall6.hpp"
#include "poll/poller.hpp"
#include "support/child_process.hpp"
#include "support/net_fixture.hpp"

#include <sigrun/file.hpp>
#include <sigrun/pipe.hpp>

#include <gtest/gtest.h>

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace sigrun {
namespace {

using namespace std::chrono_literals;
using test::error_of;

const net::endpoint any_port(net::ip_address::loopback_v4(), 0);

struct planned {
  planned(long number, int error, int nth = 1) { fault::fail(number, nth, error); }
  ~planned() { fault::fail(0, 0, 0); }
};

/// Each test runs on a thread and on a goroutine.
class io_fault_test : public test::net_test {};
INSTANTIATE_TEST_SUITE_P(callers, io_fault_test,
                         ::testing::Values(test::caller_kind::threads,
                                           test::caller_kind::goroutines),
                         test::caller_name);

class poll_fault_test : public test::leak_guard_test {};

TEST_F(poll_fault_test, a_poller_that_cannot_open_says_why_and_leaves_nothing) {
  for (const long number : {SYS_epoll_create1, SYS_eventfd2, SYS_epoll_ctl}) {
    poll::poller poller;
    {
      const planned refusal(number, EMFILE);
      EXPECT_EQ(poller.open(), -EMFILE);
    }
    EXPECT_FALSE(poller.is_open());
    EXPECT_EQ(poller.open(), 0) << "it may be tried again";
  }
}

TEST_F(poll_fault_test, without_memory_there_is_no_descriptor) {
  poll::poller poller;
  ASSERT_EQ(poller.open(), 0);
  {
    const planned refusal(SYS_mmap, ENOMEM);
    EXPECT_EQ(poller.acquire(), nullptr);
  }
  EXPECT_NE(poller.acquire(), nullptr);
}

TEST_F(poll_fault_test, an_old_kernel_waits_in_milliseconds) {
  poll::poller poller;
  ASSERT_EQ(poller.open(), 0);
  std::array<void*, 2> room{};
  poll::ready_list ready(room);
  const planned refusal(SYS_epoll_pwait2, ENOSYS);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(poller.wait(1'500'000, ready), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 1500us);
  EXPECT_EQ(poller.wait(100'000, ready), 0);
  EXPECT_EQ(fault::calls(), 1) << "and is not asked again";
}

TEST_P(io_fault_test, what_a_handler_interrupts_is_tried_again) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    auto here = net::tcp_stream::connect(listener.local_endpoint());
    net::tcp_stream there;
    {
      const planned refusal(SYS_accept4, EINTR);
      there = listener.accept();
    }
    std::array<char, 5> room{};
    {
      const planned refusal(SYS_sendto, EINTR);
      EXPECT_EQ(here.write("hello"), 5u);
    }
    {
      const planned refusal(SYS_recvfrom, EINTR);
      EXPECT_EQ(there.read(room), 5u);
    }
    {
      const planned refusal(SYS_sendmsg, EINTR);
      const std::array<const_buffer, 2> two{"he", "llo"};
      EXPECT_EQ(here.writev(two), 5u);
    }
    {
      const planned refusal(SYS_readv, EINTR);
      const std::array<mutable_buffer, 2> two{mutable_buffer(room.data(), 2),
                                              mutable_buffer(room.data() + 2, 3)};
      EXPECT_EQ(there.readv(two), 5u);
    }
  });
}

TEST_P(io_fault_test, an_error_of_the_kernel_is_the_callers) {
  run_here([] {
    auto ends = net::unix_stream::pair();
    auto& here = ends.first;
    auto& there = ends.second;
    std::array<char, 5> room{};
    {
      const planned refusal(SYS_recvfrom, ENOBUFS);
      EXPECT_EQ(error_of([&](auto& e) { there.read(room, e); }), std::errc::no_buffer_space);
    }
    {
      const planned refusal(SYS_sendto, ENOMEM);
      EXPECT_EQ(error_of([&](auto& e) { here.write_all("x", e); }), std::errc::not_enough_memory);
    }
    {
      const planned refusal(SYS_sendfile, EIO);
      EXPECT_EQ(error_of([&](auto& e) { here.sendfile(0, 0, 1, e); }), std::errc::io_error);
    }
    here.write_all("hello");
    EXPECT_EQ(there.read_full(room), 5u) << "nothing was lost";
  });
}

TEST_P(io_fault_test, a_connection_that_broke_before_it_was_accepted_is_passed_over) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    const auto here = net::tcp_stream::connect(listener.local_endpoint());
    for (const int error : {ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH}) {
      const planned refusal(SYS_accept4, error);
      listener.set_deadline_in(10s);
      const auto again = net::tcp_stream::connect(listener.local_endpoint());
      EXPECT_TRUE(listener.accept());
      EXPECT_EQ(fault::calls(), 2);
    }
  });
}

TEST_P(io_fault_test, what_cannot_be_put_into_the_poller_is_closed) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    const net::endpoint at = listener.local_endpoint();
    constexpr auto full = std::errc::no_space_on_device;  // max_user_watches
    {
      const planned refusal(SYS_epoll_ctl, ENOSPC);
      EXPECT_EQ(error_of([&](auto& e) { net::tcp_stream::connect(at, {}, e); }), full);
    }
    {
      const planned refusal(SYS_epoll_ctl, ENOSPC);
      EXPECT_EQ(error_of([&](auto& e) { listener.accept(e); }), full);
    }
    {
      const planned refusal(SYS_epoll_ctl, ENOSPC);
      EXPECT_EQ(error_of([&](auto& e) { net::tcp_listener::listen(any_port, {}, e); }), full);
    }
    for (const int nth : {1, 2}) {
      const planned refusal(SYS_epoll_ctl, ENOSPC, nth);
      EXPECT_EQ(error_of([&](auto& e) { make_pipe(e); }), full);
    }
    for (const int nth : {1, 2}) {
      const planned refusal(SYS_epoll_ctl, ENOSPC, nth);
      EXPECT_EQ(error_of([&](auto& e) { net::unix_stream::pair(e); }), full);
    }
  });
}

TEST_P(io_fault_test, every_call_that_makes_a_socket_may_fail) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    const net::endpoint at = listener.local_endpoint();
    for (const long number : {SYS_socket, SYS_connect}) {
      const planned refusal(number, ENFILE);
      EXPECT_EQ(error_of([&](auto& e) { net::tcp_stream::connect(at, {}, e); }),
                std::errc::too_many_files_open_in_system);
    }
    for (const long number : {SYS_socket, SYS_setsockopt, SYS_bind, SYS_listen}) {
      const planned refusal(number, ENFILE);
      EXPECT_EQ(error_of([&](auto& e) { net::tcp_listener::listen(any_port, {}, e); }),
                std::errc::too_many_files_open_in_system);
    }
    const planned refusal(SYS_pipe2, EMFILE);
    EXPECT_EQ(error_of([&](auto& e) { make_pipe(e); }), std::errc::too_many_files_open);
  });
}

TEST_P(io_fault_test, without_rwf_nosignal_a_broken_pipe_is_still_no_signal) {
  run_here([] {
    auto ends = make_pipe();
    auto& reader = ends.first;
    auto& writer = ends.second;
    const planned refusal(SYS_pwritev2, EOPNOTSUPP);
    writer.write_all("hello");
    reader.close();
    EXPECT_EQ(error_of([&](auto& e) { writer.write("x", e); }), std::errc::broken_pipe);
  });
}

TEST_P(io_fault_test, files_pass_errors_on_and_try_again_after_a_handler) {
  run_here([] {
    {
      const planned refusal(SYS_openat, EINTR);
      EXPECT_TRUE(file::open("/dev/null").is_open());
    }
    {
      file from = file::open("/proc/self/exe");
      std::array<char, 4> room{};
      const planned refusal(SYS_pread64, EIO);
      EXPECT_EQ(error_of([&](auto& e) { from.read_at(0, room, e); }), std::errc::io_error);
    }
    file null = file::open("/dev/null", file_mode::write);
    {
      const planned refusal(SYS_fsync, EIO);
      EXPECT_EQ(error_of([&](auto& e) { null.sync(e); }), std::errc::io_error);
    }
  });
}

TEST(io_start_fault_test, a_runtime_that_cannot_start_is_the_error_of_the_first_stream) {
  const auto result = test::run_child([] {
    std::error_code error;
    {
      const planned refusal(SYS_epoll_create1, EMFILE);
      static_cast<void>(net::tcp_listener::listen(any_port, {}, error));
      if (error != std::errc::too_many_files_open) return 10;
    }
    static_cast<void>(net::tcp_listener::listen(any_port, {}, error));
    return error ? 11 : 0;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

}  // namespace
}  // namespace sigrun
