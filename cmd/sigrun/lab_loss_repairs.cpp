// SPDX-License-Identifier: Apache-2.0
//
// The three repairs of each naive program. docs/lab.md walks through them.
#include "lab_loss.hpp"

#include "sys/signal.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>

#include <poll.h>

#include <cerrno>
#include <csignal>
#include <ctime>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

// How long a program waits for what must come, before it reports it lost.
constexpr auto patience = 10s;

// Takes events until all that were sent are accounted for.
template <class Event>
void collect(loss_program& in, const chan<Event>& from) {
  const auto all = static_cast<std::uint64_t>(in.sent_in_all());
  std::uint64_t known = 0;
  Event event;
  while (known < all && from.recv_for(patience, event) == chan_status::ok) {
    std::uint64_t stands_for = 1;
    if constexpr (requires { event.count; }) stands_for = event.count;
    in.knows_of(1, stands_for - 1);
    known += stands_for;
  }
}

// A worker of any kind that is away in a call while the burst comes.
void away(loss_program& in) {
  in.ready();
  foreign_call([&in] { in.foreign_read(); });
}

// The window of `naive_system_call`, and a sleep in the runtime in place of the raw one: what
// came in the window is in the channel, and ends the sleep.
template <class Event>
void sleep_in_the_runtime(loss_program& in, const chan<Event>& from) {
  Event event;
  for (int round = 0; round < in.at().rounds; ++round) {
    if (from.try_recv(event)) continue;
    away(in);
    if (from.recv_for(patience, event) == chan_status::ok) in.knows_of(1);
  }
}

// The critical section of `naive_mask_window`, on a thread that stays the same throughout.
void with_blocked(loss_program& in) {
  foreign_call([&in] {
    const auto set = signal_set::of(in.signo());
    const signal_set before = sys::current_mask();
    sys::block(set);
    in.ready();
    in.foreign_read();
    sys::set_mask(before);
  });
}

}  // namespace

// ------------------------------------------------------------ 1: a locked thread with sigwait

namespace {

// Everybody blocks the signal, since threads inherit the mask; this thread alone waits for it.
chan<int> start_locked_thread(int signo) {
  sys::block(signal_set::of(signo));
  chan<int> taken(64);
  go([taken, signo] {
    lock_os_thread();
    for (;;) {
      siginfo_t info;
      const long got =
          foreign_call([&] { return sys::rt_sigtimedwait(signal_set::of(signo), &info, nullptr); });
      if (got == signo) taken.send(info.si_value.sival_int);
    }
  }).detach();
  return taken;
}

}  // namespace

void locked_foreign_call(loss_program& in) {
  const chan<int> taken = start_locked_thread(in.signo());
  away(in);
  collect(in, taken);
}

void locked_system_call(loss_program& in) {
  sleep_in_the_runtime(in, start_locked_thread(in.signo()));
}

void locked_mask_window(loss_program& in) {
  const chan<int> taken = start_locked_thread(in.signo());
  with_blocked(in);
  collect(in, taken);
}

void locked_slow_reader(loss_program& in) { locked_foreign_call(in); }

// ------------------------------------------------------------ 2: runtime sleep plus channel

namespace {

// Less room than the longest burst, and a policy that counts what does not fit.
signal_chan subscribe(int signo) {
  signal_chan events(32);
  notify_options options;
  options.full = overflow::coalesce;
  notify(events, {signo}, options);
  return events;
}

}  // namespace

void channel_foreign_call(loss_program& in) {
  const signal_chan events = subscribe(in.signo());
  away(in);
  collect(in, events);
}

void channel_system_call(loss_program& in) { sleep_in_the_runtime(in, subscribe(in.signo())); }

void channel_mask_window(loss_program& in) {
  const signal_chan events = subscribe(in.signo());
  with_blocked(in);
  collect(in, events);
}

void channel_slow_reader(loss_program& in) { channel_foreign_call(in); }

// ------------------------------------------------------ 3: unblocking in the foreign call

// Outside the call the thread blocks the signal; inside, a handler that takes a note may run.
void open_foreign_call(loss_program& in) {
  const signal_chan events = subscribe(in.signo());
  foreign_call([&in] {
    in.aim_here();
    open_thread();
    in.ready();
    in.foreign_read();
    close_thread();
  });
  collect(in, events);
}

// ppoll(2) opens the mask and sleeps in one step, so there is no window between the two.
void open_system_call(loss_program& in) {
  const signal_chan events = subscribe(in.signo());
  foreign_call([&in, &events] {
    const auto set = signal_set::of(in.signo());
    const signal_set before = sys::current_mask();
    const signal_set open = before - set;
    sys::block(set);
    in.aim_here();
    signal_event event;
    for (int round = 0; round < in.at().rounds; ++round) {
      if (events.try_recv(event)) continue;
      in.nobody_takes();
      in.ready();
      in.foreign_read();  // the window: the signal comes, and pends
      timespec sleep{10, 0};
      const long woken = sys::call(SYS_ppoll, nullptr, 0, &sleep, &open, sys::sigset_bytes);
      if (woken == -EINTR && events.recv_for(patience, event) == chan_status::ok) in.knows_of(1);
    }
    sys::set_mask(before);
  });
}

// The critical section keeps its mask, but for the one call in it that lasts.
void open_mask_window(loss_program& in) {
  const signal_chan events = subscribe(in.signo());
  foreign_call([&in] {
    const auto set = signal_set::of(in.signo());
    const signal_set before = sys::current_mask();
    sys::block(set);
    in.aim_here();
    sys::unblock(set);
    in.ready();
    in.foreign_read();
    sys::block(set);
    sys::set_mask(before);
  });
  collect(in, events);
}

}  // namespace sigrun::cmd::lab
