// SPDX-License-Identifier: Apache-2.0
#include "process/ours.hpp"

#include "sys/signal.hpp"

#include <atomic>
#include <cerrno>
#include <iterator>
#include <mutex>
#include <new>
#include <set>

namespace sigrun::process {
namespace {

struct list {
  std::mutex lock;
  std::atomic<int> owner{0};
  int being_made = 0;
  bool incomplete = false;  // (3)
  std::set<int> children;
  std::set<int> groups;
};
// Never destroyed: the reaper's thread may outlive static destructors.
list& the_list() noexcept {
  alignas(list) static unsigned char place[sizeof(list)];
  static list* one = new (place) list;
  const int self = sys::getpid();
  int owner = 0;
  if (!one->owner.compare_exchange_strong(owner, self) && owner != self) {
    // A forked child: the list was its parent's, and so is whoever has the lock.
    one = new (place) list;
    one->owner = self;
  }
  return *one;
}

}  // namespace

starting::starting(bool leads_group) noexcept : leads_group_(leads_group) {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  ++all.being_made;
}

starting::~starting() {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  --all.being_made;
}

void starting::made(int pid) noexcept {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  try {
    all.children.insert(pid);
    if (leads_group_) all.groups.insert(pid);
  } catch (const std::bad_alloc&) {
    all.incomplete = true;
  }
}

void note_reaped(int pid) noexcept {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  all.children.erase(pid);
}

whose whose_child(int pid) noexcept {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  if (all.incomplete || all.children.count(pid) != 0) return whose::ours;
  return all.being_made != 0 ? whose::unknown : whose::others;
}

bool is_our_group(int group) noexcept {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  return all.groups.count(group) != 0;
}

void forget_empty_groups() noexcept {
  list& all = the_list();
  const std::lock_guard hold(all.lock);
  for (auto at = all.groups.begin(); at != all.groups.end();) {
    const bool empty = all.children.count(*at) == 0 && sys::kill(-*at, 0) == -ESRCH;
    at = empty ? all.groups.erase(at) : std::next(at);
  }
}

}  // namespace sigrun::process
