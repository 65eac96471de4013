// SPDX-License-Identifier: Apache-2.0
//
// The poller over real descriptors. No test sleeps for an order: what the kernel has to say is
// there before wait() is called, or the thread in wait() is what is waited for.
#include "poll/poller.hpp"

#include "support/leak_guard.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

namespace sigrun::poll {
namespace {

using std::chrono::steady_clock;

/// Waiters are addresses; these have the alignment that one must have.
struct alignas(8) somebody {};

/// TSan has a thread of its own from the first one on, which must not count as a test's.
test::leak_allowance after_a_thread() {
  std::thread([] {}).join();
  return {};
}

class poller_test : public test::leak_guard_test {
 protected:
  poller_test() : leak_guard_test(after_a_thread()) {}
  void SetUp() override {
    alarm(50);
    ASSERT_EQ(poller_.open(), 0);
  }
  void TearDown() override {
    for (const int fd : opened_) ::close(fd);
    alarm(0);
  }

  int keep(int fd) {
    opened_.push_back(fd);
    return fd;
  }
  std::array<int, 2> pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    keep(fds[0]);
    keep(fds[1]);
    return fds;
  }
  std::array<int, 2> pipe() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::pipe2(fds.data(), O_NONBLOCK | O_CLOEXEC), 0);
    keep(fds[0]);
    keep(fds[1]);
    return fds;
  }
  descriptor& added(int fd) {
    descriptor* const made = poller_.acquire();
    EXPECT_NE(made, nullptr);
    EXPECT_EQ(poller_.add(*made, fd), 0);
    return *made;
  }
  void dropped(descriptor& which) {
    which.close(side::read);
    which.close(side::write);
    EXPECT_EQ(poller_.remove(which), 0);
    poller_.release(which);
  }
  /// One look, and whom it lists.
  std::multiset<void*> look() { return wait(0); }
  std::multiset<void*> wait(std::int64_t timeout_ns) {
    std::array<void*, poller::ready_max> room{};
    ready_list ready(room);
    const int listed = poller_.wait(timeout_ns, ready);
    EXPECT_EQ(listed, static_cast<int>(ready.size()));
    return {ready.begin(), ready.end()};
  }
  static void say(int fd, char what = 'x') { ASSERT_EQ(::write(fd, &what, 1), 1); }

  poller poller_;
  somebody reader_, writer_, other_;

 private:
  std::vector<int> opened_;
};

TEST_F(poller_test, an_edge_that_comes_first_is_kept_for_the_next_arm) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  say(there);
  EXPECT_TRUE(look().empty());
  EXPECT_FALSE(from.quiet(side::read));
  EXPECT_EQ(from.arm(side::read, &reader_), armed::ready);
  EXPECT_TRUE(from.quiet(side::read));
  EXPECT_EQ(from.arm(side::read, &reader_), armed::waiting);
  dropped(from);
}

TEST_F(poller_test, an_edge_lists_its_waiter_once) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  EXPECT_TRUE(look().empty());
  say(there);
  EXPECT_EQ(wait(poller::for_ever), std::multiset<void*>{&reader_});
  say(there);
  EXPECT_TRUE(look().empty()) << "it is nobody's waiter now";
  EXPECT_EQ(from.arm(side::read, &reader_), armed::ready);
  dropped(from);
}

TEST_F(poller_test, the_two_sides_have_a_waiter_each) {
  const auto [here, there] = pair();
  descriptor& which = added(here);
  ASSERT_EQ(which.arm(side::read, &reader_), armed::waiting);
  ASSERT_EQ(which.arm(side::write, &writer_), armed::waiting);
  EXPECT_EQ(look(), std::multiset<void*>{&writer_}) << "a fresh socket can be written";
  say(there);
  EXPECT_EQ(look(), std::multiset<void*>{&reader_});
  dropped(which);
}

TEST_F(poller_test, one_event_may_wake_both_sides) {
  const auto [here, there] = pair();
  descriptor& which = added(here);
  EXPECT_TRUE(look().empty());
  ASSERT_EQ(which.arm(side::write, &writer_), armed::ready);
  ASSERT_EQ(which.arm(side::write, &writer_), armed::waiting);
  ASSERT_EQ(which.arm(side::read, &reader_), armed::waiting);
  ::shutdown(there, SHUT_RDWR);
  EXPECT_EQ(look(), (std::multiset<void*>{&reader_, &writer_}));
  EXPECT_TRUE(which.hung_up());
  dropped(which);
}

TEST_F(poller_test, who_took_himself_back_is_not_listed) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  EXPECT_TRUE(from.disarm(side::read, &reader_));
  say(there);
  EXPECT_TRUE(look().empty());
  EXPECT_EQ(from.arm(side::read, &other_), armed::ready);
  dropped(from);
}

TEST_F(poller_test, who_is_listed_cannot_take_himself_back) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  say(there);
  EXPECT_EQ(look().size(), 1u);
  EXPECT_FALSE(from.disarm(side::read, &reader_));
  dropped(from);
}

