// SPDX-License-Identifier: Apache-2.0
//
// Goal: the end of a channel: who is woken, what can still be had, what the hook hears.
#include "chan_fixture.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>

#include <string>
#include <system_error>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;

TEST_F(ChanTest, BufferedValuesOutliveTheClose) {
  chan<int> ch(4);
  ch.send(1);
  ch.send(2);
  ch.close();
  EXPECT_TRUE(ch.closed());
  EXPECT_EQ(ch.recv(), 1);
  int out = 0;
  EXPECT_TRUE(ch.try_recv(out));
  EXPECT_EQ(out, 2);
  EXPECT_EQ(ch.recv(), std::nullopt);
  EXPECT_EQ(ch.recv_for(1h, out), chan_status::closed);
  EXPECT_FALSE(ch.try_recv(out));
}

TEST_F(ChanTest, SendingOnAClosedChannelThrows) {
  chan<int> ch(1);
  ch.close();
  EXPECT_THROW(ch.send(1), std::logic_error);
  EXPECT_THROW(ch.try_send(1), std::logic_error);
  EXPECT_EQ(ch.send_for(1, 1h), chan_status::closed);
}

TEST_F(ChanTest, ASecondCloseThrows) {
  chan<int> ch(1);
  ch.close();
  try {
    ch.close();
    FAIL() << "nothing thrown";
  } catch (const std::logic_error& error) {
    EXPECT_STREQ(error.what(), "close of closed channel");
  }
}

TEST_F(ChanTest, CloseWakesEveryReceiver) {
  counting_hook hook;
  chan<int> ch(1);
  state_of(ch).set_hook(&hook);
  std::vector<std::thread> receivers;
  for (int i = 0; i < 5; ++i) receivers.emplace_back([ch] { EXPECT_EQ(ch.recv(), std::nullopt); });
  hook.until_waiting(5);
  ch.close();
  for (auto& thread : receivers) thread.join();
  EXPECT_EQ(hook.closings, 1);
}

TEST_F(ChanTest, CloseWakesEverySenderAndTheirValuesAreNotReceived) {
  chan<int> ch(0);
  const int fd = ch.fd();
  std::vector<std::thread> senders;
  std::atomic<int> refused{0};
  for (int i = 0; i < 3; ++i) {
    senders.emplace_back([&] {
      try {
        ch.send(1);
      } catch (const std::logic_error&) {
        ++refused;
      }
    });
  }
  ASSERT_TRUE(fd_readable(fd, -1));
  ch.close();
  for (auto& thread : senders) thread.join();
  EXPECT_EQ(refused, 3);
  EXPECT_EQ(ch.recv(), std::nullopt);
}

TEST_F(ChanTest, TheLastHandleClosesAndTellsTheHookOnce) {
  counting_hook hook;
  detail::chan_state<int>* state = nullptr;
  {
    chan<int> ch(1);
    state = &state_of(ch);
    state->add_memory();  // as a feeder does that must not keep the channel open
    ASSERT_TRUE(state->set_hook(&hook));
    chan<int> other = ch;
    { chan<int> third = other; }
    EXPECT_EQ(hook.closings, 0);
    EXPECT_FALSE(state->closed());
  }
  EXPECT_EQ(hook.closings, 1);
  EXPECT_FALSE(hook.closed_during) << "closing() comes before the channel counts as closed";
  EXPECT_TRUE(state->closed());
  EXPECT_FALSE(state->set_hook(&hook)) << "a hook set now would never hear of the close";
  state->drop_memory();
}

TEST_F(ChanTest, AnExplicitCloseIsTheOnlyOneTheHookHears) {
  counting_hook hook;
  {
    chan<int> ch(1);
    state_of(ch).set_hook(&hook);
    ch.close();
    EXPECT_THROW(ch.close(), std::logic_error);
  }
  EXPECT_EQ(hook.closings, 1);
}

TEST_F(ChanTest, OneOfManyClosersSucceeds) {
  for (int round = 0; round < 200; ++round) {
    counting_hook hook;
    chan<int> ch(1);
    state_of(ch).set_hook(&hook);
    std::atomic<int> closed{0};
    const auto closer = [&] {
      try {
        ch.close();
        ++closed;
      } catch (const std::logic_error&) {
      }
    };
    std::thread other(closer);
    closer();
    other.join();
    EXPECT_EQ(closed, 1);
    EXPECT_EQ(hook.closings, 1);
    EXPECT_TRUE(ch.closed());
  }
}

TEST_F(ChanTest, AReceiveThatFindsNothingPollsTheHookOnceAndOnlyThen) {
  counting_hook hook;
  chan<int> ch(1);
  state_of(ch).set_hook(&hook);
  int out = 0;
  EXPECT_FALSE(ch.try_recv(out));
  EXPECT_EQ(hook.polled, 0) << "polling is off";
  state_of(ch).set_polling(true);
  EXPECT_FALSE(ch.try_recv(out));
  EXPECT_EQ(hook.polled, 1);
  ch.send(1);
  EXPECT_TRUE(ch.try_recv(out));
  EXPECT_EQ(hook.polled, 1) << "there was a value";
  EXPECT_EQ(ch.recv_for(1ms, out), chan_status::timeout);
  EXPECT_EQ(hook.polled, 2);
  EXPECT_EQ(hook.waiting, 1);
}

