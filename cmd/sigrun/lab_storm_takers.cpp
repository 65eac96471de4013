// SPDX-License-Identifier: Apache-2.0
//
// Actors that receive, and actors that get in the way.
#include "lab_storm_run.hpp"

#include "sys/clock.hpp"
#include "sys/signal.hpp"

#include <sigrun/preempt.hpp>
#include <sigrun/select.hpp>
#include <sigrun/time.hpp>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

notify_options growing() {
  notify_options options;
  options.full = overflow::unbounded;
  return options;
}

timespec up_to_ms(actor& self) { return {0, static_cast<long>(self.roll().below(1'000'000))}; }

}  // namespace

// ---------------------------------------------------------------------------- who comes and goes

namespace {

void flip(actor& self, int signo) {
  storm& in = self.in();
  const signal_chan mine(16);
  signal_event event;
  while (self.more()) {
    notify(mine, {signo}, growing());
    for (std::uint64_t left = self.roll().below(4); left != 0; --left) {
      if (mine.recv_for(std::chrono::microseconds{self.roll().below(500)}, event) ==
          chan_status::ok) {
        in.flips_received.fetch_add(event.count);
      }
    }
    stop(mine);
    while (mine.try_recv(event)) in.flips_received.fetch_add(event.count);
    if (self.roll().below(4) == 0) self.breathe();
  }
}

}  // namespace

void flip_on_a_thread(actor& self) { flip(self, traffic::flipped_thread); }
void flip_on_a_goroutine(actor& self) { flip(self, traffic::flipped_go); }

namespace {

signal_set some_signals(actor& self) {
  signal_set some = signal_set::of(traffic::rt(static_cast<int>(self.roll().below(3))));
  if (self.roll().below(2) == 0) some |= signal_set::of(traffic::rt(0), traffic::injected);
  if (self.roll().below(2) == 0) some |= signal_set::of(traffic::bursts, traffic::paced_urgent);
  return some;
}

// All that one subscription of some signals got, from the first to the last.
visit visit_once(actor& self) {
  visit got;
  got.signals = some_signals(self);
  const signal_chan mine(16);
  notify(mine, got.signals, growing());
  const std::int64_t subscribed_ns = sys::now_ns();
  std::uint64_t last = 0;
  const auto in_order = [&](const signal_event& event) {
    if (event.sequence <= last) self.in().fail("visits: a sequence went back");
    last = event.sequence;
  };
  signal_event event;
  for (std::uint64_t left = self.roll().below(100); left != 0; --left) {
    if (mine.recv_for(300us, event) != chan_status::ok) break;
    in_order(event);
    // While notify() was at work it had some of the signals and not yet the others.
    if (event.at.dispatched <= subscribed_ns) continue;
    if (got.first == 0) got.first = event.sequence;
    got.last = event.sequence;
    ++got.events;
  }
  // Nor does stop() leave all of them in the same moment.
  stop(mine);
  while (mine.try_recv(event)) in_order(event);
  if (mine.recv_for(0us, event) == chan_status::ok) self.in().fail("visits: one after stop()");
  return got;
}

}  // namespace

void visit_now_and_then(actor& self) {
  constexpr std::size_t visits_max = 100'000;
  storm& in = self.in();
  while (self.more()) {
    const visit got = visit_once(self);
    const std::lock_guard hold{in.visits_lock};
    if (got.events != 0 && in.visits.size() < visits_max) in.visits.push_back(got);
  }
}

// Slow on purpose: each policy has much to do.
void read_policies(actor& self) {
  storm& in = self.in();
  while (self.more()) {
    for (policy_book& book : in.policies) {
      signal_event event;
      for (std::uint64_t left = self.roll().below(12); left != 0; --left) {
        if (!book.events.try_recv(event)) break;
        book.read.fetch_add(1);
        book.read_for.fetch_add(event.count);
      }
    }
    sleep_for(std::chrono::microseconds{self.roll().below(2000)});
  }
}

// ---------------------------------------------------------------------------------- who is away

void take_own(const signal_chan& subscribed) noexcept {
  const auto mine = signal_set::of(traffic::aimed);
  signal_event event;
  // By handler, or where it is open anyway, it needs no more than an open mask.
  if (!(sys::pending() & mine).empty()) subscribed.recv_for(1ms, event);
  while (!(sys::pending() & mine).empty()) {
    const signal_set before = sys::current_mask();
    sys::unblock(mine);
    sys::set_mask(before);
  }
}

namespace {

// The calls in which a thread of somebody else's may be when a signal comes.
void block_once(actor& self, int read_end, int write_end) {
  const timespec time = up_to_ms(self);
  switch (self.roll().below(5)) {
    case 0:
      ::ppoll(nullptr, 0, &time, nullptr);
      break;
    case 1:
      ::nanosleep(&time, nullptr);
      break;
    case 2: {
      char byte = 0;
      if (::write(write_end, &byte, 1) == 1) {
        while (::read(read_end, &byte, 1) < 0 && errno == EINTR) {
        }
      }
      break;
    }
    case 3: {
      const original_mask as_before;
      ::ppoll(nullptr, 0, &time, nullptr);
      break;
    }
    default:
      ::sched_yield();
  }
}

std::atomic<int>* free_target(storm& in, int tid) {
  for (auto& target : in.targets) {
    int none = 0;
    if (target.compare_exchange_strong(none, tid)) return &target;
  }
  return nullptr;
}

}  // namespace