TEST_F(poller_test, a_second_waiter_of_a_side_is_refused) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  EXPECT_EQ(from.arm(side::read, &other_), armed::busy);
  EXPECT_FALSE(from.disarm(side::read, &other_));
  EXPECT_TRUE(from.disarm(side::read, &reader_));
  dropped(from);
}

TEST_F(poller_test, close_gives_out_the_waiter_and_lets_nobody_in) {
  const auto [here, there] = pair();
  descriptor& which = added(here);
  ASSERT_EQ(which.arm(side::read, &reader_), armed::waiting);
  EXPECT_EQ(which.close(side::read), &reader_);
  EXPECT_EQ(which.close(side::read), nullptr);
  EXPECT_EQ(which.close(side::write), nullptr);
  EXPECT_EQ(which.arm(side::read, &reader_), armed::closed);
  say(there);
  EXPECT_TRUE(look().empty());
  EXPECT_EQ(which.arm(side::read, &reader_), armed::closed) << "an event does not open it";
  dropped(which);
}

TEST_F(poller_test, kick_takes_the_waiter_and_leaves_no_readiness) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  EXPECT_EQ(from.kick(side::read), nullptr);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  EXPECT_EQ(from.kick(side::read), &reader_);
  EXPECT_EQ(from.arm(side::read, &reader_), armed::waiting);
  dropped(from);
}

TEST_F(poller_test, an_event_for_the_one_before_is_dropped_and_counted) {
  const auto [here, there] = pipe();
  descriptor& first = added(here);
  const std::uint32_t generation = first.generation();
  // A copy keeps the kernel's entry although the descriptor itself is closed, so that what is
  // written from now on is an event of a descriptor that was removed.
  const int copy = keep(::dup(here));
  ::close(here);
  first.close(side::read);
  first.close(side::write);
  EXPECT_EQ(poller_.remove(first), -EBADF);
  poller_.release(first);

  descriptor& second = added(copy);
  ASSERT_EQ(&second, &first) << "the pool gives back what came last";
  EXPECT_NE(second.generation(), generation);
  ASSERT_EQ(second.arm(side::read, &reader_), armed::waiting);
  say(there);
  EXPECT_EQ(look(), std::multiset<void*>{&reader_});
  EXPECT_EQ(poller_.counters().late, 1u);
  EXPECT_EQ(poller_.counters().events, 2u);
  dropped(second);
  ::dup2(copy, here);  // for the tear-down, which closes both
}

TEST_F(poller_test, a_hang_up_is_remembered) {
  const auto [here, there] = pair();
  descriptor& which = added(here);
  EXPECT_FALSE(which.hung_up());
  say(there);
  ::shutdown(there, SHUT_WR);
  look();
  EXPECT_TRUE(which.hung_up());
  EXPECT_EQ(which.arm(side::read, &reader_), armed::ready);
  EXPECT_TRUE(which.hung_up());
  dropped(which);
  descriptor& again = added(there);
  EXPECT_FALSE(again.hung_up()) << "not the next one's";
  dropped(again);
}

TEST_F(poller_test, urgent_data_is_remembered) {
  const int listener = keep(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size), 0);
  const int there = keep(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(there, reinterpret_cast<sockaddr*>(&at), size), 0);
  const int here = keep(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  descriptor& which = added(here);
  ASSERT_EQ(which.arm(side::read, &reader_), armed::waiting);
  EXPECT_FALSE(which.urgent());
  ASSERT_EQ(::send(there, "!", 1, MSG_OOB), 1);
  EXPECT_EQ(wait(poller::for_ever).count(&reader_), 1u);
  EXPECT_TRUE(which.urgent());
  dropped(which);
}

TEST_F(poller_test, no_more_are_listed_than_there_is_room_for) {
  std::vector<descriptor*> all;
  std::vector<somebody> waiters(5);
  std::set<void*> expected;
  for (somebody& waiter : waiters) {
    const auto [here, there] = pipe();
    all.push_back(&added(here));
    ASSERT_EQ(all.back()->arm(side::read, &waiter), armed::waiting);
    expected.insert(&waiter);
    say(there);
  }
  std::set<void*> seen;
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    std::array<void*, 2> room{};
    ready_list ready(room);
    EXPECT_EQ(poller_.wait(0, ready), 1);
    seen.insert(ready.begin(), ready.end());
  }
  EXPECT_EQ(seen, expected);
  for (descriptor* const which : all) dropped(*which);
}

TEST_F(poller_test, a_list_is_appended_to) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  say(there);
  std::array<void*, 4> room{};
  ready_list ready(room);
  EXPECT_EQ(poller_.wait(0, ready), 1);
  ASSERT_EQ(from.arm(side::read, &other_), armed::waiting);
  say(there);
  EXPECT_EQ(poller_.wait(0, ready), 1);
  EXPECT_EQ(ready[0], &reader_);
  EXPECT_EQ(ready[1], &other_);
  ready.clear();
  EXPECT_TRUE(ready.empty());
  dropped(from);
}

