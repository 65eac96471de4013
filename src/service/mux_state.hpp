// SPDX-License-Identifier: Apache-2.0
//
// The router, inside.
//
//   kernel ──▶ channel ──▶ dispatcher ──▶ route.waiting ──▶ a goroutine for each event
//                                                      └──▶ the route's own thread, when pinned
//
// Invariants:
//  (1) A route starts its events in the order of the channel; at most `concurrency` run.
//  (2) What is due starts as soon as it may: whoever makes something due (the dispatcher), or gives
//      a place back (a handler's end), looks for what may start now, under the lock.
//  (3) The channel is exchanged, not thinned out, when signals are given up: the next one is
//      subscribed before the old one is closed. Events in both are told by their sequence: the
//      dispatcher drops those of the new channel up to the last one of the old.
//  (4) Goroutines hold the state; a function is destroyed when its route has another one, and no
//      event runs it.
#pragma once

#include "service/line_log.hpp"

#include <sigrun/go.hpp>
#include <sigrun/mux.hpp>
#include <sigrun/sync.hpp>

#include <deque>
#include <list>
#include <map>
#include <memory>

namespace sigrun::service {

using mux_function = std::function<void(const signal_event&, const context&)>;

struct mux_run {
  std::uint64_t goroutine = 0;
  std::chrono::steady_clock::time_point since;
};

struct mux_route {
  route_info info;  // without what table() fills in
  std::shared_ptr<mux_function> call;
  std::deque<signal_event> waiting;
  std::list<mux_run> running;
  std::chrono::steady_clock::time_point window_began{};
  std::uint32_t in_window = 0;
  bool removed = false;
  bool has_thread = false;
};

struct mux_state : std::enable_shared_from_this<mux_state> {
  explicit mux_state(mux_options from);

  void add(std::string name, signal_set signals, mux_function f, const route_options& options);
  bool remove(std::string_view name);
  void close();

  void dispatch_all();
  void dispatch(const signal_event& event);
  void start_due();                       // with the lock
  std::shared_ptr<mux_route> next_due();  // with the lock
  void start(const std::shared_ptr<mux_route>& route);
  void run_pinned(const std::shared_ptr<mux_route>& route);
  void run(const std::shared_ptr<mux_route>& route, const signal_event& event,
           const std::shared_ptr<mux_function>& call, std::list<mux_run>::iterator place);
  void bury(const signal_event& event, const std::string& route, dead_reason reason,
            std::string failure = {});  // with the lock
  signal_set wanted() const;            // with the lock
  void resubscribe();                   // under changes

  mux_options options;
  line_log log;

  // One change of the subscriptions at a time.
  mutex changes;
  signal_set subscribed;
  bool closed = false;

  mutable mutex lock;
  cond changed;
  std::map<std::string, std::shared_ptr<mux_route>, std::less<>> routes;
  std::uint64_t running = 0;  // of those that count against running_max
  std::size_t busy = 0;       // events that wait or run
  bool drained = false;       // the last channel is empty and closed
  signal_chan channel;
  signal_chan next_channel;
  std::deque<dead_letter> dead;
  std::uint64_t dead_count = 0;
  goroutine dispatcher;
  wait_group goroutines;
};

}  // namespace sigrun::service
