// SPDX-License-Identifier: Apache-2.0
//
// Channels behave as a Go programmer expects, whoever calls: what Go's own channel tests look at,
// in our words. No test relies on time: a caller is known to block when the channel cannot be in
// its state otherwise.
#include "crowd.hpp"

#include <sigrun/chan.hpp>

#include <atomic>
#include <map>
#include <numeric>
#include <set>
#include <stdexcept>

namespace sigrun::test {
namespace {

class ChanConformance : public Conformance {};
INSTANTIATE_TEST_SUITE_P(By, ChanConformance, every_kind, callers_name);

TEST_P(ChanConformance, EveryCapacityKeepsTheOrderOfOneSender) {
  as_caller([] {
    for (std::size_t capacity = 0; capacity <= 10; ++capacity) {
      constexpr int n = 500;
      chan<int> ch(capacity);
      crowd sender(GetParam());
      sender.start([ch] {
        for (int i = 0; i < n; ++i) ch.send(i);
        ch.close();
      });
      int next = 0;
      for (const int value : ch) ASSERT_EQ(value, next++);
      ASSERT_EQ(next, n);
    }
  });
}

TEST_P(ChanConformance, WithoutABufferSendAndReceiveMeet) {
  as_caller([] {
    chan<int> there(0);
    chan<int> back(0);
    crowd echo(GetParam());
    echo.start([=] {
      for (const int value : there) back.send(value + 1);
      back.close();
    });
    for (int i = 0; i < 2000; ++i) {
      there.send(i);
      ASSERT_EQ(back.recv(), i + 1);
    }
    there.close();
    EXPECT_EQ(back.recv(), std::nullopt);
  });
}

TEST_P(ChanConformance, ABufferHoldsItsCapacityAndNoMore) {
  as_caller([] {
    for (int capacity = 1; capacity < 10; ++capacity) {
      chan<int> ch(static_cast<std::size_t>(capacity));
      for (int i = 0; i < capacity; ++i) ASSERT_TRUE(ch.try_send(i));
      ASSERT_FALSE(ch.try_send(99));
      ASSERT_EQ(ch.size(), ch.capacity());
      for (int i = 0; i < capacity; ++i) ASSERT_EQ(ch.recv(), i);
      int out = -1;
      ASSERT_FALSE(ch.try_recv(out));
    }
  });
}

TEST_P(ChanConformance, WhatWasSentBeforeCloseIsReceivedAndThenTheEnd) {
  as_caller([] {
    chan<int> ch(10);
    crowd sender(GetParam());
    sender.start([ch] {
      for (int i = 0; i < 10; ++i) ch.send(i);
      ch.close();
    });
    for (int i = 0; i < 10; ++i) ASSERT_EQ(ch.recv(), i);
    for (int i = 0; i < 5; ++i) ASSERT_EQ(ch.recv(), std::nullopt);
    EXPECT_THROW(ch.send(1), std::logic_error);
    EXPECT_THROW(ch.close(), std::logic_error);
  });
}

TEST_P(ChanConformance, CloseEndsEveryReceiverThatWaits) {
  constexpr int receivers = 30;
  chan<int> ch(0);
  chan<int> started(receivers);
  std::atomic<int> ended{0};
  {
    crowd all(GetParam());
    for (int i = 0; i < receivers; ++i) {
      all.start([&] {
        started.send(1);
        if (!ch.recv()) ended.fetch_add(1);
      });
    }
    for (int i = 0; i < receivers; ++i) started.recv();
    ch.close();
  }
  EXPECT_EQ(ended, receivers);
}

TEST_P(ChanConformance, CloseEndsEverySenderThatWaits) {
  constexpr int senders = 30;
  chan<int> ch(1);
  ch.send(-1);
  chan<int> started(senders);
  std::atomic<int> ended{0};
  {
    crowd all(GetParam());
    for (int i = 0; i < senders; ++i) {
      all.start([&, i] {
        started.send(1);
        try {
          ch.send(i);
        } catch (const std::logic_error&) {
          ended.fetch_add(1);
        }
      });
    }
    for (int i = 0; i < senders; ++i) started.recv();
    ch.close();
  }
  EXPECT_EQ(ended, senders);
  EXPECT_EQ(ch.recv(), -1);
  EXPECT_EQ(ch.recv(), std::nullopt) << "what a blocked sender had was sent after the close";
}

TEST_P(ChanConformance, EveryValueArrivesOnceAndInItsSendersOrder) {
  constexpr int senders = 6;
  constexpr int receivers = 5;
  const int each = many(1500);
  for (const std::size_t capacity : {0U, 1U, 7U}) {
    chan<std::pair<int, int>> ch(capacity);
    std::vector<std::vector<std::pair<int, int>>> got(receivers);
    crowd consumers(GetParam());
    for (std::size_t r = 0; r < receivers; ++r) {
      consumers.start([ch, &mine = got[r]] {
        for (const auto& value : ch) mine.push_back(value);
      });
    }
    {
      crowd producers(GetParam());
      for (int s = 0; s < senders; ++s) {
        producers.start([ch, s, each] {
          for (int i = 0; i < each; ++i) ch.send({s, i});
        });
      }
    }
    ch.close();
    consumers.join();
    std::set<std::pair<int, int>> all;
    for (const auto& mine : got) {
      std::map<int, int> last;
      for (const auto& [sender, i] : mine) {
        const auto [where, first] = last.try_emplace(sender, i);
        ASSERT_TRUE(first || where->second < i) << "a receiver saw one sender's values backwards";
        where->second = i;
        ASSERT_TRUE(all.emplace(sender, i).second) << "received twice";
      }
    }
    ASSERT_EQ(all.size(), static_cast<std::size_t>(senders * each));
  }
}

TEST_P(ChanConformance, AValueIsSeenWithWhatItsSenderWroteBefore) {
  constexpr int n = 2000;
  std::vector<int> written(n);  // not atomic: the channel is the only order
  chan<int> ch(3);
  crowd pair(GetParam());
  pair.start([&] {
    for (int i = 0; i < n; ++i) {
      written[static_cast<std::size_t>(i)] = i + 1;
      ch.send(i);
    }
    ch.close();
  });
  pair.start([&] {
    for (const int i : ch) EXPECT_EQ(written[static_cast<std::size_t>(i)], i + 1);
  });
}

// Workers take jobs from one channel and answer into another.
TEST_P(ChanConformance, APoolOfWorkersDoesEachJobOnce) {
  constexpr int workers = 12;
  constexpr int jobs_count = 2000;
  chan<int> jobs(workers / 2);
  chan<int> answers(workers / 3);
  crowd pool(GetParam());
  for (int w = 0; w < workers; ++w) {
    pool.start([=, numbers = random(static_cast<std::uint64_t>(w))]() mutable {
      for (const int job : jobs) {
        if (numbers() % 4 == 0) yield();  // so that they do not go in step
        answers.send(job);
      }
    });
  }
  pool.start([=] {
    for (int i = 0; i < jobs_count; ++i) jobs.send(i);
    jobs.close();
  });
  long sum = 0;
  for (int i = 0; i < jobs_count; ++i) sum += answers.recv().value();
  EXPECT_EQ(sum, long{jobs_count} * (jobs_count - 1) / 2);
}

// Each prime gets a filter of its own; numbers flow through all of them.
TEST_P(ChanConformance, ASieveOfFiltersFindsThePrimes) {
  const int wanted = GetParam() == callers::threads || GetParam() == callers::mixed ? 25 : 150;
  crowd filters(GetParam());
  chan<int> numbers(0);
  filters.start([numbers] {
    try {
      for (int i = 2;; ++i) numbers.send(i);
    } catch (const std::logic_error&) {  // nobody wants more
    }
  });
  std::vector<int> primes;
  std::vector<chan<int>> chain{numbers};
  for (int i = 0; i < wanted; ++i) {
    const int prime = chain.back().recv().value();
    primes.push_back(prime);
    chan<int> next(0);
    filters.start([from = chain.back(), next, prime] {
      try {
        for (const int n : from) {
          if (n % prime != 0) next.send(n);
        }
      } catch (const std::logic_error&) {
      }
    });
    chain.push_back(next);
  }
  for (const auto& one : chain) one.close();
  EXPECT_EQ(primes[9], 29);
  EXPECT_EQ(primes[24], 97);
  EXPECT_EQ(primes.back(), wanted == 150 ? 863 : 97);
}

TEST_P(ChanConformance, ChannelsTravelThroughChannels) {
  struct request {
    int question;
    chan<int> answer;
  };
  chan<request> service(0);
  crowd server(GetParam());
  server.start([service] {
    for (const request& one : service) one.answer.send(one.question * 2);
  });
  as_caller([&] {
    for (int i = 0; i < 500; ++i) {
      chan<int> answer(static_cast<std::size_t>(i % 2));
      service.send({i, answer});
      ASSERT_EQ(answer.recv(), 2 * i);
    }
    service.close();
  });
}

TEST(ChanOfGoroutines, AnExceptionOfASendCrossesTheJoin) {
  chan<int> ch(0);
  auto sender = go([ch] { ch.send(1); });
  ch.close();
  EXPECT_THROW(sender.join(), std::logic_error);
}

}  // namespace
}  // namespace sigrun::test
