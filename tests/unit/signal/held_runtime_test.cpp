// SPDX-License-Identifier: Apache-2.0
//
// What is held back, or has just been queued, while the program forks, stops, closes a thread or
// ends one: the whole runtime, with a queue so small that each of these meets a full one.
#include "sigsafe/intake.hpp"
#include "sigsafe/original.hpp"
#include "sigsafe/thread_block.hpp"
#include "sys/signal.hpp"
#include "unit/signal/forked_body.hpp"

#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

namespace sigrun::signal {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t capacity = 64;
constexpr std::uint64_t more_than_fits = 200;
constexpr int real_time = signal_rt_min + 1;
constexpr auto held = signal_set::of(real_time);
constexpr auto control = signal_set::of(sigsafe::control_signal);

const notify_options no_limit = [] {
  notify_options options;
  options.full = overflow::unbounded;
  return options;
}();

template <class F>
int with_a_small_queue(F body) {
  return test::in_a_child([&body] {
    configure_signals({.isolate = isolation::shared, .queue_capacity = capacity});
    return body();
  });
}

// To this thread, with the values 1 to `count`: its handler queues them until the queue is full.
void send_here(std::uint64_t count) {
  for (std::uint64_t value = 1; value <= count; ++value) send_thread(gettid(), real_time, value);
}

// The stand-by thread empties the queue meanwhile. Returns how many it took.
std::uint64_t send_here_until_held() {
  std::uint64_t value = 0;
  while (!sys::current_mask().has(real_time)) send_thread(gettid(), real_time, ++value);
  return value;
}

bool all_come(const signal_chan& ch, std::uint64_t count) {
  signal_event event;
  for (std::uint64_t value = 1; value <= count; ++value) {
    if (ch.recv_for(20s, event) != chan_status::ok || event.value_bits != value) {
      ADD_FAILURE() << event.value_bits << " came for " << value << " of " << count;
      return false;
    }
  }
  return true;
}

template <class F>
bool soon(F condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// What a handler has queued before stop() began was taken for all who subscribed then.
TEST(stopping, one_of_several_has_what_came_before) {
  EXPECT_EQ(with_a_small_queue([] {
              signal_chan stays(capacity);
              notify(stays, real_time);
              signal_event event;
              for (std::uint64_t value = 1; value <= 300; ++value) {
                signal_chan goes(4);
                notify(goes, real_time);
                send_thread(gettid(), real_time, value);
                stop(goes);
                REQUIRE(goes.try_recv(event) && event.value_bits == value);
                REQUIRE(stays.recv_for(20s, event) == chan_status::ok);
                REQUIRE(event.value_bits == value);
              }
              return 0;
            }),
            0);
}

std::atomic<int> calls_of_older_handler{0};
std::atomic<bool> may_return{false};

// Called before ours queues the signal, which is so long on its way.
void older_handler(int) {
  ++calls_of_older_handler;
  while (!may_return.load()) {
  }
}

TEST(stopping, waits_for_what_a_thread_has_been_given) {
  EXPECT_EQ(with_a_small_queue([] {
              std::signal(real_time, older_handler);
              const signal_chan goes(4);
              notify_options chained;
              chained.previous = chain::before;
              notify(goes, {real_time}, chained);
              std::atomic<bool> over{false};
              std::thread carrier([&over] {
                send_thread(gettid(), real_time, 7);
                while (!over.load()) {
                }
              });
              while (calls_of_older_handler.load() == 0) {
              }
              std::atomic<bool> stops{false};
              std::thread releaser([&stops] {
                while (!stops.load()) {
                }
                const auto later = std::chrono::steady_clock::now() + 20ms;
                while (std::chrono::steady_clock::now() < later) {
                }
                may_return.store(true);
              });
              stops.store(true);
              stop(goes);
              signal_event event;
              const bool came = goes.try_recv(event) && event.value_bits == 7;
              over.store(true);
              carrier.join();
              releaser.join();
              REQUIRE(came && calls_of_older_handler.load() == 1);
              return 0;
            }),
            0);
}

// fork() gives the mask back that it found, which may have what was held back at that moment.
TEST(forking, with_signals_held_back_leaves_none_blocked) {
  EXPECT_EQ(with_a_small_queue([] {
              signal_chan ch(capacity);
              notify(ch, {real_time}, no_limit);
              for (int round = 0; round < 30; ++round) {
                send_here(more_than_fits);
                const pid_t child = fork();
                if (child == 0) _exit(sys::current_mask().has(real_time) ? 1 : 0);
                int status = -1;
                REQUIRE(waitpid(child, &status, 0) == child && status == 0);
                REQUIRE(all_come(ch, more_than_fits));
                REQUIRE(soon([] { return !sys::current_mask().has(real_time); }));
              }
              return 0;
            }),
            0);
}

TEST(original_mask, has_nothing_held_back_in_it) {
  SKIP_UNDER_TSAN();
  EXPECT_EQ(with_a_small_queue([] {
              signal_chan ch(capacity);
              notify(ch, {real_time}, no_limit);
              for (int round = 0; round < 30; ++round) {
                send_here(more_than_fits);
                {
                  const original_mask as_before;
                  REQUIRE(!sys::current_mask().has(real_time));
                }
                REQUIRE(all_come(ch, more_than_fits));
              }
              return 0;
            }),
            0);
}

// Until control signals come in again, a block for the moment stays whatever becomes of the queue.
TEST(closing, what_is_held_back_stays_closed_when_it_is_lifted) {
  SKIP_UNDER_TSAN();
  EXPECT_EQ(with_a_small_queue([] {
              signal_chan ch(capacity);
              notify(ch, {real_time}, no_limit);
              open_thread();
              sys::block(control);
              send_here_until_held();
              close_thread();
              const sigsafe::thread_block& self = *sigsafe::current_thread();
              REQUIRE(signal_set{self.closed.load()}.has(real_time));
              sys::unblock(control);
              REQUIRE(soon([&self] { return !sigsafe::has_request(self.tid); }));
              REQUIRE(sys::current_mask().has(real_time));
              return 0;
            }),
            0);
}

std::atomic<bool> lifted{false};

// The block is lifted while a handler of the program's runs, whose return brings it back. Returns
// how many signals it took.
std::uint64_t have_it_lifted_in_a_handler() {
  sys::block(control);
  const std::uint64_t sent = send_here_until_held();
  struct sigaction stranger {};
  stranger.sa_handler = [](int) {
    sys::unblock(control);
    lifted.store(soon([] { return !sys::current_mask().has(real_time); }));
  };
  sigaction(SIGWINCH, &stranger, nullptr);
  raise(SIGWINCH);
  sys::unblock(control);
  return sent;
}

TEST(leaving, an_ending_thread_opens_what_a_strangers_handler_has_blocked_again) {
  SKIP_UNDER_TSAN();
  EXPECT_EQ(with_a_small_queue([] {
              signal_chan ch(capacity);
              notify(ch, {real_time}, no_limit);
              bool pended = false;
              std::uint64_t sent = 0;
              std::thread([&pended, &sent] {
                open_thread();
                sent = have_it_lifted_in_a_handler() + 1;
                pended = sys::current_mask().has(real_time);
                send_thread(gettid(), real_time, sent);
              }).join();
              REQUIRE(lifted.load() && pended);
              REQUIRE(all_come(ch, sent));
              return 0;
            }),
            0);
}

// Once it has been open again, a block is the program's.
TEST(original_mask, has_what_the_program_blocks_after_it_was_lifted) {
  SKIP_UNDER_TSAN();
  EXPECT_EQ(with_a_small_queue([] {
              signal_chan ch(capacity);
              notify(ch, {real_time}, no_limit);
              open_thread();
              have_it_lifted_in_a_handler();
              const signal_set mask = sys::current_mask();
              REQUIRE(lifted.load() && mask.has(real_time));
              REQUIRE(!sigsafe::original_thread_mask(mask).has(real_time));
              sys::unblock(held);
              { const original_mask looks_while_it_is_open; }
              sys::block(held);
              REQUIRE(sigsafe::original_thread_mask(sys::current_mask()).has(real_time));
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace sigrun::signal