TEST_F(poller_test, what_cannot_be_polled_is_refused) {
  const int file = keep(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  descriptor* const which = poller_.acquire();
  EXPECT_EQ(poller_.add(*which, file), -EPERM);
  EXPECT_EQ(which->arm(side::read, &reader_), armed::closed);
  EXPECT_EQ(poller_.add(*which, -1), -EBADF);
  poller_.release(*which);

  const auto [here, there] = pipe();
  descriptor& first = added(here);
  descriptor* const second = poller_.acquire();
  EXPECT_EQ(poller_.add(*second, here), -EEXIST);
  poller_.release(*second);
  EXPECT_EQ(poller_.counters().descriptors, 1u);
  dropped(first);
  EXPECT_EQ(poller_.counters().descriptors, 0u);
}

// -------------------------------------------------------------------------- waiting and the break

TEST_F(poller_test, a_time_out_is_not_early) {
  const auto begin = steady_clock::now();
  EXPECT_TRUE(wait(1'500'000).empty());
  EXPECT_GE(steady_clock::now() - begin, std::chrono::nanoseconds(1'500'000));
}

TEST_F(poller_test, wake_ends_the_wait_of_another_thread) {
  std::thread waiter([this] { EXPECT_TRUE(wait(poller::for_ever).empty()); });
  poller_.wake();
  waiter.join();
  EXPECT_EQ(poller_.counters().breaks, 1u);
}

TEST_F(poller_test, wakes_before_a_wait_end_that_one_and_only_that) {
  for (int i = 0; i < 1000; ++i) poller_.wake();
  EXPECT_TRUE(wait(poller::for_ever).empty());
  EXPECT_TRUE(wait(1'000'000).empty());
  const poll_counters counted = poller_.counters();
  EXPECT_EQ(counted.wakes, 1000u);
  EXPECT_EQ(counted.breaks, 1u);
}

TEST_F(poller_test, a_look_leaves_the_break_for_the_wait_it_is_meant_for) {
  poller_.wake();
  EXPECT_TRUE(look().empty());
  EXPECT_TRUE(look().empty());
  EXPECT_EQ(poller_.counters().breaks, 0u);
  EXPECT_TRUE(wait(poller::for_ever).empty());
  EXPECT_EQ(poller_.counters().breaks, 1u);
}

TEST_F(poller_test, an_edge_that_comes_with_the_break_is_listed) {
  const auto [here, there] = pipe();
  descriptor& from = added(here);
  ASSERT_EQ(from.arm(side::read, &reader_), armed::waiting);
  say(there);
  poller_.wake();
  EXPECT_EQ(wait(poller::for_ever), std::multiset<void*>{&reader_});
  dropped(from);
}

TEST_F(poller_test, every_wake_is_seen_by_a_wait_that_begins_or_ends_after_it) {
  constexpr int rounds = 20'000;
  std::atomic<int> told{0};
  std::thread waiter([&] {
    for (int seen = 0; seen < rounds;) {
      const int now = told.load();
      if (now == seen) wait(poller::for_ever);
      seen = now;
    }
  });
  for (int i = 0; i < rounds; ++i) {
    told.fetch_add(1);
    poller_.wake();
  }
  waiter.join();
}

TEST_F(poller_test, a_handler_that_runs_ends_the_wait) {
  struct sigaction before {};
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  std::atomic<bool> back{false};
  std::thread waiter([&] {
    EXPECT_TRUE(wait(poller::for_ever).empty());
    back.store(true);
  });
  while (!back.load()) {
    pthread_kill(waiter.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  waiter.join();
  ASSERT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
}

TEST_F(poller_test, a_poller_that_is_not_open_says_so) {
  poller closed;
  std::array<void*, 2> room{};
  ready_list ready(room);
  EXPECT_FALSE(closed.is_open());
  EXPECT_EQ(closed.wait(0, ready), -EBADF);
}

// ------------------------------------------------------------------------------------- the pool

TEST_F(poller_test, the_pool_gives_out_each_descriptor_once) {
  std::set<descriptor*> seen;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(seen.insert(poller_.acquire()).second);
  EXPECT_EQ(seen.count(nullptr), 0u);
  for (descriptor* const one : seen) poller_.release(*one);
  std::set<descriptor*> again;
  for (int i = 0; i < 1000; ++i) again.insert(poller_.acquire());
  EXPECT_EQ(again, seen) << "it grew although there were some to give";
}

TEST_F(poller_test, threads_that_take_and_give_never_share_one) {
  constexpr int threads = 4;
  constexpr int rounds = 20'000;
  std::array<std::atomic<descriptor*>, threads> owned{};
  std::vector<std::thread> all;
  for (std::size_t me = 0; me < threads; ++me) {
    all.emplace_back([&, me] {
      for (int i = 0; i < rounds; ++i) {
        descriptor* const mine = poller_.acquire();
        owned[me].store(mine);
        for (std::size_t k = 0; k < threads; ++k) {
          if (k != me) {
            EXPECT_NE(owned[k].load(), mine);
          }
        }
        owned[me].store(nullptr);
        poller_.release(*mine);
      }
    });
  }
  for (std::thread& one : all) one.join();
}

}  // namespace
}  // namespace sigrun::poll