void block_in_calls(actor& self) {
  storm& in = self.in();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw std::system_error(errno, std::system_category(), "pipe2");
  const signal_chan mine(1);
  notify(mine, {traffic::quiet});
  std::atomic<int>* const target = free_target(in, sys::gettid());
  signal_event event;
  // As long as somebody may aim here: until all senders have ended.
  while (self.more() || in.calming()) {
    if (self.roll().below(8) == 0) open_thread();
    if (self.roll().below(8) == 0) close_thread();
    if (self.roll().below(8) == 0) mine.recv_for(100us, event);
    block_once(self, ends[0], ends[1]);
  }
  if (target != nullptr) target->store(0);
  take_own(mine);
  ::close(ends[0]);
  ::close(ends[1]);
}

void block_in_foreign_calls(actor& self) {
  const signal_chan mine(64);
  notify(mine, {traffic::rt(1)}, growing());
  signal_event event;
  while (self.more()) {
    const timespec time = up_to_ms(self);
    const bool open = self.roll().below(2) == 0;
    foreign_call([&] {
      if (open) open_thread();
      ::ppoll(nullptr, 0, &time, nullptr);
      if (open) close_thread();
    });
    while (mine.try_recv(event)) {
    }
    if (self.roll().below(4) == 0) select_for(500us, recv_case(mine, event));
  }
}

// ------------------------------------------------------------------------------- who is computing

namespace {

// The same steps twice: marked code that is stopped anywhere, and goes on as if it had not been.
SIGRUN_PREEMPTIBLE double steps_marked(std::uint64_t seed, unsigned count) {
  std::uint64_t a = seed;
  double b = 1;
  for (unsigned i = 0; i < count; ++i) {
    a = a * 6364136223846793005U + 1442695040888963407U;
    b = b * 0.5 + static_cast<double>(a >> 40);
  }
  return b + static_cast<double>(a >> 33);
}

[[gnu::noinline]] double steps(std::uint64_t seed, unsigned count) {
  std::uint64_t a = seed;
  double b = 1;
  for (unsigned i = 0; i < count; ++i) {
    a = a * 6364136223846793005U + 1442695040888963407U;
    b = b * 0.5 + static_cast<double>(a >> 40);
  }
  return b + static_cast<double>(a >> 33);
}

}  // namespace

void compute(actor& self) {
  constexpr unsigned count = 8'000'000;  // some 20 ms
  const double want = steps(self.id(), count);
  while (self.more()) {
    if (steps_marked(self.id(), count) != want) {
      self.in().fail("preempted: a computation went wrong");
    }
    self.breathe();
  }
}

// --------------------------------------------------------------------------- who looks and meddles

void ask_the_doctor(actor& self) {
  while (self.more()) {
    doctor();
    goroutines_text();
    stats();
    sleep_for(std::chrono::milliseconds{1 + self.roll().below(30)});
  }
}

void close_and_open_targets(actor& self) {
  storm& in = self.in();
  while (self.more()) {
    const int tid = in.targets[self.roll().below(in.targets.size())].load();
    std::error_code error;  // that thread may just be ending
    if (tid != 0 && self.roll().below(2) == 0) {
      close_thread(tid, error);
    } else if (tid != 0) {
      open_thread(tid, error);
    }
    sleep_for(std::chrono::microseconds{self.roll().below(2000)});
  }
}

// ----------------------------------------------------------------------------------- thread churn

namespace {

void live_shortly(actor& self) {
  signal_event event;
  switch (self.roll().below(6)) {
    case 0: {  // aims at itself, and takes it
      const signal_chan mine(1);
      notify(mine, {traffic::quiet});
      for (std::uint64_t left = 1 + self.roll().below(5); left != 0; --left) {
        self.aim(sys::gettid());
      }
      take_own(mine);
      break;
    }
    case 1: {  // receives a little; the last handle goes with it
      const signal_chan mine(4);
      notify(mine, {traffic::rt(0)});
      mine.recv_for(std::chrono::microseconds{self.roll().below(1000)}, event);
      break;
    }
    case 2:
      open_thread();
      ::sched_yield();
      close_thread();
      break;
    case 3: {
      const original_mask as_before;
      ::sched_yield();
      break;
    }
    case 4:
      self.queue(traffic::rt(2));
      break;
    default:
      break;  // is gone at once
  }
}

}  // namespace

void churn_threads(actor& self) {
  while (self.more() && self.room()) {
    std::thread one{live_shortly, std::ref(self)};
    std::thread idle{[] {}};
    one.join();
    idle.join();
    if (self.roll().below(4) == 0) self.breathe();
  }
}

}  // namespace sigrun::cmd::lab
