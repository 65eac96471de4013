// SPDX-License-Identifier: Apache-2.0
//
// Select behaves as a Go programmer expects, whoever calls, and under stress loses no value and
// invents none: what Go's own select tests look at, in our words.
#include "crowd.hpp"

#include <sigrun/select.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;

class SelectConformance : public Conformance {};
INSTANTIATE_TEST_SUITE_P(By, SelectConformance, every_kind, callers_name);

// One of two equal sends is done at a time: over many, both are.
TEST_P(SelectConformance, EqualCasesAreBothTaken) {
  for (const std::size_t capacity : {0U, 1U, 16U}) {
    constexpr int n = 400;
    chan<int> ch(capacity);
    std::array<int, 2> seen{};
    crowd pair(GetParam());
    pair.start([&] {
      for (int i = 0; i < n; ++i) ++seen[static_cast<std::size_t>(ch.recv().value())];
    });
    pair.start([&] {
      for (int i = 0; i < n; ++i) select(send_case(ch, 0), send_case(ch, 1));
    });
    pair.join();
    EXPECT_EQ(seen[0] + seen[1], n);
    EXPECT_GT(seen[0], n / 10);
    EXPECT_GT(seen[1], n / 10);
  }
}

// A receiver that comes later finds both cases waiting.
TEST_P(SelectConformance, EqualCasesThatWaitAreBothTaken) {
  constexpr int n = 400;
  chan<int> ch(0);
  chan<int> nothing(0);
  std::array<int, 2> seen{};
  crowd pair(GetParam());
  pair.start([&] {
    for (int i = 0; i < n; ++i) {
      int none = 0;
      EXPECT_EQ(nothing.recv_for(50us, none), chan_status::timeout);
      ++seen[static_cast<std::size_t>(ch.recv().value())];
    }
  });
  pair.start([&] {
    for (int i = 0; i < n; ++i) select(send_case(ch, 0), send_case(ch, 1));
  });
  pair.join();
  EXPECT_EQ(seen[0] + seen[1], n);
  EXPECT_GT(seen[0], n / 10);
  EXPECT_GT(seen[1], n / 10);
}

TEST_P(SelectConformance, TwoReadySendersGetAboutTheSameShare) {
  constexpr int rounds = 5000;
  const std::array<chan<int>, 2> ch{chan<int>(1), chan<int>(1)};
  const chan<int> done(0);
  crowd senders(GetParam());
  for (const auto& mine : ch) {
    senders.start([=] {
      while (select(send_case(mine, 1), recv_case(done)) == 0) {
      }
    });
  }
  as_caller([&] {
    std::array<int, 2> got{};
    int out = 0;
    for (int i = 0; i < rounds; ++i) {
      while (ch[0].size() == 0 || ch[1].size() == 0) yield();
      ++got[static_cast<std::size_t>(select(recv_case(ch[0], out), recv_case(ch[1], out)))];
    }
    done.close();
    EXPECT_GT(got[0], rounds * 4 / 10);
    EXPECT_GT(got[1], rounds * 4 / 10);
  });
}

TEST_P(SelectConformance, SelectsOnOneChannelMeetEachOtherAndNeverThemselves) {
  for (const std::size_t capacity : {0U, 10U}) {
    constexpr int rounds = 1000;
    chan<int> ch(capacity);
    std::array<std::atomic<int>, 2> sent{};
    std::array<std::atomic<int>, 2> received{};
    crowd pair(GetParam());
    for (std::size_t me = 0; me < 2; ++me) {
      pair.start([&, me] {
        for (int i = 0; i < rounds; ++i) {
          int out = -1;
          const bool sending_first = i % 2 == 0;
          const int won = sending_first
                              ? select(send_case(ch, static_cast<int>(me)), recv_case(ch, out))
                              : select(recv_case(ch, out), send_case(ch, static_cast<int>(me)));
          if ((won == 0) == sending_first) {
            sent[me].fetch_add(1);
          } else {
            received[me].fetch_add(1);
            if (capacity == 0) {
              EXPECT_EQ(out, static_cast<int>(1 - me)) << "it met itself";
            }
          }
        }
      });
    }
    pair.join();
    const auto left = static_cast<int>(ch.size());
    EXPECT_EQ(sent[0] + sent[1], received[0] + received[1] + left);
  }
}

