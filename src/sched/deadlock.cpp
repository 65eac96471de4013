// SPDX-License-Identifier: Apache-2.0
//
// Whether anything could still happen. Asked by sysmon when no M has had a P for a while, so that
// it costs nothing while the program lives.
#include "sched/deadlock.hpp"

#include "sched/scheduler.hpp"
#include "sys/file.hpp"

#include <dirent.h>

#include <mutex>

namespace sigrun::sched {
namespace {

// Any thread that is not ours may wake a goroutine: one of the program's, or the stand-by thread
// that receives subscribed signals. Ours are the Ms, sysmon and the one in run().
int threads_of_process() noexcept {
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return -1;
  int n = 0;
  while (const dirent* entry = ::readdir(tasks)) {
    if (entry->d_name[0] != '.') ++n;
  }
  ::closedir(tasks);
  return n;
}

}  // namespace

bool all_asleep_for_ever() noexcept {
  scheduler& s = the_scheduler();
  if (!s.in_run.load() || s.global_size.load() != 0) return false;
  if (s.poller.registered() != 0 || s.spinning.load() != 0) return false;
  int ms = 0;
  {
    const std::lock_guard hold(s.lock);
    if (!s.global.empty()) return false;
    // An M that is not at rest may have a goroutine in its hands that no queue shows.
    for (const machine* m = s.all_ms; m != nullptr; m = m->next) {
      if (!m->resting) return false;
      if (m->tid != 0) ++ms;
    }
    for (int i = 0; i < s.made.load(); ++i) {
      const processor* const p = s.ps[i].load(std::memory_order_acquire);
      if (!p->queue.empty() || p->next_timer.load() != sys::never) return false;
    }
  }
  return threads_of_process() == ms + 2;
}

}  // namespace sigrun::sched
