// SPDX-License-Identifier: Apache-2.0
//
// Gs that go on without a P, because they could not be stopped when they should have been; sysmon's
// list of the Ms they are on. See preempt.hpp (8).
#include "sched/preempt.hpp"
#include "sched/scheduler.hpp"
#include "sys/file.hpp"

#include <algorithm>

namespace sigrun::sched {
namespace {

constexpr std::int64_t first_delay = 10'000'000;
constexpr std::int64_t longest_delay = 1'000'000'000;
constexpr int asks_max = 32;  // in one look of sysmon's

// sysmon's own, so nothing is shared.
constinit machine* first = nullptr;
constinit std::int64_t next_ns = sys::never;

// In user code without a P. Between sections nobody else moves these.
bool goes_on(const machine& m) noexcept {
  return m.lost.load() != 0 && m.busy.load() == 0 && m.foreign.load() == 0;
}

// proc_pid_stat(5): the state is the letter after the last parenthesis.
char state_of(int tid) noexcept {
  char path[40] = "/proc/self/task/";
  std::size_t end = 16;
  char digits[12];
  std::size_t count = 0;
  for (int rest = tid; rest != 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
  while (count != 0) path[end++] = digits[--count];
  for (const char c : {'/', 's', 't', 'a', 't', '\0'}) path[end++] = c;
  const long fd = sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (sys::failed(fd)) return '?';
  char text[128];
  const long size = sys::read(static_cast<int>(fd), text, sizeof text);
  sys::close(static_cast<int>(fd));
  for (long i = std::min<long>(size, sizeof text) - 3; i >= 0; --i) {
    if (text[i] == ')') return text[i + 2];
  }
  return '?';
}

}  // namespace

bool sleeps_in_kernel(const machine& m) noexcept {
  const char state = state_of(m.tid);
  return state == 'S' || state == 'D';
}

void ask_later(machine& m, std::int64_t now) noexcept {
  m.ask_delay = first_delay;
  m.ask_ns = now + first_delay;
  next_ns = std::min(next_ns, m.ask_ns);
  if (m.asked_later) return;
  m.asked_later = true;
  m.next_without_p = first;
  first = &m;
}

void ask_again(std::int64_t now) noexcept {
  if (now < next_ns) return;
  next_ns = sys::never;
  int asks = 0;
  for (machine** at = &first; *at != nullptr;) {
    machine& m = **at;
    if (!goes_on(m)) {
      m.asked_later = false;
      *at = m.next_without_p;
      continue;
    }
    if (m.ask_ns <= now && asks < asks_max) {
      ++asks;
      m.ask_delay = std::min(m.ask_delay * 2, longest_delay);
      m.ask_ns = now + m.ask_delay;
      if (!sleeps_in_kernel(m)) ask(m);
    }
    next_ns = std::min(next_ns, m.ask_ns);
    at = &m.next_without_p;
  }
}

}  // namespace sigrun::sched
