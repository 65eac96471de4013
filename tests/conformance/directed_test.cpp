// SPDX-License-Identifier: Apache-2.0
//
// Where a goroutine is when a signal is raised for it, and what happens: a test for each line of
// the table in docs/directed-signals.md; and everything at once. A test never sleeps for order.
#include "raising.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/context.hpp>
#include <sigrun/notify_context.hpp>
#include <sigrun/pipe.hpp>
#include <sigrun/preempt.hpp>
#include <sigrun/select.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using Directed = Raise;

// ---------------------------------------------------------------- the table, a test for each line

TEST_F(Directed, InUserCodeItIsHandledAtTheNextPoint) {
  std::atomic<bool> ready{false};
  std::atomic<int> handled{0};
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
    const goroutine_ref self = this_goroutine();
    ready = true;
    while (self.stats().waiting == 0) std::this_thread::yield();  // no point
    EXPECT_EQ(handled, 0);
    preempt_point();
    EXPECT_EQ(handled, 1);
  });
  until([&] { return ready.load(); });
  target.raise(SIGUSR1);
  target.join();
}

TEST_F(Directed, InMallocItIsLeftAloneSoTheHandlerMayAllocate) {
  std::atomic<bool> stop{false};
  std::uint64_t handled = 0;
  goroutine target = go([&] {
    std::vector<std::unique_ptr<std::string>> kept;
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) {
      kept.push_back(std::make_unique<std::string>(100, 'h'));
      ++handled;
    });
    while (!stop) {
      for (std::size_t i = 0; i < 50; ++i)
        kept.push_back(std::make_unique<std::string>(i * 40, 'x'));
      preempt_point();
      kept.clear();
    }
    preempt_point();
  });
  std::uint64_t accepted = 0;
  for (int i = 0; i < 2'000; ++i) {
    if (target.raise(SIGUSR1)) ++accepted;
    if (i % 16 == 0) yield();
  }
  stop = true;
  target.join();
  EXPECT_EQ(handled, accepted);
}

TEST_F(Directed, InAForeignCallItIsHandledAtTheFirstPointAfterIt) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  std::atomic<int> handled{0};
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
    foreign_call([&] {
      char byte;
      EXPECT_EQ(::read(fds[0], &byte, 1), 1);  // not interrupted
      EXPECT_EQ(handled, 0);
      preempt_point();  // no goroutine in here
      EXPECT_EQ(handled, 0);
    });
    preempt_point();
    EXPECT_EQ(handled, 1);
  });
  until_state(target.id(), "foreign call");
  target.raise(SIGUSR1);
  EXPECT_EQ(::write(fds[1], "x", 1), 1);
  target.join();
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(Directed, InASystemCallItIsNotInterruptedAndHandledAtTheFirstPointAfterIt) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  std::atomic<bool> ready{false};
  std::atomic<int> handled{0};
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
    ready = true;
    char byte;
    EXPECT_EQ(::read(fds[0], &byte, 1), 1);
    EXPECT_EQ(handled, 0);
    yield();
    EXPECT_EQ(handled, 1);
  });
  until([&] { return ready.load(); });
  target.raise(SIGUSR1);
  EXPECT_EQ(::write(fds[1], "x", 1), 1);
  target.join();
  ::close(fds[0]);
  ::close(fds[1]);
}

/// A goroutine that waits is woken, runs its handler, and waits on; then what it waits for comes.
void handled_in_a_wait(const std::string& state, const std::function<void()>& wait,
                       const std::function<void()>& come) {
  std::atomic<int> handled{0};
  std::atomic<bool> over{false};
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
    wait();
    over = true;
  });
  for (int i = 1; i <= 3; ++i) {
    until_state(target.id(), state);
    target.raise(SIGUSR1);
    until([&] { return handled == i; });
  }
  until_state(target.id(), state);
  EXPECT_FALSE(over) << state;
  come();
  target.join();
  EXPECT_TRUE(over) << state;
}

