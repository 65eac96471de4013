// SPDX-License-Identifier: Apache-2.0
//
// The stacks of everything, into the state that stands ready.
#include "report/crash_state.hpp"
#include "report/symbolizer.hpp"
#include "sigsafe/control.hpp"
#include "sigsafe/thread_status.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>

namespace sigrun::report {
namespace {

constexpr std::int64_t thread_answer_ns = 30'000'000;

void look_at_thread(int tid, std::int64_t deadline_ns, shown_thread& out) noexcept {
  out.tid = tid;
  sigsafe::thread_status status;
  sigsafe::read_thread_status(tid, status);
  static_assert(sizeof out.name <= sizeof status.name);
  for (std::size_t i = 0; i + 1 < sizeof out.name; ++i) out.name[i] = status.name[i];
  out.state = status.state;
  out.blocked = status.blocked.bits();
  if (status.blocked.has(sigsafe::control_signal)) return;  // it would not answer
  const std::int64_t soon = sys::now_ns() + thread_answer_ns;
  out.traced = ask_thread(tid, soon < deadline_ns ? soon : deadline_ns, out.trace);
}

// getdents64(2), whose entries no header of the C library names for us.
struct kernel_entry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

int number_of(const char* text) noexcept {
  int value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) value = value * 10 + (*text - '0');
  return value;
}

template <class Visit>
void for_each_task(Visit visit) noexcept {
  const long fd =
      sys::call(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (sys::failed(fd)) return;
  alignas(kernel_entry) char room[2048];
  for (;;) {
    const long size = sys::call(SYS_getdents64, fd, room, sizeof room);
    if (size <= 0) break;
    for (long at = 0; at < size;) {
      const auto* const entry = reinterpret_cast<const kernel_entry*>(room + at);
      if (const int tid = number_of(entry->name); tid != 0) visit(tid);
      at += entry->size;
    }
  }
  sys::close(static_cast<int>(fd));
}

void collect_goroutines(crash_state& state, std::int64_t deadline_ns) noexcept {
  const std::uint32_t slots = sched::g_slots();
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    if (state.goroutine_count == crash_goroutines_max) {
      sched::g_view view;
      if (sched::look_at_g(slot, view)) ++state.goroutines_left_out;
      continue;
    }
    shown_goroutine& to = state.goroutines[state.goroutine_count];
    if (!sched::look_at_g(slot, to.view) || to.view.self == state.on.self) continue;
    to.traced = trace_of(to.view, deadline_ns, to.trace);
    ++state.goroutine_count;
  }
}

void collect_threads(crash_state& state, std::int64_t deadline_ns) noexcept {
  for_each_task([&](int tid) noexcept {
    if (tid == state.tid) return;
    if (state.thread_count == crash_threads_max || sys::now_ns() >= deadline_ns) {
      ++state.threads_left_out;
      return;
    }
    look_at_thread(tid, deadline_ns, state.threads[state.thread_count++]);
  });
}

void collect_names(const crash_state& state, std::int64_t deadline_ns) noexcept {
  learn(state.trace.frames, state.trace.count, deadline_ns);
  const symbol::frame starter{reinterpret_cast<std::uint64_t>(state.on.created_at), false};
  if (state.on.self != nullptr) learn(&starter, 1, deadline_ns);
  if (state.note != nullptr) {
    learn(state.note->thrown.frames, state.note->thrown.count, deadline_ns);
  }
  for (std::size_t i = 0; i < state.goroutine_count; ++i) {
    const shown_goroutine& each = state.goroutines[i];
    if (each.traced) learn(each.trace.frames, each.trace.count, deadline_ns);
    const symbol::frame creator{reinterpret_cast<std::uint64_t>(each.view.created_at), false};
    learn(&creator, 1, deadline_ns);
  }
  for (std::size_t i = 0; i < state.thread_count; ++i) {
    const shown_thread& each = state.threads[i];
    if (each.traced) learn(each.trace.frames, each.trace.count, deadline_ns);
  }
}

}  // namespace

std::uint64_t parse_hex(std::string_view& text) noexcept {
  std::uint64_t value = 0;
  while (!text.empty()) {
    const char c = text[0];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value * 16 + static_cast<unsigned>(digit);
    text.remove_prefix(1);
  }
  return value;
}

bool for_each_line(const char* path, bool (*line)(void* arg, std::string_view),
                   void* arg) noexcept {
  const long fd = sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (sys::failed(fd)) return false;
  char text[255];
  std::size_t used = 0;
  char piece[512];
  bool going = true;
  while (going) {
    const long size = sys::read(static_cast<int>(fd), piece, sizeof piece);
    if (size == -EINTR) continue;
    if (size <= 0) break;
    for (long i = 0; i < size && going; ++i) {
      if (piece[i] == '\n') {
        going = line(arg, {text, used});
        used = 0;
      } else if (used < sizeof text) {
        text[used++] = piece[i];
      }
    }
  }
  sys::close(static_cast<int>(fd));
  return true;
}

void collect(crash_state& state, const crash_config&, level detail) noexcept {
  sys::call(SYS_prctl, PR_GET_NAME, state.thread_name, 0, 0, 0);
  trace_from(symbol::interrupted_registers(*state.context), state.trace);
  const sched::g* const gp = sched::g_of_this_thread();
  if (gp == nullptr || !sched::look_at_g(gp, state.on)) state.on.self = nullptr;
  if (detail >= level::all) {
    const std::int64_t stop = sys::now_ns() + state.plan.stacks_ns;
    collect_goroutines(state, stop);
    collect_threads(state, stop);
  }
  collect_names(state, sys::now_ns() + state.plan.names_ns);
}

}  // namespace sigrun::report
