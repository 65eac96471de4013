// SPDX-License-Identifier: Apache-2.0
#include "sched/clock.hpp"

#include "sched/scheduler.hpp"
#include "sys/clock.hpp"

#include <atomic>

namespace sigrun::sched {
namespace {

constinit std::atomic<std::int64_t> virtual_ns{sys::never};

}  // namespace

std::int64_t now_ns() noexcept {
  const std::int64_t ns = virtual_ns.load(std::memory_order_relaxed);
  return ns == sys::never ? sys::now_ns() : ns;
}

void set_virtual_clock(std::int64_t ns) noexcept {
  virtual_ns.store(ns);
  // Who sleeps until the next timer sleeps by the real clock.
  if (the_scheduler().poller.is_open()) the_scheduler().poller.wake();
}
void advance_virtual_clock(std::int64_t by_ns) noexcept { set_virtual_clock(now_ns() + by_ns); }

}  // namespace sigrun::sched

namespace sigrun::detail {

// For deadlines that public headers compute.
std::int64_t now_ns() noexcept { return sched::now_ns(); }

}  // namespace sigrun::detail