// --------------------------------------------------------------------------------- descriptor

TEST_F(ChanTest, TheDescriptorIsReadableWhileAReceiveWouldNotBlock) {
  chan<int> ch(2);
  ch.send(1);
  const int fd = ch.fd();
  EXPECT_EQ(ch.fd(), fd) << "one descriptor per channel";
  EXPECT_TRUE(fd_readable(fd)) << "made when there was a value already";
  EXPECT_TRUE(fd_readable(fd)) << "level-triggered";
  ch.send(2);
  EXPECT_EQ(ch.recv(), 1);
  EXPECT_TRUE(fd_readable(fd));
  EXPECT_EQ(ch.recv(), 2);
  EXPECT_FALSE(fd_readable(fd));
  ch.send(3);
  EXPECT_TRUE(fd_readable(fd));
  ch.close();
  EXPECT_EQ(ch.recv(), 3);
  EXPECT_TRUE(fd_readable(fd)) << "closed and drained";
}

TEST_F(ChanTest, ATimedOutSenderTakesReadinessBack) {
  chan<int> ch(0);
  const int fd = ch.fd();
  EXPECT_EQ(ch.send_for(1, 5ms), chan_status::timeout);
  EXPECT_FALSE(fd_readable(fd));
}

TEST_F(ChanTest, TheDescriptorOfAClosedChannelIsReadable) {
  chan<int> ch(2);
  ch.close();
  EXPECT_TRUE(fd_readable(ch.fd()));
}

TEST_F(ChanTest, TheDescriptorIsClosedWithTheChannel) {
  int fd = -1;
  {
    chan<int> ch(2);
    fd = ch.fd();
  }
  pollfd entry{fd, POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 1);
  EXPECT_NE(entry.revents & POLLNVAL, 0);
}

TEST_F(ChanTest, WithoutDescriptorsTheErrorNamesTheCallAndTheChannelGoesOn) {
  struct no_descriptors {
    no_descriptors() {
      getrlimit(RLIMIT_NOFILE, &before);
      const rlimit none{0, before.rlim_max};
      setrlimit(RLIMIT_NOFILE, &none);
    }
    ~no_descriptors() { setrlimit(RLIMIT_NOFILE, &before); }
    rlimit before{};
  };
  chan<int> ch(1);
  // UBSan needs descriptors to look at the first object of a type, so it looks now.
  ASSERT_FALSE(ch.closed());
  const std::system_error first(0, std::system_category(), "");
  try {
    const no_descriptors guard;
    ch.fd();
    FAIL() << "nothing thrown";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::too_many_files_open);
    EXPECT_NE(std::string(error.what()).find("sigrun::chan::fd: eventfd"), std::string::npos);
  }
  ch.send(1);
  EXPECT_TRUE(fd_readable(ch.fd()));
}

TEST_F(ChanTest, TheDescriptorIsReadableWhenTheHooksIs) {
  counting_hook hook;
  chan<int> ch(2);
  state_of(ch).set_hook(&hook);
  hook.exported_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int fd = ch.fd();
  EXPECT_NE(fd, hook.exported_fd);
  EXPECT_FALSE(fd_readable(fd));
  eventfd_write(hook.exported_fd, 1);
  EXPECT_TRUE(fd_readable(fd));
  int out = 0;
  EXPECT_FALSE(ch.try_recv(out));
  EXPECT_EQ(hook.polled, 1) << "the hook is asked for what its descriptor promised";
  eventfd_t count = 0;
  eventfd_read(hook.exported_fd, &count);
  EXPECT_FALSE(fd_readable(fd));
  ch.send(1);
  EXPECT_TRUE(fd_readable(fd));
  state_of(ch).set_hook(nullptr);
  close(hook.exported_fd);
}

TEST_F(ChanTest, APollLoopReceivesEverything) {
  chan<int> ch(16);
  const int fd = ch.fd();
  std::thread sender([ch] {
    for (int i = 0; i < 5000; ++i) ch.send(i);
    ch.close();
  });
  int next = 0;
  for (;;) {
    ASSERT_TRUE(fd_readable(fd, -1));
    int out = -1;
    if (ch.try_recv(out)) {
      ASSERT_EQ(out, next++);
    } else if (ch.closed()) {
      break;
    }
  }
  // A value sent before the close may have come between the two questions above.
  for (int out; ch.try_recv(out);) ASSERT_EQ(out, next++);
  EXPECT_EQ(next, 5000);
  sender.join();
}

}  // namespace
}  // namespace sigrun::test