TEST_F(Directed, AsleepItIsWokenAndWaitsOnAfterTheHandler) {
  chan<int> ch(0);
  handled_in_a_wait(
      "chan receive", [&] { EXPECT_EQ(ch.recv(), 5); }, [&] { ch.send(5); });
  handled_in_a_wait(
      "chan send", [&] { ch.send(6); }, [&] { EXPECT_EQ(ch.recv(), 6); });
  handled_in_a_wait(
      "select",
      [&] {
        const chan<int> never(0);
        int got = 0;
        EXPECT_EQ(select(recv_case(ch, got), recv_case(never)), 0);
        EXPECT_EQ(got, 7);
      },
      [&] { ch.send(7); });
  wait_group group(1);
  handled_in_a_wait(
      "sync.WaitGroup.Wait", [&] { group.wait(); }, [&] { group.done(); });
  semaphore permits(0);
  handled_in_a_wait(
      "semacquire", [&] { permits.acquire(); }, [&] { permits.release(); });
  mutex m;
  cond c;
  bool set = false;
  handled_in_a_wait(
      "sync.Cond.Wait",
      [&] {
        std::unique_lock hold(m);
        c.wait(hold, [&] { return set; });
      },
      [&] {
        const std::lock_guard hold(m);
        set = true;
        c.notify_one();
      });
  goroutine other = go([&] { ch.recv(); });
  handled_in_a_wait(
      "join", [&] { other.join(); }, [&] { ch.send(1); });
  auto ends = make_pipe();
  char byte = 0;
  handled_in_a_wait(
      "IO wait", [&] { EXPECT_EQ(ends.first.read(mutable_buffer(&byte, 1)), 1U); },
      [&] { ends.second.write("x"); });
  signal_chan events(4);
  notify(events, SIGUSR2);
  handled_in_a_wait(
      "chan receive", [&] { EXPECT_EQ(events.recv()->signo, SIGUSR2); },
      [] { kill(getpid(), SIGUSR2); });
  sigrun::stop(events);
}

// The end of a context comes through after any number of handlers, whoever brings it.
TEST_F(Directed, WaitingForTheEndOfAContextItHandlesAndWaitsOn) {
  const cancelable a = with_cancel(context::background());
  handled_in_a_wait(
      "chan receive", [&] { EXPECT_FALSE(a.ctx.done().recv()); }, [&] { a.cancel(); });
  EXPECT_EQ(a.ctx.err(), context_errc::canceled);
  const cancelable b = with_cancel(context::background());
  handled_in_a_wait(
      "chan receive", [&] { b.ctx.wait(); }, [&] { b.cancel(); });
  const cancelable c = with_cancel(context::background());
  handled_in_a_wait(
      "select",
      [&] {
        const chan<int> never(0);
        EXPECT_EQ(select(recv_case(never), recv_case(c.ctx.done())), 1);
      },
      [&] { c.cancel(); });
  signal_context by_signal = notify_context(context::background(), {SIGUSR2});
  handled_in_a_wait(
      "chan receive", [&] { by_signal.ctx.wait(); }, [] { kill(getpid(), SIGUSR2); });
  EXPECT_THROW(std::rethrow_exception(by_signal.ctx.cause()), canceled_by_signal);
  by_signal.stop();
}

/// `wait` lasts 30 ms, with a handler in it: on a busy machine it may be over before there can be
/// one, and then it is done again.
void not_shorter(const std::string& state, const std::function<void()>& wait) {
  std::atomic<int> handled{0};
  while (handled == 0) {
    goroutine target = go([&] {
      const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
      const auto begun = std::chrono::steady_clock::now();
      wait();
      EXPECT_GE(std::chrono::steady_clock::now() - begun, 30ms);
    });
    until([&] {
      const auto info = info_of(target.id());
      return target.done() || (info && info->state == state);
    });
    std::error_code has_ended;
    target.raise(SIGUSR1, 0, has_ended);
    target.join();
  }
  EXPECT_EQ(handled, 1);
}

TEST_F(Directed, ASleepWithAHandlerInItIsNotShorter) {
  not_shorter("sleep", [] { sleep_for(30ms); });
}

TEST_F(Directed, ADeadlineOfAContextWithAHandlerBeforeItIsNotSooner) {
  not_shorter("chan receive", [] {
    const cancelable c = with_timeout(context::background(), 30ms);
    c.ctx.wait();
    EXPECT_EQ(c.ctx.err(), context_errc::deadline_exceeded);
  });
  not_shorter("context wait", [] { EXPECT_FALSE(context::background().wait_for(30ms)); });
}

