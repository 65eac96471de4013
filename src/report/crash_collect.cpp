// SPDX-License-Identifier: Apache-2.0
//
// The stacks of everything, into the state that stands ready.
#include "report/crash_state.hpp"
#include "report/symbolizer.hpp"
#include "sigsafe/control.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>

namespace sigrun::report {
namespace {

// Of time_ns: goroutines and threads may take this much, and names this much.
constexpr std::int64_t stacks_ns = 700'000'000;
constexpr std::int64_t names_ns = 900'000'000;
constexpr std::int64_t thread_answer_ns = 30'000'000;

void copy_text(char* to, std::size_t room, std::string_view from) noexcept {
  std::size_t i = 0;
  for (; i + 1 < room && i < from.size(); ++i) to[i] = from[i];
  to[i] = '\0';
}

std::string_view after_prefix(std::string_view line, std::string_view prefix) noexcept {
  if (line.substr(0, prefix.size()) != prefix) return {};
  line.remove_prefix(prefix.size());
  while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
  return line;
}

bool take_status_line(void* arg, std::string_view line) noexcept {
  auto& to = *static_cast<shown_thread*>(arg);
  if (const auto name = after_prefix(line, "Name:"); !name.empty()) {
    copy_text(to.name, sizeof to.name, name);
  } else if (const auto state = after_prefix(line, "State:"); !state.empty()) {
    to.state = state[0];
  } else if (auto mask = after_prefix(line, "SigBlk:"); !mask.empty()) {
    to.blocked = parse_hex(mask);
    return false;
  }
  return true;
}

class task_path {
 public:
  task_path(int tid, std::string_view file) noexcept {
    add("/proc/self/task/");
    char digits[12];
    std::size_t n = 0;
    for (auto rest = static_cast<unsigned>(tid); n == 0 || rest != 0; rest /= 10) {
      digits[n++] = static_cast<char>('0' + rest % 10);
    }
    while (n != 0) text_[size_++] = digits[--n];
    add(file);
    text_[size_] = '\0';
  }
  const char* c_str() const noexcept { return text_; }

 private:
  void add(std::string_view piece) noexcept {
    for (const char c : piece) text_[size_++] = c;
  }
  char text_[64];
  std::size_t size_ = 0;
};

void look_at_thread(int tid, std::int64_t deadline_ns, shown_thread& out) noexcept {
  out.tid = tid;
  for_each_line(task_path(tid, "/status").c_str(), &take_status_line, &out);
  if (signal_set{out.blocked}.has(sigsafe::control_signal)) return;  // it would not answer
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
    const std::int64_t stop = sys::now_ns() + stacks_ns;
    collect_goroutines(state, stop);
    collect_threads(state, stop);
  }
  collect_names(state, sys::now_ns() + names_ns);
}

}  // namespace sigrun::report