// At every moment one of the two channels has a value, so the default must never be taken.
TEST_P(SelectConformance, TheDefaultIsTakenOnlyIfAtSomeMomentNothingWasReady) {
  const int rounds = GetParam() == callers::threads ? 3000 : 10'000;
  for (int i = 0; i < rounds; ++i) {
    const chan<int> a(1);
    const chan<int> b(1);
    a.send(1);
    std::atomic<bool> missed{false};
    crowd one(GetParam());
    one.start([&] { missed = select(recv_case(a), recv_case(b), default_case) == 2; });
    b.send(1);
    select(recv_case(a), default_case);
    one.join();
    ASSERT_FALSE(missed) << "round " << i;
  }
}

TEST_P(SelectConformance, AClosedChannelCountsAsReadyForTheDefaultToo) {
  const int rounds = GetParam() == callers::threads ? 2000 : 5000;
  for (int i = 0; i < rounds; ++i) {
    const chan<int> a(1);
    const chan<int> b(0);
    a.send(1);
    std::atomic<bool> missed{false};
    crowd one(GetParam());
    one.start([&] { missed = select(recv_case(a), recv_case(b), default_case) == 2; });
    b.close();
    select(recv_case(a), default_case);
    one.join();
    ASSERT_FALSE(missed) << "round " << i;
  }
}

TEST_P(SelectConformance, TheSameChannelTwiceIsWokenOnce) {
  as_caller([] {
    constexpr int rounds = 1000;
    const chan<int> ch(0);
    const chan<int> other(0);
    crowd sender(GetParam());
    sender.start([=] {
      for (int i = 0; i < rounds; ++i) ch.send(i);
      ch.close();
    });
    for (int i = 0; i < rounds; ++i) {
      int first = -1;
      int second = -1;
      const int won = select(recv_case(ch, first), recv_case(other, first), recv_case(ch, second));
      ASSERT_NE(won, 1);
      ASSERT_EQ(won == 0 ? first : second, i);
      ASSERT_EQ(won == 0 ? second : first, -1);
    }
  });
}

TEST_P(SelectConformance, EmptyHandlesSwitchCasesOff) {
  as_caller([] {
    // The usual merge: a channel that has ended is switched off until both have.
    constexpr int each = 500;
    chan<int> a(2);
    chan<int> b(0);
    crowd senders(GetParam());
    for (const auto& ch : {a, b}) {
      senders.start([ch] {
        for (int i = 1; i <= each; ++i) ch.send(i);
        ch.close();
      });
    }
    long sum = 0;
    while (a || b) {
      std::optional<int> value;
      const int won = select(recv_case(a, value), recv_case(b, value));
      if (value) {
        sum += *value;
      } else {
        (won == 0 ? a : b) = {};
      }
    }
    EXPECT_EQ(sum, long{each} * (each + 1));
    EXPECT_EQ(select_for(1ms, recv_case(a), send_case(b, 1)), select_timeout);
  });
}

TEST_P(SelectConformance, CloseEndsEverySelectThatWaits) {
  constexpr int waiting = 30;
  const chan<int> never(0);
  const chan<int> quit(0);
  const chan<int> started(waiting);
  std::atomic<int> ended{0};
  {
    crowd all(GetParam());
    for (int i = 0; i < waiting; ++i) {
      all.start([&] {
        started.send(1);
        ended.fetch_add(select(recv_case(never), recv_case(quit), recv_case(quit)) != 0);
      });
    }
    for (int i = 0; i < waiting; ++i) started.recv();
    quit.close();
  }
  EXPECT_EQ(ended, waiting);
}