TEST_F(Directed, WaitingForALockItIsHandledAfterTheWait) {
  mutex m;
  std::atomic<int> handled{0};
  m.lock();
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) {
      EXPECT_FALSE(m.try_lock());
      ++handled;
    });
    m.lock();
    EXPECT_EQ(handled, 0);
    preempt_point();
    EXPECT_EQ(handled, 1);
    m.unlock();
  });
  until_state(target.id(), "sync.Mutex.Lock");
  target.raise(SIGUSR1);
  EXPECT_EQ(info_of(target.id())->state, "sync.Mutex.Lock");
  m.unlock();
  target.join();
}

// One processor: while who raises runs, the target does not. On a busy machine who raises may lose
// the processor in between, and then it is done again.
TEST_F(Directed, RunnableItIsHandledWhereItGoesOn) {
  max_procs(1);
  bool shown = false;
  while (!shown) {
    go([&] {
      std::atomic<int> turns{0};
      std::atomic<int> handled{0};
      std::atomic<bool> raised{false};
      goroutine target = go([&] {
        const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
        while (!raised) {
          ++turns;
          yield();  // it is in the queue, and its thread on g0 or with another
        }
        preempt_point();  // the yield was one, unless it was just over
        EXPECT_EQ(handled, 1);
      });
      while (turns == 0) yield();
      const int before = turns;
      target.raise(SIGUSR1);
      raised = true;
      shown = handled == 0 && turns == before;
      target.join();
    }).join();
  }
}

TEST_F(Directed, BeingCreatedItIsHandledOnceThereIsAHandler) {
  max_procs(1);
  bool shown = false;
  while (!shown) {
    go([&] {
      std::atomic<bool> runs{false};
      std::atomic<int> handled{0};
      goroutine target = go([&] {
        runs = true;
        const goroutine_ref self = this_goroutine();
        while (self.stats().raised != 2) yield();
        EXPECT_EQ(self.stats().waiting, 2U);
        const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
        EXPECT_EQ(handled, 0);
        preempt_point();
        EXPECT_EQ(handled, 2);
      });
      target.raise(SIGUSR1);
      target.raise(SIGUSR1);
      shown = !runs;
      target.join();
    }).join();
  }
}

TEST_F(Directed, ExitingItIsDroppedAndCounted) {
  std::atomic<bool> ready{false};
  std::atomic<bool> raised{false};
  std::atomic<int> handled{0};
  goroutine target = go([&] {
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
    ready = true;
    while (!raised) std::this_thread::yield();
  });
  const goroutine_ref ref = target.ref();
  until([&] { return ready.load(); });
  const raise_stats before = raised_stats();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(target.raise(SIGUSR1));
  raised = true;
  target.join();
  EXPECT_EQ(handled, 0);
  EXPECT_EQ(ref.stats().dropped_by_exit, 3U);
  EXPECT_EQ(raised_stats().dropped_by_exit, before.dropped_by_exit + 3);
  EXPECT_THROW(ref.raise(SIGUSR1), std::system_error);
}

TEST_F(Directed, LockedToItsThreadItIsHandledThere) {
  std::atomic<int> handled{0};
  chan<int> stop(0);
  goroutine target = go([&] {
    lock_os_thread();
    const std::thread::id mine = std::this_thread::get_id();
    const raise_handler usr1(SIGUSR1, [&](const signal_event&) {
      EXPECT_EQ(std::this_thread::get_id(), mine);
      ++handled;
    });
    stop.recv();
    unlock_os_thread();
  });
  until_state(target.id(), "chan receive");
  target.raise(SIGUSR1);
  until([&] { return handled == 1; });
  stop.send(1);
  target.join();
}

SIGRUN_PREEMPTIBLE std::uint64_t spin_until(const std::atomic<bool>& stop) {
  std::uint64_t n = 0;
  while (!stop.load(std::memory_order_relaxed)) ++n;
  return n;
}

TEST_F(Directed, InPreemptibleCodeItIsStoppedThereAndHandledAtTheNextPoint) {
  max_procs(1);
  std::atomic<bool> stop{false};
  std::atomic<int> handled{0};
  go([&] {
    goroutine target = go([&] {
      const raise_handler usr1(SIGUSR1, [&](const signal_event&) { ++handled; });
      spin_until(stop);
      EXPECT_EQ(handled, 0);
      preempt_point();
      EXPECT_EQ(handled, 1);
    });
    yield();  // back when it has been stopped, or has lost its processor
    target.raise(SIGUSR1);
    stop = true;
    target.join();
  }).join();
}

