// SPDX-License-Identifier: Apache-2.0
//
// The report for people.
#include "report/crash_state.hpp"
#include "sigsafe/decode.hpp"
#include "sigsafe/flight_recorder.hpp"
#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

namespace sigrun::report {
namespace {

constexpr std::uint64_t flight_shown = 16;

void write_where(sink& out, const crash_state& state) noexcept {
  if (state.on.self != nullptr) {
    out.add("goroutine ").count(state.on.id);
    if (state.on.name[0] != '\0') out.add(" (").add(state.on.name).add(')');
    out.add(", ");
  }
  out.add("thread ").number(state.tid);
}

void write_failed(sink& out, const crash_state& state, const dump_options& how) noexcept {
  if (state.note != nullptr && state.note->thrown.count != 0) {
    out.add("thrown at:\n");
    write_trace(out, state.note->thrown, how.detail >= level::system, nullptr);
    out.add('\n');
  }
  if (state.on.self != nullptr) {
    write_goroutine(out, state.on, &state.trace, how);
    return;
  }
  out.add("thread ").number(state.tid).add(" [failed]:\n");
  write_trace(out, state.trace, true, nullptr);
  out.add('\n');
}

void write_threads(sink& out, const crash_state& state) noexcept {
  for (std::size_t i = 0; i < state.thread_count; ++i) {
    const shown_thread& each = state.threads[i];
    out.add("thread ").number(each.tid).add(" [").add(each.name).add(", ");
    out.add(each.state != '\0' ? each.state : '?').add("]:\n");
    if (each.traced) {
      write_trace(out, each.trace, true, nullptr);
    } else {
      out.add("\tstack unavailable\n");
    }
    out.add('\n');
  }
}

void write_registers(sink& out, const ucontext_t& context) noexcept {
  for (std::size_t i = 0;; ++i) {
    const named_register each = register_at(context, i);
    if (each.name == nullptr) break;
    out.add(each.name).add("\t").hex(each.value).add('\n');
  }
}

bool write_memory_line(void* arg, std::string_view line) noexcept {
  auto& out = *static_cast<sink*>(arg);
  for (const std::string_view wanted : {"VmPeak:", "VmRSS:", "VmData:", "Threads:"}) {
    if (line.substr(0, wanted.size()) != wanted) continue;
    out.add(' ');
    for (const char c : line) {
      if (c != '\t' && c != ' ') out.add(c);
    }
  }
  return true;
}

void write_signals(sink& out) noexcept {
  const sigsafe::flight_recorder& recorder = sigsafe::the_flight_recorder();
  const std::uint64_t newest = recorder.newest();
  if (newest == 0) return;
  out.add("\nlast signals:\n");
  std::uint64_t sequence = newest > flight_shown ? newest - flight_shown + 1 : 1;
  for (; sequence <= newest; ++sequence) {
    sigsafe::flight_record one;
    if (!recorder.read(sequence, one)) continue;
    out.add("\t#").count(one.sequence).add(' ').add(signal_name(one.signo));
    out.add(" by pid ").number(one.pid).add(" for ").count(one.subscribers).add('\n');
  }
}

bool write_module(void* arg, const symbol::module_view& row) noexcept {
  sink& out = *static_cast<sink*>(arg);
  out.add('\t').hex(row.begin).add('-').hex(row.end).add(' ').add(row.name());
  if (row.build_id_size != 0) out.add(' ').bytes(row.build_id, row.build_id_size);
  out.add('\n');
  return true;
}

void write_modules(sink& out) noexcept {
  out.add("\nmodules:\n");
  symbol::for_each_module(&write_module, &out);
}

}  // namespace

void write_signal(sink& out, int signo, const siginfo_t& info) noexcept {
  out.add(signal_name(signo)).add(": ").add(signal_code_name(signo, info.si_code));
  switch (sigsafe::cause_of(signo, info.si_code)) {
    case signal_cause::fault:
      out.add(" at ").hex(reinterpret_cast<std::uint64_t>(info.si_addr));
      break;
    case signal_cause::kill:
    case signal_cause::tkill:
    case signal_cause::queue:
      out.add(" from pid ").number(info.si_pid).add(", uid ").count(info.si_uid);
      break;
    default:
      break;
  }
}

void write_first_words(crash_state& state, const crash_config& config) noexcept {
  text_target text(state, config);
  sink& out = text.out;
  out.add("sigrun: fatal: ");
  if (state.note != nullptr) {
    out.add("uncaught exception ").add(state.note->type).add(": ").add(state.note->message);
    out.add("\nsigrun: ends by ");
  }
  write_signal(out, state.signo, state.info);
  out.add(", process ").number(config.pid).add('\n');
}

void write_crash_text(crash_state& state, const crash_config& config, level detail) noexcept {
  text_target text(state, config);
  sink& out = text.out;
  dump_options how;
  how.detail = detail;
  out.add("PC=").hex(symbol::interrupted_registers(*state.context).pc).add(" in ");
  write_where(out, state);
  out.add("\n\n");
  write_failed(out, state, how);
  if (detail >= level::all) {
    for (std::size_t i = 0; i < state.goroutine_count; ++i) {
      const shown_goroutine& each = state.goroutines[i];
      write_goroutine(out, each.view, each.traced ? &each.trace : nullptr, how);
    }
    if (state.goroutines_left_out != 0) {
      out.add("...").count(state.goroutines_left_out).add(" goroutines not shown...\n\n");
    }
  }
  if (detail >= level::system) write_threads(out, state);
  write_registers(out, *state.context);
  out.add("\nmemory:");
  for_each_line("/proc/self/status", &write_memory_line, &out);
  out.add("\nbuild: sigrun " SIGRUN_VERSION " (" SIGRUN_COMMIT "), ");
  out.add(config.program).add(' ').add(config.version).add(' ').add(config.commit);
  out.add(", ").add(config.compiler).add('\n');
  write_signals(out);
  write_modules(out);
}

}  // namespace sigrun::report
