// SPDX-License-Identifier: Apache-2.0
//
// What the kernel tells of a thread's signals only by a file.
#include "sigsafe/thread_status.hpp"

#include "sys/signal.hpp"

#include <gtest/gtest.h>

#include <pthread.h>
#include <unistd.h>
#include <csignal>

#include <thread>

namespace sigrun::sigsafe {
namespace {

constexpr auto usr1 = signal_set::of(SIGUSR1);

TEST(ThreadStatusTest, what_is_sent_to_the_thread_alone_is_told_from_the_rest) {
  std::thread([] {
    sys::block(signal_set::of(SIGUSR1, SIGUSR2));
    pthread_setname_np(pthread_self(), "looked-at");
    sys::tgkill(::getpid(), sys::gettid(), SIGUSR1);
    thread_status status;
    ASSERT_TRUE(read_thread_status(0, status));
    EXPECT_EQ(status.pending, usr1);
    EXPECT_EQ(status.blocked, sys::current_mask());
    EXPECT_STREQ(status.name, "looked-at");
    EXPECT_EQ(status.state, 'R');
    thread_status same;
    ASSERT_TRUE(read_thread_status(sys::gettid(), same));
    EXPECT_EQ(same.pending, usr1);
    siginfo_t info;
    EXPECT_EQ(sys::rt_sigtimedwait(usr1, &info, &sys::no_wait), SIGUSR1);
    ASSERT_TRUE(read_thread_status(0, status));
    EXPECT_TRUE(status.pending.empty());
  }).join();
}

TEST(ThreadStatusTest, a_thread_that_is_none_has_no_status) {
  thread_status status;
  EXPECT_FALSE(read_thread_status(0x3fffff, status));
}

TEST(ThreadStatusTest, a_name_that_looks_like_a_line_is_a_name) {
  thread_status status;
  parse_thread_status("Name:\tSigPnd:\tff\nSigQ:\t0/1\nSigPnd:\t0000000000000200\nSigBlk:\t1\n",
                      status);
  EXPECT_STREQ(status.name, "SigPnd:\tff");
  EXPECT_EQ(status.pending, usr1);
  EXPECT_EQ(status.blocked, signal_set{1});
}

TEST(ThreadStatusTest, what_is_cut_off_or_no_number_is_left_out) {
  thread_status status;
  parse_thread_status("SigPnd:\t00x0\nSigBlk:\t02", status);
  EXPECT_TRUE(status.pending.empty());
  EXPECT_TRUE(status.blocked.empty());
}

}  // namespace
}  // namespace sigrun::sigsafe
