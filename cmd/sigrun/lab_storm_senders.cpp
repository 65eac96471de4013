// SPDX-License-Identifier: Apache-2.0
//
// Actors that send.
#include "lab_storm_run.hpp"

#include "sys/clock.hpp"
#include "sys/signal.hpp"

#include <sigrun/time.hpp>

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

int some_queued(actor& self) {
  return self.roll().below(4) == 0 ? traffic::judged
                                   : traffic::rt(static_cast<int>(self.roll().below(3)));
}

}  // namespace

void queue_in_bursts(actor& self) {
  while (self.more()) {
    const int signo = some_queued(self);
    for (std::uint64_t left = 1 + self.roll().below(100); left != 0 && self.room(); --left) {
      self.queue(signo);
    }
    self.breathe();
  }
}

void queue_one_at_a_time(actor& self) {
  while (self.more() && self.room()) {
    self.queue(some_queued(self));
    self.breathe();
  }
}

void inject_some(actor& self) {
  while (self.more() && self.room()) {
    for (std::uint64_t left = 1 + self.roll().below(20); left != 0; --left) self.inject();
    self.breathe();
  }
}

void aim_at_targets(actor& self) {
  std::array<std::atomic<int>, 4>& targets = self.in().targets;
  while (self.more() && self.room()) {
    const int tid = targets[self.roll().below(targets.size())].load();
    if (tid != 0) self.aim(tid);
    self.breathe();
  }
}

// The kernel merges what comes while one pends, which nobody can count; but the last one is never
// without a successor or an event.
void send_standard_bursts(actor& self) {
  storm_page& page = self.in().page();
  while (self.more()) {
    for (std::uint64_t left = 1 + self.roll().below(20); left != 0; --left) {
      page.last_burst_ns.store(sys::now_ns());
      if (sys::kill(::getpid(), traffic::bursts) == 0) {
        page.sent[traffic::bursts].count.fetch_add(1);
      }
    }
    self.breathe();
  }
}

// ----------------------------------------------------------------------------------- one by one

namespace {

// Sends one, waits for it, sends the next: none can merge, so each must come.
void pace(actor& self, int signo) {
  storm& in = self.in();
  signal_chan mine(4);
  notify(mine, {signo});
  signal_event event;
  while (self.more()) {
    sys::kill(::getpid(), signo);
    in.page().sent[signo].count.fetch_add(1);
    if (mine.recv_for(storm_patience, event) != chan_status::ok) {
      in.fail(std::string{name_of(book_id::paced)} + ": a " + std::string{signal_name(signo)} +
              " did not come");
      return;
    }
    in.paced_received.fetch_add(event.count);
    self.breathe();
  }
}

}  // namespace

void pace_user1(actor& self) { pace(self, traffic::paced_go); }
void pace_winch(actor& self) { pace(self, traffic::paced_thread); }
void pace_urgent(actor& self) { pace(self, traffic::paced_urgent); }

// -------------------------------------------------------------------------------------- flipping

namespace {

// How many of them have arrived somewhere.
std::int64_t flips_settled(storm& in) {
  return static_cast<std::int64_t>(in.flips_received.load() + handed_back_to_program());
}

std::int64_t flips_sent(storm& in) {
  const auto& sent = in.page().sent;
  return static_cast<std::int64_t>(sent[traffic::flipped_thread].count.load() +
                                   sent[traffic::flipped_go].count.load());
}

}  // namespace

void send_flipped(actor& self) {
  storm& in = self.in();
  while (self.more()) {
    const int signo = self.roll().below(2) == 0 ? traffic::flipped_thread : traffic::flipped_go;
    for (std::uint64_t left = 1 + self.roll().below(30); left != 0; --left) {
      if (flips_sent(in) - flips_settled(in) > window) break;
      std::error_code error;
      send(::getpid(), signo, 0, error);
      if (!error) in.page().sent[signo].count.fetch_add(1);
    }
    self.breathe();
  }
}

// ---------------------------------------------------------------------------------- from outside

// This process has no runtime: it was forked before there was one.
int stranger(storm_page& page, int to, std::uint64_t seed) {
  dice random(seed);
  std::uint64_t sent = 0;
  while (page.stage.load() <= storm_stage::storming) {
    if (page.stage.load() == storm_stage::starting || page.under_way.load() > window) {
      ::poll(nullptr, 0, 1);
      continue;
    }
    const int signo =
        random.below(3) == 0 ? traffic::judged : traffic::rt(static_cast<int>(random.below(3)));
    for (std::uint64_t left = 1 + random.below(40); left != 0; --left) {
      sigval value;
      value.sival_ptr = reinterpret_cast<void*>(value_of(stranger_id, sent + 1));
      if (::sigqueue(to, signo, value) != 0) {
        if (errno != EAGAIN) return 1;
        page.refused.fetch_add(1);
        break;
      }
      ++sent;
      page.sent[signo].count.fetch_add(1);
      page.sent[signo].sum.fetch_add(mix(value_of(stranger_id, sent)));
      page.under_way.fetch_add(1);
    }
    if (random.below(4) == 0) ::poll(nullptr, 0, 1);
  }
  return 0;
}

}  // namespace sigrun::cmd::lab