TEST_P(SelectConformance, CloseEndsEverySenderThatSelects) {
  constexpr int waiting = 20;
  const chan<int> full(0);
  const chan<int> never(0);
  const chan<int> started(waiting);
  std::atomic<int> ended{0};
  {
    crowd all(GetParam());
    for (int i = 0; i < waiting; ++i) {
      all.start([&, i] {
        started.send(1);
        chan_status status = chan_status::timeout;
        if (select(recv_case(never), send_case(full, i, status)) == 1 &&
            status == chan_status::closed) {
          ended.fetch_add(1);
        }
      });
    }
    for (int i = 0; i < waiting; ++i) started.recv();
    full.close();
  }
  EXPECT_EQ(ended, waiting);
}

// Tokens go round a ring of selects; none is lost, and no node keeps more than one.
TEST_P(SelectConformance, ARingOfSelectsKeepsItsTokens) {
  constexpr std::size_t nodes = 10;
  constexpr int tokens = 3;
  const int laps = many(100);
  std::vector<chan<int>> link;
  for (std::size_t i = 0; i < nodes; ++i) link.emplace_back(0);
  const chan<int> quit(0);
  const chan<int> finished(tokens);
  crowd ring(GetParam());
  for (std::size_t i = 0; i < nodes; ++i) {
    ring.start([&, i] {
      const chan<int>& from = link[i];
      const chan<int>& to = link[(i + 1) % nodes];
      std::optional<int> token;
      for (;;) {
        if (!token) {
          if (select(recv_case(from, token), recv_case(quit)) == 1) return;
          if (*token == 0) {
            finished.send(0);
            token.reset();
          }
        } else {
          int next = *token - 1;
          if (select(send_case(to, std::move(next)), recv_case(quit)) == 1) return;
          token.reset();
        }
      }
    });
  }
  for (int t = 0; t < tokens; ++t)
    link[static_cast<std::size_t>(t) * 3].send(laps * static_cast<int>(nodes));
  for (int t = 0; t < tokens; ++t) finished.recv();
  quit.close();
}

// Four channels of different capacities. On each one sender and one receiver, and one of each that
// does all four by select. Everything sent is received.
TEST_P(SelectConformance, SelectsAmongSendersAndReceiversLoseNothing) {
  const int n = many(1000);
  const std::array<chan<int>, 4> ch{chan<int>(0), chan<int>(0), chan<int>(2), chan<int>(3)};
  std::array<std::atomic<long>, 4> received{};
  {
    crowd all(GetParam());
    for (std::size_t k = 0; k < 4; ++k) {
      all.start([&, k] {
        for (int i = 0; i < n; ++i) ch[k].send(i);
      });
      all.start([&, k] {
        for (int i = 0; i < n; ++i) received[k].fetch_add(ch[k].recv().value());
      });
    }
    all.start([&] {
      std::array<chan<int>, 4> left = ch;
      std::array<int, 4> next{};
      for (int i = 0; i < 4 * n; ++i) {
        const auto won = static_cast<std::size_t>(
            select(send_case(left[3], next[3]), send_case(left[2], next[2]),
                   send_case(left[0], next[0]), send_case(left[1], next[1])));
        const std::size_t k = std::array<std::size_t, 4>{3, 2, 0, 1}[won];
        if (++next[k] == n) left[k] = {};
      }
    });
    all.start([&] {
      std::array<chan<int>, 4> left = ch;
      std::array<int, 4> count{};
      int out = 0;
      for (int i = 0; i < 4 * n; ++i) {
        const auto k =
            static_cast<std::size_t>(select(recv_case(left[0], out), recv_case(left[1], out),
                                            recv_case(left[2], out), recv_case(left[3], out)));
        received[k].fetch_add(out);
        if (++count[k] == n) left[k] = {};
      }
    });
  }
  for (const auto& sum : received) EXPECT_EQ(sum, static_cast<long>(n) * (n - 1));
}

