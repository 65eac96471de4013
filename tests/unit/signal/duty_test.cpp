// SPDX-License-Identifier: Apache-2.0
//
// The duty by itself, with a dispatcher and a queue of the test's own: what a storm of signals does
// by chance happens here at every step.
#include "signal/duty.hpp"
#include "unit/signal/forked_body.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <vector>

namespace sigrun::signal {
namespace {

constexpr std::uint32_t capacity = 64;

// As if a sender were always faster: whenever an event is dispatched, the next one is there.
struct endless final : dispatcher {
  void dispatch(signal_event& event) noexcept override {
    ++dispatched;
    sigsafe::sigsend(event, true);
  }
  void before_waiting(sigsafe::thread_block&) noexcept override {}
  void before_running(sigsafe::thread_block&) noexcept override {}
  int dispatched = 0;
};

template <class F>
int with_an_empty_queue(F body) {
  return test::in_a_child([&body] {
    static std::vector<sigsafe::queue_slot> slots(capacity);
    sigsafe::the_intake().queue.init(slots.data(), capacity);
    sigsafe::the_intake().consumer.store(sigsafe::consumer_word(sigsafe::awake, 0));
    return body();
  });
}

TEST(duty_test, a_sender_that_never_pauses_keeps_nobody_from_leaving) {
  EXPECT_EQ(with_an_empty_queue([] {
              endless to;
              duty tested(to);
              sigsafe::thread_block self;
              self.tid = gettid();
              signal_event event;
              event.signo = SIGUSR1;
              sigsafe::sigsend(event, true);
              tested.own(self);
              tested.release(self);
              if (tested.owner_tid() != 0) return 1;
              if (to.dispatched < static_cast<int>(capacity)) return 2;
              // What it left is somebody's news.
              return sigsafe::the_intake().consumer.load() == sigsafe::news ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace sigrun::signal
