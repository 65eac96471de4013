// SPDX-License-Identifier: Apache-2.0
//
// Back-pressure, and whose a blocked signal is: a queue of the test's own that nobody empties until
// the test does, so that a handler finds it full at every step (contract A5, A8).
#include "signal/duty.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/original.hpp"
#include "sys/signal.hpp"
#include "unit/signal/forked_body.hpp"

#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

namespace sigrun::signal {
namespace {

using namespace std::chrono_literals;
using sigsafe::the_intake;
using test::in_a_child;

constexpr std::uint32_t capacity = 64;
constexpr int real_time = signal_rt_min + 1;
constexpr int other = signal_rt_min + 2;
constexpr int standard = SIGUSR1;

struct recorder final : dispatcher {
  void dispatch(signal_event& event) noexcept override {
    signos.push_back(event.signo);
    values.push_back(event.value_bits);
  }
  void before_waiting(sigsafe::thread_block&) noexcept override {}
  void before_running(sigsafe::thread_block&) noexcept override {}
  std::vector<int> signos;
  std::vector<std::uint64_t> values;
};

// A process whose intake is filled by our handler, on threads of its choice.
struct held_process {
  held_process() {
    static std::vector<sigsafe::queue_slot> slots(capacity);
    sigsafe::intake& in = the_intake();
    in.pid = getpid();
    in.queue.init(slots.data(), capacity);
    in.consumer.store(sigsafe::consumer_word(sigsafe::awake, 0));
    const auto mine = signal_set::of(real_time, other, standard, sigsafe::control_signal);
    in.wanted.store((mine - signal_set::of(sigsafe::control_signal)).bits());
    in.installed.store(mine.bits());
    const sys::kernel_sigaction ours = sigsafe::our_action();
    mine.for_each([&](int signo) { sys::rt_sigaction(signo, &ours, &in.original[signo]); });
    self.tid = gettid();
    sigsafe::set_current_thread(&self);
  }
  ~held_process() { sigsafe::set_current_thread(nullptr); }

  // Up to `used` slots, with values from 1000 on.
  static void fill(unsigned used) {
    signal_event event;
    event.signo = standard;
    for (unsigned i = 0; i < used; ++i) {
      event.value_bits = 1000 + i;
      std::uint32_t now = 0;
      sigsafe::enqueue(event, now);
    }
  }
  void empty_queue() {
    tested.own(self);
    tested.drain(self);
    tested.release(self);
  }
  std::vector<std::uint64_t> after_filling(unsigned used) const {
    return {to.values.begin() + used, to.values.end()};
  }