// --------------------------------------------------------------------------------- all at once

/// Goroutines that wait, work, defer and end, raised at by goroutines and threads.
class storm {
 public:
  explicit storm(std::uint64_t seed) noexcept : seed_(seed) {}

  void run() {
    std::vector<goroutine> raisers;
    for (std::uint64_t n = 0; n < 3; ++n) raisers.push_back(go([this, n] { raise(n); }));
    std::thread thread([this] { raise(3); });
    std::vector<goroutine> rows;
    for (std::size_t slot = 0; slot < slots; ++slot) {
      rows.push_back(go([this, slot] {
        for (std::uint64_t n = 0; n < 60; ++n) live_and_end(slot, n);
      }));
    }
    for (goroutine& each : rows) each.join();
    over_ = true;
    for (goroutine& each : raisers) each.join();
    thread.join();
  }

  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> handled{0};

 private:
  static constexpr std::size_t slots = 12;

  void raise(std::uint64_t n) {
    std::mt19937_64 random(seed_ * 1000 + n);
    for (std::uint64_t value = 1; !over_; ++value) {
      goroutine_ref to;
      {
        const std::lock_guard hold(lock_);
        to = refs_[random() % slots];
      }
      std::error_code error;
      const int signo = random() % 2 == 0 ? SIGUSR1 : SIGUSR2;
      if (to && to.raise(signo, n << 32 | value, error)) ++accepted;
      yield();
    }
  }

  // An exception that finds no point any more is what it ends with.
  void live_and_end(std::size_t slot, std::uint64_t n) {
    try {
      go([=, this] { live(slot, n); }).join();
    } catch (const stopped&) {
    }
  }

  void live(std::size_t slot, std::uint64_t n) {
    std::mt19937_64 random(seed_ * 7777 + slot * 100 + n);
    const auto alive = std::make_shared<std::atomic<bool>>(true);
    std::uint64_t last[4] = {};  // by raiser
    const raise_handler note(signal_set::of(SIGUSR1, SIGUSR2), [&, alive](const signal_event& e) {
      EXPECT_TRUE(*alive);
      EXPECT_EQ(e.raised()->to, goroutine_id());
      const std::uint64_t value = e.value_bits & 0xffffffffU;
      EXPECT_LT(std::exchange(last[e.value_bits >> 32], value), value);
      ++handled;
      if (random() % 16 == 0) throw stopped();
    });
    {
      const std::lock_guard hold(lock_);
      refs_[slot] = this_goroutine();
    }
    for (int i = 0; i < 30; ++i) {
      try {
        step(random());
      } catch (const stopped&) {
      }
    }
    *alive = false;
  }

  void step(std::uint64_t dice) const {
    int out = 0;
    switch (dice % 5) {
      case 0:
        return yield();
      case 1:
        never_.recv_for(50us, out);
        return;
      case 2:
        return sleep_for(20us);
      case 3: {
        signal_deferral deferral;
        yield();
        return deferral.release();
      }
      default:
        return preempt_point();
    }
  }

  std::uint64_t seed_;
  mutex lock_;
  std::vector<goroutine_ref> refs_{slots};
  std::atomic<bool> over_{false};
  chan<int> never_{0};
};

// Every event is handled, once, in order, or counted; and no handler runs after the end of its
// goroutine.
TEST_F(Directed, TheBooksBalanceInAStorm) {
  const char* const given = std::getenv("SIGRUN_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "SIGRUN_SEED=" << seed << '\n';
  for (const int procs : {1, 2, 8}) {
    max_procs(procs);
    const raise_stats before = raised_stats();
    storm all(seed);
    all.run();
    const raise_stats now = raised_stats();
    EXPECT_EQ(now.waiting, 0U);
    EXPECT_EQ(now.handled - before.handled, all.handled);
    EXPECT_EQ(now.raised - before.raised, all.accepted + (now.dropped - before.dropped));
    EXPECT_EQ(now.raised - before.raised, (now.handled - before.handled) +
                                              (now.dropped - before.dropped) +
                                              (now.dropped_by_exit - before.dropped_by_exit));
    EXPECT_GT(now.handled, before.handled);
  }
}

}  // namespace
}  // namespace sigrun::test
