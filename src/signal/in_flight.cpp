// SPDX-License-Identifier: Apache-2.0
//
// Signals on their way: the kernel has given them to a thread, whose handler has yet to queue them.
#include "signal/runtime.hpp"
#include "sigsafe/control.hpp"
#include "sigsafe/intake.hpp"
#include "sigsafe/thread_status.hpp"
#include "sys/clock.hpp"

#include <dirent.h>

#include <array>
#include <cstdlib>

namespace sigrun::signal {
namespace {

using sigsafe::thread_status;

// For all threads together: one that is given no processor for that long is given up.
constexpr std::int64_t patience_ns = 100'000'000;

// A thread with a signal on its way is in no sleep: neither the kernel, which makes the frame for
// it, nor our handler waits for anything but a page. And the signal is open there, or we are in the
// handler, which blocks all that it can.
bool may_carry(const thread_status& status, signal_set signals) noexcept {
  if (status.state != 'R' && status.state != 'D') return false;
  const bool open = !(signals - status.blocked).empty();
  return open || (signal_set{sigsafe::our_action().mask} - status.blocked).empty();
}

constexpr std::size_t carriers_max = 128;        // half of the requests that there can be
using carriers = std::array<int, carriers_max>;  // their tids

// While a handler runs, or is about to, a control signal is blocked on its thread: the one that is
// sent now comes after it.
std::size_t ask_carriers(carriers& all, int self, signal_set signals) {
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return 0;
  std::size_t count = 0;
  thread_status status;
  while (const dirent* const task = ::readdir(tasks)) {
    const int tid = std::atoi(task->d_name);
    if (tid == 0 || tid == self || count == all.size()) continue;
    if (!sigsafe::read_thread_status(tid, status) || !may_carry(status, signals)) continue;
    if (sigsafe::request_mask(tid, {}, {})) all[count++] = tid;
  }
  ::closedir(tasks);
  return count;
}

}  // namespace

// With the duty in hand and nothing of them pending: what was sent before is in the queue after it.
void runtime::await_handlers(sigsafe::thread_block& self, signal_set signals) noexcept {
  carriers all;
  const std::size_t count = ask_carriers(all, self.tid, signals);
  const std::int64_t until_ns = sys::now_ns() + patience_ns;
  for (std::size_t i = 0; i < count; ++i) {
    thread_status status;
    while (sigsafe::has_empty_request(all[i])) {
      duty_.drain(self);
      const bool waits = sys::now_ns() < until_ns && sigsafe::read_thread_status(all[i], status) &&
                         may_carry(status, signals);
      if (!waits) break;
      sys::call(SYS_sched_yield);
    }
    // It may block the control signal for ever, or be gone.
    sigsafe::withdraw_empty_requests(all[i]);
  }
  duty_.drain(self);
}

}  // namespace sigrun::signal