  sigsafe::thread_block self;
  recorder to;
  duty tested{to};
};

void queue_here(int signo, std::uint64_t value) {
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  sys::rt_tgsigqueueinfo(getpid(), gettid(), signo, &info);
}

TEST(held_back, a_signal_that_finds_the_queue_full_keeps_its_place) {
  EXPECT_EQ(in_a_child([] {
              held_process process;
              held_process::fill(capacity);
              for (std::uint64_t value = 1; value <= 5; ++value) queue_here(real_time, value);
              REQUIRE(sys::pending().has(real_time));  // the first was taken, the others wait
              REQUIRE(the_intake().spilled_count.load() == 1);
              process.empty_queue();  // opens it here, and the handler takes the others
              process.empty_queue();
              const std::vector<std::uint64_t> want{1, 2, 3, 4, 5};
              REQUIRE(process.after_filling(capacity) == want);
              REQUIRE(the_intake().count.dropped.load() == 0);
              REQUIRE(!sys::current_mask().has(real_time));
              return 0;
            }),
            0);
}

TEST(held_back, two_of_one_thread_are_dispatched_in_the_order_taken) {
  EXPECT_EQ(in_a_child([] {
              held_process process;
              held_process::fill(capacity);
              queue_here(other, 1);
              queue_here(real_time, 2);  // held back too: it must not get in first
              REQUIRE(sys::pending().has(real_time));
              process.empty_queue();
              process.empty_queue();
              const std::vector<std::uint64_t> want{1, 2};
              REQUIRE(process.after_filling(capacity) == want);
              return 0;
            }),
            0);
}

// A signal that was sent with tgkill(2) cannot be given back to the process, and one that is given
// back to its thread ends with it.
TEST(held_back, a_signal_outlives_a_thread_that_the_runtime_has_not_met) {
  EXPECT_EQ(in_a_child([] {
              held_process process;
              held_process::fill(capacity);
              std::thread stranger([] { pthread_kill(pthread_self(), real_time); });
              stranger.join();
              process.empty_queue();
              REQUIRE(process.to.signos.size() == capacity + 1);
              REQUIRE(process.to.signos.back() == real_time);
              REQUIRE(the_intake().held_back_count.load() == 0);
              return 0;
            }),
            0);
}

TEST(held_back, what_is_blocked_for_the_moment_is_no_childs) {
  EXPECT_EQ(in_a_child([] {
              held_process process;
              held_process::fill(capacity / 4 * 3);
              queue_here(real_time, 1);
              REQUIRE(sys::current_mask().has(real_time));
              REQUIRE(!sigsafe::original_thread_mask(sys::current_mask()).has(real_time));
              // On a thread that inherits it as well, met or not.
              bool inherited = false;
              std::thread made([&inherited] {
                const signal_set mask = sys::current_mask();
                inherited =
                    mask.has(real_time) && !sigsafe::original_thread_mask(mask).has(real_time);
              });
              made.join();
              REQUIRE(inherited);
              // What the program blocks itself stays.
              sys::block(signal_set::of(SIGUSR2));
              REQUIRE(sigsafe::original_thread_mask(sys::current_mask()).has(SIGUSR2));
              return 0;
            }),
            0);
}

std::atomic<bool> in_stranger{false};

// The queue is emptied by another thread, so that a control signal lifts the block; it comes while
// a handler of the program's runs, which the kernel returns from with the mask of before.
TEST(held_back, a_block_that_a_strangers_handler_brings_back_is_no_childs) {
  SKIP_UNDER_TSAN();
  EXPECT_EQ(in_a_child([] {
              held_process process;
              held_process::fill(capacity / 4 * 3);
              queue_here(real_time, 1);
              struct sigaction stranger {};
              stranger.sa_handler = [](int) {
                in_stranger.store(true);
                while (sys::current_mask().has(real_time)) {
                }
              };
              sigaction(SIGWINCH, &stranger, nullptr);
              std::thread consumer([&process] {
                while (!in_stranger.load()) std::this_thread::yield();
                sigsafe::thread_block there;
                there.tid = gettid();
                process.tested.own(there);
                process.tested.drain(there);
                process.tested.release(there);
              });
              raise(SIGWINCH);
              consumer.join();
              REQUIRE(sys::current_mask().has(real_time));
              REQUIRE(!sigsafe::original_thread_mask(sys::current_mask()).has(real_time));
              return 0;
            }),
            0);
}

TEST(held_back, what_is_closed_meanwhile_stays_closed_when_it_is_lifted) {
  EXPECT_EQ(in_a_child([] {
              held_process process;
              held_process::fill(capacity / 4 * 3);
              queue_here(real_time, 1);
              const auto both = signal_set::of(real_time, other);
              REQUIRE(sigsafe::request_mask(gettid(), {}, both));
              REQUIRE(signal_set{process.self.closed.load()} == both);
              process.empty_queue();
              REQUIRE((sys::current_mask() & both) == both);
              return 0;
            }),
            0);
}

// Carried out twice, the second time would take the slot from whoever has been given it since.
TEST(held_back, a_request_is_carried_out_by_one_only) {
  EXPECT_EQ(in_a_child([] {
              held_process process;
              sys::block(signal_set::of(sigsafe::control_signal));
              REQUIRE(sigsafe::request_mask(gettid(), {}, signal_set::of(other)));
              sigsafe::mask_request& request = the_intake().requests[0];
              REQUIRE(!sigsafe::claim_request(request, gettid() + 1));
              REQUIRE(sigsafe::claim_request(request, gettid()));
              REQUIRE(!sigsafe::claim_request(request, gettid()));
              sigsafe::vacate(request);
              REQUIRE(sigsafe::hold_back_on(gettid(), signal_set::of(real_time), nullptr));
              REQUIRE(!sigsafe::claim_request(request, gettid()));
              REQUIRE(request.phase.load() == sigsafe::mask_request::held_back);
              return 0;
            }),
            0);
}

// ------------------------------------------------------------------------------ the whole runtime

// A closed thread sends itself so many and ends; whether each has come, and in order.
bool all_come_from_an_ending_thread(const signal_chan& ch, std::uint64_t count) {
  std::thread([count] {
    close_thread();
    for (std::uint64_t value = 1; value <= count; ++value) send_thread(gettid(), real_time, value);
  }).join();
  signal_event event;
  for (std::uint64_t value = 1; value <= count; ++value) {
    if (ch.recv_for(20s, event) != chan_status::ok || event.value_bits != value) return false;
  }
  return true;
}

// A thread-directed signal that waits because its thread is closed would end with the thread.
TEST(leaving, an_ending_thread_takes_what_was_sent_to_it_alone) {
  EXPECT_EQ(in_a_child([] {
              signal_chan ch(64);
              notify(ch, real_time);
              REQUIRE(all_come_from_an_ending_thread(ch, 20));
              return 0;
            }),
            0);
}

// More than the queue holds, on a thread that ends: whoever empties it, each comes in order.
TEST(leaving, an_ending_thread_empties_the_queue_as_often_as_it_fills_it) {
  EXPECT_EQ(in_a_child([] {
              configure_signals({.queue_capacity = capacity});
              signal_chan ch(1024);
              notify(ch, real_time);
              REQUIRE(all_come_from_an_ending_thread(ch, 500));
              REQUIRE(stats().dropped == 0);
              return 0;
            }),
            0);
}

// What a stop() opens while the guard lives must not be blocked again at its end, or no stop()
// would ever open it.
TEST(original_mask, ends_with_what_the_thread_was_asked_for_since) {
  EXPECT_EQ(in_a_child([] {
              signal_chan ch(16);
              notify(ch, real_time);
              close_thread();
              const sigsafe::thread_block& self = *sigsafe::current_thread();
              REQUIRE(sys::current_mask().has(real_time));
              {
                const original_mask as_before;
                REQUIRE(!sys::current_mask().has(real_time));
                std::thread([&ch] { stop(ch); }).join();
                while (self.closed.load() != 0) sys::current_mask();
              }
              REQUIRE(!sys::current_mask().has(real_time));
              // And the other way round.
              signal_chan later(16);
              {
                const original_mask as_before;
                std::thread([&later] { notify(later, real_time); }).join();
                std::error_code error;
                close_thread(gettid(), error);
                while (!signal_set{self.closed.load()}.has(real_time)) sys::current_mask();
                REQUIRE(!sys::current_mask().has(real_time));
              }
              REQUIRE(sys::current_mask().has(real_time));
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace sigrun::signal
