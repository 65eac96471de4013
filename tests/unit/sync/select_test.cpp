// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a user of select may rely on, case by case. That nothing is lost when many select at
// once is tests/conformance/select_test.cpp. A select is known to wait when the counting hook of
// one of its receive channels says so.
#include "chan_fixture.hpp"
#include "fiber/sanitizer.hpp"

#include <sigrun/select.hpp>

#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

namespace {
std::atomic<long> allocations{0};
}  // namespace

#if !SIGRUN_ASAN && !SIGRUN_TSAN  // which have their own
// Not inlined, or g++ sees a mismatch of new and free() that is none.
[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

class SelectTest : public ChanTest {};

/// A channel whose hook tells when somebody waits in it.
struct watched {
  watched() { state_of(ch).set_hook(&hook); }
  ~watched() { state_of(ch).set_hook(nullptr); }
  watched(const watched&) = delete;
  watched& operator=(const watched&) = delete;
  chan<int> ch{0};
  counting_hook hook;
};

// ------------------------------------------------------------------------------ what is ready now

TEST_F(SelectTest, TheReadyCaseIsDoneAndTheOthersAreUntouched) {
  chan<int> a(1);
  chan<int> b(1);
  chan<std::unique_ptr<int>> full(1);
  full.send(std::make_unique<int>(1));
  b.send(7);
  int from_a = -1;
  int from_b = -1;
  auto mine = std::make_unique<int>(2);
  EXPECT_EQ(select(recv_case(a, from_a), recv_case(b, from_b), send_case(full, std::move(mine))),
            1);
  EXPECT_EQ(from_a, -1);
  EXPECT_EQ(from_b, 7);
  ASSERT_NE(mine, nullptr) << "a value whose case did not win was moved";
  EXPECT_EQ(b.size(), 0U);
}

TEST_F(SelectTest, ASendMovesFromItsValueWhenItWins) {
  chan<std::unique_ptr<int>> ch(1);
  auto mine = std::make_unique<int>(2);
  EXPECT_EQ(select(send_case(ch, std::move(mine))), 0);
  EXPECT_EQ(mine, nullptr);
  EXPECT_EQ(**ch.recv(), 2);
}

TEST_F(SelectTest, ASendOfAnLvalueCopies) {
  chan<std::string> ch(1);
  const std::string text = "as it was";
  EXPECT_EQ(select(send_case(ch, text)), 0);
  EXPECT_EQ(text, "as it was");
  EXPECT_EQ(ch.recv(), "as it was");
}

TEST_F(SelectTest, TheDefaultIsDoneWhenNothingIsReadyAndHasTheIndexOfItsPlace) {
  chan<int> a(1);
  chan<int> b(0);
  int out = -1;
  EXPECT_EQ(select(recv_case(a, out), send_case(b, 1), default_case), 2);
  EXPECT_EQ(select(default_case, recv_case(a, out), send_case(b, 1)), 0);
  EXPECT_EQ(select(recv_case(a, out), default_case, send_case(b, 1)), 1);
  EXPECT_EQ(select(default_case), 0);
  a.send(5);
  EXPECT_EQ(select(default_case, send_case(b, 1), recv_case(a, out)), 2);
  EXPECT_EQ(out, 5);
  a.send(6);
  EXPECT_EQ(select(recv_case(a, out), default_case, send_case(b, 1)), 0);
  EXPECT_EQ(out, 6);
}

TEST_F(SelectTest, AnEmptyHandleIsNeverReady) {
  chan<int> none;
  chan<int> ch(1);
  int out = -1;
  EXPECT_EQ(select(recv_case(none, out), send_case(none, 1), default_case), 2);
  EXPECT_EQ(select_for(0ns, recv_case(none, out)), select_timeout);
  ch.send(3);
  EXPECT_EQ(select(recv_case(none, out), recv_case(ch, out)), 1);
  EXPECT_EQ(select_for(1ms, recv_case(none, out), send_case(none, 1)), select_timeout);
}

TEST_F(SelectTest, WithoutCasesADeadlineEndsTheWait) {
  EXPECT_EQ(select_for(1ms), select_timeout);
  EXPECT_EQ(select_until(steady_clock::now()), select_timeout);
}

TEST_F(SelectTest, WithoutTimeWhatIsReadyIsDoneAllTheSame) {
  chan<int> ch(1);
  int out = -1;
  EXPECT_EQ(select_for(-5s, recv_case(ch, out)), select_timeout);
  EXPECT_EQ(select_until(steady_clock::time_point::min(), send_case(ch, 4)), 0);
  EXPECT_EQ(select_for(0ns, recv_case(ch, out)), 0);
  EXPECT_EQ(out, 4);
}

// -------------------------------------------------------------------------------- closed channels

TEST_F(SelectTest, AClosedChannelIsReadyForReceiversOnceDrained) {
  chan<int> ch(2);
  chan<int> other(0);
  ch.send(1);
  ch.close();
  int out = -1;
  chan_status status = chan_status::timeout;
  EXPECT_EQ(select(recv_case(other, out), recv_case(ch, out, status)), 1);
  EXPECT_EQ(status, chan_status::ok);
  EXPECT_EQ(out, 1);
  EXPECT_EQ(select(recv_case(other, out), recv_case(ch, out, status)), 1);
  EXPECT_EQ(status, chan_status::closed);
  EXPECT_EQ(out, 1) << "there was no value to assign";

  std::optional<int> maybe = 9;
  EXPECT_EQ(select(recv_case(ch, maybe)), 0);
  EXPECT_EQ(maybe, std::nullopt);
  EXPECT_EQ(select(recv_case(ch)), 0);
  auto named = recv_case(ch, out);
  EXPECT_EQ(named.status(), chan_status::timeout);
  EXPECT_EQ(select(named, default_case), 0);
  EXPECT_EQ(named.status(), chan_status::closed);
}

TEST_F(SelectTest, ASendToAClosedChannelThrowsOrSaysSo) {
  chan<std::unique_ptr<int>> ch(1);
  ch.close();
  auto mine = std::make_unique<int>(1);
  EXPECT_THROW(select(send_case(ch, std::move(mine))), std::logic_error);
  ASSERT_NE(mine, nullptr);
  chan_status status = chan_status::ok;
  EXPECT_EQ(select(send_case(ch, std::move(mine), status), default_case), 0);
  EXPECT_EQ(status, chan_status::closed);
  ASSERT_NE(mine, nullptr);
}

TEST_F(SelectTest, CloseWakesABlockedSelectOfEitherKind) {
  watched w;
  watched v;
  chan<int> sending(0);
  std::thread closer([&] {
    w.hook.until_waiting(1);
    w.ch.close();
    v.hook.until_waiting(1);
    sending.close();
  });
  int out = -1;
  chan_status received = chan_status::timeout;
  EXPECT_EQ(select(recv_case(w.ch, out, received), send_case(sending, 1)), 0);
  EXPECT_EQ(received, chan_status::closed);
  EXPECT_FALSE(sending.try_recv(out)) << "the send was left queued";
  chan_status sent = chan_status::timeout;
  EXPECT_EQ(select(recv_case(v.ch, out), send_case(sending, 1, sent)), 1);
  EXPECT_EQ(sent, chan_status::closed);
  closer.join();
}

// -------------------------------------------------------------------------------------- blocking

TEST_F(SelectTest, ABlockedSelectTakesTheFirstValueAndLeavesNothingQueued) {
  watched w;
  chan<int> a(0);
  chan<int> b(0);
  const int fd = b.fd();
  int got = -1;
  std::thread sender([&] {
    w.hook.until_waiting(1);
    EXPECT_TRUE(fd_readable(fd)) << "the select waits as a sender, too";
    EXPECT_TRUE(a.try_send(42));
  });
  EXPECT_EQ(select(recv_case(w.ch, got), recv_case(a, got), send_case(b, 1)), 1);
  sender.join();
  EXPECT_EQ(got, 42);
  EXPECT_FALSE(w.ch.try_send(1));
  EXPECT_FALSE(a.try_send(1));
  EXPECT_FALSE(b.try_recv(got));
  EXPECT_FALSE(fd_readable(fd));
}

TEST_F(SelectTest, ABlockedSendIsTakenByAReceiver) {
  watched w;
  chan<std::unique_ptr<int>> out(0);
  std::optional<std::unique_ptr<int>> taken;
  std::thread receiver([&] {
    w.hook.until_waiting(1);
    taken = out.recv();
  });
  int ignored = 0;
  auto mine = std::make_unique<int>(8);
  EXPECT_EQ(select(recv_case(w.ch, ignored), send_case(out, std::move(mine))), 1);
  receiver.join();
  EXPECT_EQ(mine, nullptr);
  EXPECT_EQ(**taken, 8);
}

TEST_F(SelectTest, ADeadlineEndsTheWaitNotBeforeItsTimeAndTouchesNothing) {
  chan<std::unique_ptr<int>> out(0);
  chan<int> in(0);
  int got = -1;
  auto mine = std::make_unique<int>(1);
  const auto start = steady_clock::now();
  EXPECT_EQ(select_for(20ms, recv_case(in, got), send_case(out, std::move(mine))), select_timeout);
  EXPECT_GE(steady_clock::now() - start, 20ms);
  EXPECT_NE(mine, nullptr);
  EXPECT_EQ(got, -1);
  EXPECT_FALSE(in.try_send(1));
}

TEST_F(SelectTest, TheHookOfAChannelIsPolledOnceAndWaitsInPlaceOfParking) {
  watched w;
  chan<int> other(0);
  int out = -1;
  state_of(w.ch).set_polling(true);
  EXPECT_EQ(select(recv_case(w.ch, out), recv_case(w.ch, out), default_case), 2);
  EXPECT_EQ(w.hook.polled, 1);
  EXPECT_EQ(select_for(1ms, recv_case(other, out), recv_case(w.ch, out)), select_timeout);
  EXPECT_EQ(w.hook.polled, 2);
  EXPECT_EQ(w.hook.waiting, 1);
}

// --------------------------------------------------------------------------- the same channel
// twice

TEST_F(SelectTest, OneChannelMayBeInSeveralCases) {
  chan<int> ch(1);
  int first = -1;
  int second = -1;
  ch.send(5);
  const int won = select(recv_case(ch, first), recv_case(ch, second));
  EXPECT_EQ(won == 0 ? first : second, 5);
  EXPECT_EQ(won == 0 ? second : first, -1);
  EXPECT_EQ(select(send_case(ch, 1), recv_case(ch, first)), 0);
  EXPECT_EQ(select(send_case(ch, 2), recv_case(ch, first)), 1);
  EXPECT_EQ(first, 1);
}

TEST_F(SelectTest, ASelectDoesNotMeetItself) {
  chan<int> ch(0);
  int out = -1;
  EXPECT_EQ(select(send_case(ch, 1), recv_case(ch, out), default_case), 2);
  EXPECT_EQ(select_for(5ms, send_case(ch, 1), recv_case(ch, out)), select_timeout);
  EXPECT_EQ(select_for(5ms, recv_case(ch, out), send_case(ch, 1)), select_timeout);
  EXPECT_EQ(out, -1);
}

TEST_F(SelectTest, TwoSelectsThatSendAndReceiveOnOneChannelMeetEachOther) {
  constexpr int rounds = 2000;
  chan<int> ch(0);
  std::array<int, 2> sent{};
  std::array<int, 2> received{};
  const auto meet = [&](std::size_t me) {
    for (int i = 0; i < rounds; ++i) {
      int out = -1;
      if (select(send_case(ch, static_cast<int>(me)), recv_case(ch, out)) == 0) {
        ++sent[me];
      } else {
        ++received[me];
        EXPECT_EQ(out, static_cast<int>(1 - me)) << "it met itself";
      }
    }
  };
  std::thread other(meet, 1);
  meet(0);
  other.join();
  EXPECT_EQ(sent[0], received[1]);
  EXPECT_EQ(sent[1], received[0]);
}

// ---------------------------------------------------------------------------------------- fairness

// Pearson's test. Beyond 16.27 (3 degrees of freedom) or 13.82 (2) a fair die comes once in 1,000.
template <std::size_t N>
double chi_square(const std::array<int, N>& counts, double expected) {
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

TEST_F(SelectTest, AmongReadyCasesEachIsAsLikelyAsTheOthers) {
  constexpr int rounds = 40'000;
  std::array<chan<int>, 4> ch{chan<int>(1), chan<int>(1), chan<int>(1), chan<int>(1)};
  for (std::size_t i = 0; i < 4; ++i) {
    state_of(ch[i]).set_random_seed(2026 + i);
    ch[i].send(0);
  }
  std::array<int, 4> wins{};
  int out = 0;
  for (int i = 0; i < rounds; ++i) {
    const int won = select(recv_case(ch[0], out), recv_case(ch[1], out), recv_case(ch[2], out),
                           recv_case(ch[3], out));
    ++wins[static_cast<std::size_t>(won)];
    ch[static_cast<std::size_t>(won)].send(0);
  }
  EXPECT_LT(chi_square(wins, rounds / 4.0), 16.27);
}

TEST_F(SelectTest, CasesThatAreNotReadyLendTheirChanceToNobody) {
  constexpr int rounds = 30'000;
  std::array<chan<int>, 5> ch{chan<int>(1), chan<int>(1), chan<int>(1), chan<int>(1), chan<int>(1)};
  for (auto& one : ch) state_of(one).set_random_seed(7);
  for (const std::size_t i : {0U, 3U, 4U}) ch[i].send(0);  // 1 and 2 stay empty, before 3
  std::array<int, 5> wins{};
  int out = 0;
  for (int i = 0; i < rounds; ++i) {
    const int won = select(recv_case(ch[0], out), recv_case(ch[1], out), recv_case(ch[2], out),
                           recv_case(ch[3], out), recv_case(ch[4], out));
    ++wins[static_cast<std::size_t>(won)];
    ch[static_cast<std::size_t>(won)].send(0);
  }
  EXPECT_EQ(wins[1] + wins[2], 0);
  EXPECT_LT(chi_square(std::array{wins[0], wins[3], wins[4]}, rounds / 3.0), 13.82);
}

// --------------------------------------------------------------------------------------- the price

TEST_F(SelectTest, NothingIsAllocated) {
  std::array<chan<int>, 8> ch{chan<int>(1), chan<int>(1), chan<int>(1), chan<int>(1),
                              chan<int>(1), chan<int>(1), chan<int>(1), chan<int>(1)};
  int out = 0;
  ch[5].send(1);
  const auto all = [&](auto wait) {
    return select_for(wait, recv_case(ch[0], out), recv_case(ch[1], out), recv_case(ch[2], out),
                      recv_case(ch[3], out), recv_case(ch[4], out), recv_case(ch[5], out),
                      recv_case(ch[6], out), recv_case(ch[7], out));
  };
  const long before = allocations.load();
  const int won = all(0ns);
  const int none = all(1ms);
  const long after = allocations.load();
  EXPECT_EQ(won, 5);
  EXPECT_EQ(none, select_timeout);
  EXPECT_EQ(after, before);
}

// -------------------------------------------------------------------------- a set made at run time

TEST_F(SelectTest, ASelectorServesAnyNumberOfChannels) {
  constexpr int n = 100;
  selector set;
  std::vector<chan<int>> ch;
  int out = -1;
  for (int i = 0; i < n; ++i) {
    ch.emplace_back(1);
    EXPECT_EQ(set.recv(ch.back(), out), i);
  }
  EXPECT_EQ(set.size(), 100U);
  EXPECT_EQ(set.try_select(), select_timeout);
  EXPECT_EQ(set.select_for(1ms), select_timeout);
  for (const int i : {99, 0, 42}) {
    ch[static_cast<std::size_t>(i)].send(i);
    EXPECT_EQ(set.select(), i);
    EXPECT_EQ(out, i);
    EXPECT_EQ(set.status(), chan_status::ok);
  }
  EXPECT_EQ(set.select_until(steady_clock::now()), select_timeout);
  EXPECT_EQ(set.status(), chan_status::timeout);
}

TEST_F(SelectTest, ASelectorMovesFromWhatItSendsAndReportsAClosedChannel) {
  selector set;
  chan<std::string> ch(1);
  std::string text = "first";
  std::optional<std::string> got;
  EXPECT_EQ(set.send(ch, text), 0);
  EXPECT_EQ(set.recv(ch, got), 1);
  EXPECT_EQ(set.select(), 0);
  EXPECT_EQ(text, "");
  EXPECT_EQ(set.select(), 1);
  EXPECT_EQ(got, "first");
  ch.close();
  set.select();
  EXPECT_EQ(set.status(), chan_status::closed);
}

TEST_F(SelectTest, ASelectorLetsGoOfWhatIsRemoved) {
  selector set;
  int out = -1;
  chan<int> a(1);
  chan<int> b(1);
  set.recv(a, out);
  set.recv(b, out);
  a.send(1);
  set.remove(0);
  set.remove(0);
  EXPECT_EQ(set.size(), 1U);
  EXPECT_EQ(set.try_select(), select_timeout);
  EXPECT_THROW(set.remove(2), std::out_of_range);
  EXPECT_THROW(set.remove(-1), std::out_of_range);
  b.send(2);
  EXPECT_EQ(set.select(), 1);
  chan<int> watcher = b;
  b = {};
  EXPECT_FALSE(watcher.closed());
  set.remove(1);
  EXPECT_EQ(set.select_for(0ns), select_timeout);
}

}  // namespace
}  // namespace sigrun::test
