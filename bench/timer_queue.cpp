// SPDX-License-Identifier: Apache-2.0
//
// The queue of deadlines alone, on one thread, beside the obvious other choice: a 4-ary heap of
// {deadline, node} that keeps each node's index, as Go's runtime has it. Prints nanoseconds of CPU
// time, which a busy machine disturbs least.
//   pair: start and stop of one timer while 10^6 others are pending
//   move: a random one of the 10^6 gets a new deadline, as idle time-outs of connections do
//   pop:  all of them expire
#include "timer/queue.hpp"

#include <ctime>

#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

namespace {

constexpr std::int64_t second = 1'000'000'000;
constexpr std::size_t pending = 1'000'000;
constexpr std::size_t rounds = 2'000'000;

struct heap_node {
  std::size_t index = SIZE_MAX;
};

class heap {
 public:
  void add(heap_node& n, std::int64_t when) {
    entries_.push_back({when, &n});
    up(entries_.size() - 1, {when, &n});
  }
  void remove(heap_node& n) {
    const std::size_t at = n.index;
    const entry last = entries_.back();
    entries_.pop_back();
    n.index = SIZE_MAX;
    if (at == entries_.size()) return;
    const bool earlier = at > 0 && last.when < entries_[(at - 1) / 4].when;
    earlier ? up(at, last) : down(at, last);
  }
  heap_node* pop_expired(std::int64_t now) {
    if (entries_.empty() || entries_[0].when > now) return nullptr;
    heap_node* const n = entries_[0].n;
    remove(*n);
    return n;
  }

 private:
  struct entry {
    std::int64_t when;
    heap_node* n;
  };
  void put(std::size_t at, entry e) {
    entries_[at] = e;
    e.n->index = at;
  }
  void up(std::size_t at, entry e) {
    for (; at > 0; at = (at - 1) / 4) {
      if (entries_[(at - 1) / 4].when <= e.when) break;
      put(at, entries_[(at - 1) / 4]);
    }
    put(at, e);
  }
  void down(std::size_t at, entry e) {
    for (;;) {
      std::size_t least = 4 * at + 1;
      if (least >= entries_.size()) break;
      for (std::size_t i = least + 1; i < 4 * at + 5 && i < entries_.size(); ++i) {
        if (entries_[i].when < entries_[least].when) least = i;
      }
      if (e.when <= entries_[least].when) break;
      put(at, entries_[least]);
      at = least;
    }
    put(at, e);
  }

  std::vector<entry> entries_;
};

std::int64_t cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * second + now.tv_nsec;
}

// A scheduler's node is the member of something larger.
template <class Node>
struct item : Node {
  char rest[64];
};

template <class Queue, class Node>
void measure(const char* name) {
  Queue queue;
  std::vector<item<Node>> items(pending);
  std::mt19937_64 random(1);
  std::vector<std::int64_t> deadlines(rounds);
  for (auto& when : deadlines) {
    when = second + static_cast<std::int64_t>(random() % (30 * second));
  }
  std::vector<std::uint32_t> chosen(rounds);
  for (auto& i : chosen) i = static_cast<std::uint32_t>(random() % pending);

  const std::int64_t begin = cpu_ns();
  for (std::size_t i = 0; i < pending; ++i) queue.add(items[i], deadlines[i]);
  const std::int64_t added = cpu_ns();
  item<Node> one;
  for (const std::int64_t when : deadlines) {
    queue.add(one, when);
    queue.remove(one);
  }
  const std::int64_t paired = cpu_ns();
  for (std::size_t i = 0; i < rounds; ++i) {
    queue.remove(items[chosen[i]]);
    queue.add(items[chosen[i]], deadlines[i] + second);
  }
  const std::int64_t moved = cpu_ns();
  std::size_t popped = 0;
  for (std::int64_t now = 0; popped < pending; now += 50'000) {
    while (queue.pop_expired(now) != nullptr) ++popped;
  }
  const std::int64_t done = cpu_ns();
  const auto ns = [](std::int64_t from, std::int64_t to, std::size_t count) {
    return static_cast<double>(to - from) / static_cast<double>(count);
  };
  std::printf("%-5s add %6.1f  pair %6.1f  move %6.1f  pop %6.1f\n", name,
              ns(begin, added, pending), ns(added, paired, rounds), ns(paired, moved, rounds),
              ns(moved, done, pending));
}

}  // namespace

int main() {
  for (int round = 0; round < 3; ++round) {
    measure<sigrun::sched::timer::queue, sigrun::sched::timer::node>("wheel");
    measure<heap, heap_node>("heap");
  }
}
