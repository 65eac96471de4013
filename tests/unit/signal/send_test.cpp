// SPDX-License-Identifier: Apache-2.0
//
// Sending: to the process, to one thread, and without the kernel; and what cannot be sent.
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>
#include <csignal>

#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace sigrun {
namespace {

using namespace std::chrono_literals;

TEST(send_test, a_signal_for_one_thread_is_taken_on_that_thread) {
  signal_chan ch(8);
  notify(ch, SIGUSR1);
  const char* way = std::getenv("SIGRUN_WAY_IN");
  // By handler a closed thread takes nothing itself; opened, its own handler does.
  if (way != nullptr && std::string_view(way) == "handler") open_thread();
  send_thread(gettid(), SIGUSR1, 4711);
  signal_event event;
  ASSERT_EQ(ch.recv_for(20s, event), chan_status::ok);
  EXPECT_EQ(event.value_bits, 4711U);
  EXPECT_EQ(event.cause, signal_cause::queue);
  EXPECT_EQ(event.pid, getpid());
}

TEST(send_test, an_injected_event_arrives_with_its_value_and_origin) {
  signal_chan ch(8);
  notify(ch, SIGRTMIN + 1);
  ASSERT_TRUE(inject(SIGRTMIN + 1, 99, signal_origin::simulated));
  signal_event event;
  ASSERT_EQ(ch.recv_for(20s, event), chan_status::ok);
  EXPECT_EQ(event.value_bits, 99U);
  EXPECT_EQ(event.origin, signal_origin::simulated);
}

TEST(send_test, injecting_what_nobody_wants_says_so) {
  EXPECT_FALSE(inject(SIGRTMIN + 3));
  EXPECT_FALSE(inject(0));
  EXPECT_FALSE(inject(65));
}

TEST(send_test, errors_are_the_kernels_and_name_signal_and_target) {
  std::error_code error;
  send(getpid(), 65, 0, error);
  EXPECT_EQ(error.value(), EINVAL);
  send_thread(0x7ffffff0, SIGUSR1, 0, error);
  EXPECT_EQ(error.value(), ESRCH);
  try {
    send(0x7ffffff0, SIGUSR1, 0);
    FAIL();
  } catch (const std::system_error& thrown) {
    EXPECT_EQ(thrown.code().value(), ESRCH);
    EXPECT_NE(std::string(thrown.what()).find("SIGUSR1"), std::string::npos);
    EXPECT_NE(std::string(thrown.what()).find("2147483632"), std::string::npos);
  }
}

}  // namespace
}  // namespace sigrun
