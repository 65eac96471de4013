// SPDX-License-Identifier: Apache-2.0
//
// Ended Gs, kept with their stacks for the next spawn.
//
// Each P has two magazines, one that it fills and empties, and a full one in reserve. What is more
// goes to the depot, which all Ps share, and comes back from there, a magazine at a time. (After
// Bonwick and Adams, "Magazines and Vmem", USENIX 2001.)
//
//   (1) A P's magazines are touched by its holder, in a section; or under the scheduler's lock
//   while
//       the P is idle. The depot has a lock of its own.
//   (2) A P keeps 2 * magazine::room at most, the depot depot_room times as many as one holds.
//   Those
//       beyond give their memory back at once.
//   (3) An idle process gives back what ended Gs hold beyond the page that the G is on: sysmon
//   trims
//       the depot, to which it has moved what idle Ps had.
#pragma once

#include "sched/g.hpp"

namespace sigrun::sched {

/// A chain of Gs through `next`, last in first out: the one that ended last is the warmest.
struct magazine {
  static constexpr int room = 128;

  g* first = nullptr;
  int size = 0;

  void push(g* gp) noexcept {
    gp->next = first;
    first = gp;
    ++size;
  }
  g* pop() noexcept {
    g* const gp = first;
    if (gp == nullptr) return nullptr;
    first = gp->next;
    --size;
    return gp;
  }
};

struct free_gs {
  magazine filling;
  magazine full;

  bool empty() const noexcept { return filling.first == nullptr && full.first == nullptr; }
  /// nullptr: there are none here.
  g* take() noexcept {
    if (filling.first == nullptr) {
      filling = full;
      full = {};
    }
    return filling.pop();
  }
  /// Returns what has to go to the depot, mostly nothing.
  magazine keep(g* gp) noexcept {
    magazine surplus;
    if (filling.size == magazine::room) {
      surplus = full;
      full = filling;
      filling = {};
    }
    filling.push(gp);
    return surplus;
  }
};

inline constexpr int depot_room = 8;

/// An empty one when the depot has none.
magazine take_from_depot() noexcept;
/// One; nullptr when the depot has none. For callers without a P.
g* take_one_from_depot() noexcept;
/// What does not fit is given back to the system.
void give_to_depot(magazine gs) noexcept;
void give_one_to_depot(g* gp) noexcept;
/// (3). Any thread, without locks.
void trim_depot() noexcept;

/// Gives back a G's memory. (spawn.cpp)
void unmake_g(g* gp) noexcept;

}  // namespace sigrun::sched
