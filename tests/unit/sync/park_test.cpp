// SPDX-License-Identifier: Apache-2.0
//
// A poke that comes while its owner goes to sleep: by a timer, by who raises, by who leaves the
// signal duty. src/sched/park.hpp
#include "sched/park.hpp"

#include <sigrun/go.hpp>

#include "base/pause.hpp"
#include "sys/clock.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

namespace sigrun::sched {
namespace {

class ParkTest : public testing::Test {
 protected:
  void SetUp() override { alarm(50); }
  void TearDown() override { alarm(0); }

  // The owner parks again as soon as it has been poked; then, some instructions sooner or later, it
  // is poked again.
  void own() {
    parker mine;
    where_.store(&mine);
    for (std::uint32_t i = 1; i <= rounds; ++i) {
      if (mine.park(sys::never) != park_result::poked) break;
      done_.store(i);
    }
    while (!mine.notified()) mine.park(sys::never);
    over_.store(true);
  }

  void poke_each_round() {
    std::mt19937 random(1);
    parker* owner = nullptr;
    while ((owner = where_.load()) == nullptr) std::this_thread::yield();
    for (std::uint32_t i = 1; i <= rounds; ++i) {
      for (std::uint32_t n = random() % 64; n != 0; --n) base::cpu_pause();
      owner->poke();
      if (!wait_for_round(i)) break;
    }
    EXPECT_EQ(done_, rounds) << "a poke was lost";
    owner->unpark();
    while (!over_) std::this_thread::yield();
  }

 private:
  static constexpr std::uint32_t rounds = 50'000;
  static constexpr std::int64_t patience = 10'000'000'000;

  bool wait_for_round(std::uint32_t round) const {
    const std::int64_t until = sys::now_ns() + patience;
    for (int spins = 0; done_ != round; ++spins) {
      if (spins < 2000) continue;
      if (sys::now_ns() > until) return false;
      std::this_thread::yield();
    }
    return true;
  }

  std::atomic<parker*> where_{nullptr};
  std::atomic<std::uint32_t> done_{0};
  std::atomic<bool> over_{false};
};

TEST_F(ParkTest, a_poke_on_the_way_to_sleep_reaches_a_thread) {
  std::thread owner([this] { own(); });
  poke_each_round();
  owner.join();
}

TEST_F(ParkTest, a_poke_on_the_way_to_sleep_reaches_a_goroutine) {
  max_procs(2);
  goroutine owner = go([this] { own(); });
  poke_each_round();
  owner.join();
}

}  // namespace
}  // namespace sigrun::sched
