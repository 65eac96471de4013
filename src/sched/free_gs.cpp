// SPDX-License-Identifier: Apache-2.0
#include "sched/free_gs.hpp"

#include "sys/lock.hpp"

#include <mutex>
#include <utility>

namespace sigrun::sched {
namespace {

struct depot {
  sys::short_lock lock;
  magazine shelf[depot_room];
  int used = 0;
  magazine loose;  // what came one by one
};
constinit depot the_depot;

// Under the lock.
bool shelve(const magazine& gs) noexcept {
  if (the_depot.used == depot_room) return false;
  the_depot.shelf[the_depot.used++] = gs;
  return true;
}

}  // namespace

magazine take_from_depot() noexcept {
  const std::lock_guard hold(the_depot.lock);
  if (the_depot.used == 0) return std::exchange(the_depot.loose, {});
  return the_depot.shelf[--the_depot.used];
}

g* take_one_from_depot() noexcept {
  const std::lock_guard hold(the_depot.lock);
  if (the_depot.loose.first == nullptr && the_depot.used != 0) {
    the_depot.loose = the_depot.shelf[--the_depot.used];
  }
  return the_depot.loose.pop();
}

void give_to_depot(magazine gs) noexcept {
  if (gs.first == nullptr) return;
  {
    const std::lock_guard hold(the_depot.lock);
    if (shelve(gs)) return;
  }
  while (g* gp = gs.pop()) unmake_g(gp);
}

void give_one_to_depot(g* gp) noexcept {
  {
    const std::lock_guard hold(the_depot.lock);
    const bool full = the_depot.loose.size == magazine::room;
    if (!full || shelve(the_depot.loose)) {
      if (full) the_depot.loose = {};
      the_depot.loose.push(gp);
      return;
    }
  }
  unmake_g(gp);
}

void trim_depot() noexcept {
  magazine trimmed[depot_room + 1];
  int count = 0;
  for (magazine gs = take_from_depot(); gs.first != nullptr; gs = take_from_depot()) {
    for (g* gp = gs.first; gp != nullptr; gp = gp->next) {
      if (std::exchange(gp->trimmed, true)) continue;
      stack::discard_below(gp->stack, gp);
    }
    trimmed[count++] = gs;
    if (count == depot_room + 1) break;
  }
  while (count != 0) give_to_depot(trimmed[--count]);
}

}  // namespace sigrun::sched