// Senders and receivers give up after random times, poll, and wait, on random channels. A value is
// received exactly when its sender was told so.
TEST_P(SelectConformance, ATimeOutNeverLosesOrDoublesAValue) {
  constexpr int callers_each = 4;
  const int attempts = many(1500);
  const std::array<chan<int>, 3> ch{chan<int>(0), chan<int>(1), chan<int>(4)};
  std::vector<std::vector<int>> sent(callers_each);
  std::vector<std::vector<int>> received(callers_each + 1);
  std::atomic<int> sending{callers_each};
  {
    crowd all(GetParam());
    for (int me = 0; me < callers_each; ++me) {
      all.start([&, me, numbers = random(static_cast<std::uint64_t>(me))]() mutable {
        auto& mine = sent[static_cast<std::size_t>(me)];
        for (int i = 0; i < attempts; ++i) {
          const int value = me * attempts + i;
          const auto& a = ch[numbers() % 3];
          const auto& b = ch[numbers() % 3];
          const std::chrono::microseconds patience(numbers() % 4 == 0 ? numbers() % 60 : 0);
          if (select_for(patience, send_case(a, value), send_case(b, value)) != select_timeout) {
            mine.push_back(value);
          }
        }
        sending.fetch_sub(1);
      });
      all.start([&, me, numbers = random(static_cast<std::uint64_t>(100 + me))]() mutable {
        auto& mine = received[static_cast<std::size_t>(me)];
        while (sending.load() != 0) {
          const auto& a = ch[numbers() % 3];
          const auto& b = ch[numbers() % 3];
          const std::chrono::microseconds patience(numbers() % 50);
          int out = -1;
          if (select_for(patience, recv_case(a, out), recv_case(b, out)) != select_timeout) {
            mine.push_back(out);
          } else {
            yield();
          }
        }
      });
    }
  }
  for (const auto& one : ch) {
    for (int out = -1; one.try_recv(out);) received.back().push_back(out);
  }
  std::vector<int> in;
  std::vector<int> out;
  for (const auto& mine : sent) in.insert(in.end(), mine.begin(), mine.end());
  for (const auto& mine : received) out.insert(out.end(), mine.begin(), mine.end());
  std::ranges::sort(in);
  std::ranges::sort(out);
  EXPECT_EQ(in, out);
  EXPECT_FALSE(in.empty());
}

// The same with sets made at run time that share most of their channels.
TEST_P(SelectConformance, SelectorsWithManySharedChannelsLoseNothing) {
  constexpr int count = 40;
  constexpr int servers = 4;
  constexpr int each = 100;
  std::vector<chan<int>> ch;
  for (int i = 0; i < count; ++i) ch.emplace_back(static_cast<std::size_t>(i % 3));
  const chan<int> quit(0);
  std::array<std::atomic<long>, servers> sums{};
  crowd serving(GetParam());
  for (std::size_t s = 0; s < servers; ++s) {
    serving.start([&, s, numbers = random(s)]() mutable {
      selector set;
      int out = 0;
      std::vector<chan<int>> mine = ch;
      std::shuffle(mine.begin(), mine.end(), numbers);
      for (const auto& one : mine) set.recv(one, out);
      const int quits = set.recv(quit, out);
      while (set.select() != quits) sums[s].fetch_add(out);
    });
  }
  {
    crowd senders(GetParam());
    for (int i = 0; i < count; i += 4) {
      senders.start([&, i] {
        for (int k = 0; k < each; ++k) ch[static_cast<std::size_t>(i + k % 4)].send(k);
      });
    }
  }
  // Values still in buffers are the servers' or ours.
  long sum = 0;
  for (const auto& one : ch) {
    for (int out = 0; one.try_recv(out);) sum += out;
  }
  quit.close();
  serving.join();
  for (const auto& one : sums) sum += one;
  EXPECT_EQ(sum, long{count} / 4 * each * (each - 1) / 2);
}

}  // namespace
}  // namespace sigrun::test
