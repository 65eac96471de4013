// SPDX-License-Identifier: Apache-2.0
#include "report/goroutines.hpp"

#include "base/pause.hpp"
#include "go/labels.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sys/uio.h>

#include <atomic>

namespace sigrun::report {
namespace {

constinit std::atomic<int> turn{0};  // tid of who dumps
constinit stack_trace scratch{};     // with the turn
constinit stack_trace interrupted{};

constexpr int tries_max = 8;
constexpr std::int64_t answer_ns = 50'000'000;  // for one thread
constexpr std::int64_t handler_dump_ns = 2'000'000'000;
constexpr std::size_t handler_goroutines_max = 10'000;

bool trace_parked(const sched::g_view& view, stack_trace& out) noexcept {
  const auto at = reinterpret_cast<std::uint64_t>(view.parked_at);
  const auto end = reinterpret_cast<std::uint64_t>(view.self);
  if (at < view.stack_low || at >= end || end - at < sizeof(arch::switch_frame)) return false;
  const arch::context parked{const_cast<void*>(view.parked_at)};
  out.on_g = view.self;
  out.count = symbol::walk(symbol::parked_stack_registers(parked), symbol::memory{at, end},
                           out.frames, frames_max, out.more);
  return true;
}

bool trace_once(sched::g_view& view, std::int64_t deadline_ns, stack_trace& out) noexcept {
  switch (view.state) {
    case sched::g_state::waiting:
    case sched::g_state::runnable:
      return sched::has_landed(view.self) && sched::look_at_g(view.self, view) &&
             trace_parked(view, out) && sched::still_there(view);
    case sched::g_state::running:
    case sched::g_state::foreign: {
      const sched::machine* const m = sched::machine_of(view.self);
      if (m == nullptr) return false;
      const std::int64_t soon = sys::now_ns() + answer_ns;
      return ask_thread(m->tid, soon < deadline_ns ? soon : deadline_ns, out) &&
             out.on_g == view.self;
    }
    case sched::g_state::free:
    case sched::g_state::dead:
      break;
  }
  return false;
}

void write_age(sink& out, std::int64_t since_ns) noexcept {
  constexpr std::int64_t second = 1'000'000'000;
  const std::int64_t age = sys::now_ns() - since_ns;
  if (age >= 60 * second) {
    out.add(", ").number(age / (60 * second)).add(" minutes");
  } else if (age >= second) {
    out.add(", ").number(age / second).add(" seconds");
  }
}

// Within the brackets of a head line, where a bracket or a comma would end something.
void write_plain(sink& out, std::string_view text) noexcept {
  for (const char c : text) {
    const bool special = c == '[' || c == ']' || c == ',' || static_cast<unsigned char>(c) < 0x20;
    out.add(special ? '_' : c);
  }
}

void write_creator(sink& out, const sched::g_view& view, const dump_options& options) noexcept {
  if (view.created_at == nullptr) return;
  frame_lines lines;
  resolve({reinterpret_cast<std::uint64_t>(view.created_at), false}, lines);
  const code_line& line = lines.lines[0];
  out.add("created by ");
  write_function(out, lines, line, options.words);
  if (view.parent_id != 0) out.add(" in goroutine ").count(view.parent_id);
  out.add("\n\t");
  out.add(line.file.empty() ? lines.image.name() : line.file);
  out.add(':').count(line.line).add(" +").hex(line.offset).add('\n');
}

bool enough(const dump_options& options, const dump_counts& counts) noexcept {
  return counts.shown >= options.goroutines_max || sys::now_ns() >= options.deadline_ns;
}

}  // namespace

bool take_turn(std::int64_t deadline_ns, bool force) noexcept {
  const int self = sys::gettid();
  for (;;) {
    int nobody = 0;
    if (turn.compare_exchange_strong(nobody, self)) return true;
    if (sys::now_ns() >= deadline_ns || (force && nobody == self)) break;
    const sys::timespec64 a_little{0, 1'000'000};
    sys::call(SYS_nanosleep, &a_little, nullptr);
  }
  if (force) turn.store(self);
  return force;
}

void give_turn() noexcept { turn.store(0); }

bool trace_of(sched::g_view& view, std::int64_t deadline_ns, stack_trace& out) noexcept {
  for (int i = 0; i < tries_max; ++i) {
    if (trace_once(view, deadline_ns, out)) return true;
    if (sys::now_ns() >= deadline_ns) return false;
    if (i > 1) sys::call(SYS_sched_yield);
    const std::uint64_t id = view.id;
    if (!sched::look_at_g(view.self, view) || view.id != id) return false;
  }
  return false;
}

std::string_view labels_text(const sched::g_view& view, char* room, std::size_t size) noexcept {
  if (view.labels == nullptr) return {};
  go_detail::label_head head;
  const auto copy = [](void* to, const void* from, std::size_t bytes) noexcept {
    const iovec local{to, bytes};
    const iovec remote{const_cast<void*>(from), bytes};
    const long got = sys::call(SYS_process_vm_readv, sys::getpid(), &local, 1, &remote, 1, 0);
    return got == static_cast<long>(bytes);
  };
  if (!copy(&head, view.labels, sizeof head)) return {};
  const std::size_t bytes = head.text_size < size ? head.text_size : size;
  if (bytes == 0 || !copy(room, head.text, bytes)) return {};
  return {room, bytes};
}

void write_trace(sink& out, const stack_trace& trace, bool system, demangler words) noexcept {
  std::size_t written = 0;
  frame_lines lines;
  for (std::size_t i = 0; i < trace.count; ++i) {
    resolve(trace.frames[i], lines);
    written += write_lines(out, lines, system, words);
  }
  // Nothing but the scheduler's: better that than nothing.
  for (std::size_t i = 0; written == 0 && i < trace.count; ++i) {
    resolve(trace.frames[i], lines);
    write_lines(out, lines, true, words);
  }
  if (trace.more) out.add("...additional frames elided...\n");
}

void write_goroutine(sink& out, const sched::g_view& view, const stack_trace* trace,
                     const dump_options& options) noexcept {
  out.add("goroutine ").count(view.id).add(" [").add(sched::state_text(view));
  write_age(out, view.since_ns);
  if (view.locked) out.add(", locked to thread");
  if (view.deferred_signals != 0) {
    out.add(", signals deferred:");
    signal_set(view.deferred_signals).for_each([&out](int signo) { out.add(' ').number(signo); });
  }
  if (view.name[0] != '\0') {
    out.add(", name=");
    write_plain(out, view.name);
  }
  char room[256];
  if (const std::string_view labels = labels_text(view, room, sizeof room); !labels.empty()) {
    out.add(", labels=");
    write_plain(out, labels);
  }
  if (view.state == sched::g_state::waiting && view.on != nullptr) {
    out.add(", on ").hex(reinterpret_cast<std::uint64_t>(view.on));
  }
  out.add("]:\n");
  const bool system = options.detail >= level::system;
  if (trace != nullptr && trace->count != 0) {
    write_trace(out, *trace, system, options.words);
  } else {
    out.add("\tgoroutine running on other thread; stack unavailable\n");
  }
  write_creator(out, view, options);
  out.add('\n');
}

dump_counts write_goroutines(sink& out, const dump_options& options) noexcept {
  dump_counts counts;
  sched::g_view view;
  if (options.first != nullptr && sched::look_at_g(options.first, view)) {
    write_goroutine(out, view, options.first_trace, options);
    ++counts.shown;
  }
  if (options.first != nullptr && options.detail < level::all) return counts;
  const std::uint32_t slots = sched::g_slots();
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    if (!sched::look_at_g(slot, view) || view.self == options.first) continue;
    if (enough(options, counts)) {
      ++counts.not_shown;
      continue;
    }
    const bool traced = trace_of(view, options.deadline_ns, scratch);
    if (!traced && view.state == sched::g_state::dead) continue;
    write_goroutine(out, view, traced ? &scratch : nullptr, options);
    ++counts.shown;
    if (!traced) ++counts.no_stack;
  }
  if (counts.not_shown != 0) {
    out.add("...").count(counts.not_shown).add(" goroutines not shown...\n\n");
  }
  return counts;
}

void write_goroutines_from_handler(fd_target& target, const ucontext_t& context) noexcept {
  const std::int64_t begun = sys::now_ns();
  take_turn(begun + 200'000'000, true);
  prepare_asking();
  sink out(&fd_target::write, &target);
  dump_options options;
  options.goroutines_max = handler_goroutines_max;
  options.deadline_ns = begun + handler_dump_ns;
  options.first = sched::g_of_this_thread();
  trace_from(symbol::interrupted_registers(context), interrupted);
  options.first_trace = &interrupted;
  write_goroutines(out, options);
  out.flush();
  give_turn();
}

}  // namespace sigrun::report
