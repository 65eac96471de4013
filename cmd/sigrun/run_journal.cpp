// SPDX-License-Identifier: Apache-2.0
#include "run_journal.hpp"

#include "base/text.hpp"
#include "run_sys.hpp"
#include "run_text.hpp"

#include <sigrun/signal_names.hpp>

#include <ctime>

namespace sigrun::cmd {
namespace {

struct civil_date {
  std::int64_t year;
  int month;
  int day;
};

// From days since 1970-01-01, counting eras of 400 years that begin on the first of March, so that
// the leap day is the last of a year. gmtime(3) would do, and bring the time zone code with it.
civil_date civil_from_days(std::int64_t days) noexcept {
  days += 719'468;
  const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const auto of_era = static_cast<int>(days - era * 146'097);
  const int year = (of_era - of_era / 1'460 + of_era / 36'524 - of_era / 146'096) / 365;
  const int of_year = of_era - (365 * year + year / 4 - year / 100);
  const int shifted = (5 * of_year + 2) / 153;
  const int month = shifted < 10 ? shifted + 3 : shifted - 9;
  return {year + era * 400 + (month <= 2 ? 1 : 0), month, of_year - (153 * shifted + 2) / 5 + 1};
}

// Length of the valid UTF-8 sequence at the front of `text`, 0 when there is none (RFC 3629).
std::size_t sequence_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const std::size_t length = lead < 0x80   ? 1
                             : lead < 0xC2 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogates
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

void add_string(text_line& line, std::string_view text) noexcept {
  line.add_char('"');
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text[0]);
    std::size_t length = sequence_length(text);
    if (length == 0) {
      line.add("\\ufffd");  // names are bytes, JSON is not
      length = 1;
    } else if (first == '"' || first == '\\') {
      line.add_char('\\').add_char(text[0]);
    } else if (first < 0x20 || first == 0x7f) {
      line.add("\\u00")
          .add_char("0123456789abcdef"[first >> 4])
          .add_char("0123456789abcdef"[first & 15]);
    } else {
      line.add({text.data(), length});
    }
    text.remove_prefix(length);
  }
  line.add_char('"');
}

// The sender may be gone by now; then there is no name.
void add_comm(text_line& line, int pid) noexcept {
  base::text_buffer<40> path;
  path.add("/proc/").add(pid).add("/comm").add({"\0", 1});
  const long fd = open_file(path.view().data(), O_RDONLY);
  char name[64];
  long size = 0;
  if (!sys::failed(fd)) {
    size = sys::read(static_cast<int>(fd), name, sizeof name);
    sys::close(static_cast<int>(fd));
  }
  if (size <= 0) {
    line.add("null");
    return;
  }
  std::string_view text(name, static_cast<std::size_t>(size));
  if (text.back() == '\n') text.remove_suffix(1);
  add_string(line, text);
}

void begin(text_line& line, std::string_view event) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  timespec steady{};
  clock_gettime(CLOCK_MONOTONIC, &steady);
  const std::int64_t days = (now.tv_sec >= 0 ? now.tv_sec : now.tv_sec - 86'399) / 86'400;
  const auto second = static_cast<std::uint64_t>(now.tv_sec - days * 86'400);
  const civil_date date = civil_from_days(days);
  line.add("{\"time\":\"")
      .add(date.year)
      .add("-")
      .add_unsigned(static_cast<unsigned>(date.month), 2)
      .add("-")
      .add_unsigned(static_cast<unsigned>(date.day), 2)
      .add("T")
      .add_unsigned(second / 3'600, 2)
      .add(":")
      .add_unsigned(second / 60 % 60, 2)
      .add(":")
      .add_unsigned(second % 60, 2)
      .add(".")
      .add_unsigned(static_cast<std::uint64_t>(now.tv_nsec), 9)
      .add("Z\",\"monotonic_ns\":")
      .add(std::int64_t{steady.tv_sec} * 1'000'000'000 + steady.tv_nsec)
      .add(",\"event\":\"")
      .add(event)
      .add("\"");
}

// What the union of a siginfo holds depends on the code: only what a process sent has a sender.
void add_sender(text_line& line, const siginfo_t& info) noexcept {
  const bool from_process = info.si_code <= 0 && info.si_code != SI_TIMER &&
                            info.si_code != SI_ASYNCIO && info.si_code != SI_SIGIO;
  if (!from_process) {
    line.add(",\"sender\":null,\"value\":null");
    return;
  }
  line.add(",\"sender\":{\"pid\":")
      .add(info.si_pid)
      .add(",\"uid\":")
      .add_unsigned(info.si_uid)
      .add(",\"comm\":");
  // Pid 0 stands for a process this pid namespace cannot see.
  if (info.si_pid == 0) {
    line.add("null");
  } else {
    add_comm(line, info.si_pid);
  }
  line.add("},\"value\":");
  if (info.si_code == SI_QUEUE || info.si_code == SI_MESGQ) {
    line.add(info.si_value.sival_int);
  } else {
    line.add("null");
  }
}

}  // namespace

run_journal::~run_journal() {
  if (fd_ >= 0) sys::close(fd_);
}

int run_journal::open(const char* path) noexcept {
  const long fd = open_file(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0644);
  if (sys::failed(fd)) return static_cast<int>(-fd);
  fd_ = static_cast<int>(fd);
  return 0;
}

void run_journal::finish(text_line& line) noexcept {
  line.add("}\n").flush();
  if (line.error() == 0 || told_) return;
  told_ = true;  // once: a full disk stays full
  text_line(2)
      .add("sigrun: the journal cannot be written, lines are lost: ")
      .add(error_text(line.error()))
      .add("\n");
}

void run_journal::start(const run_options& options, int child) noexcept {
  if (!on()) return;
  text_line line(fd_);
  begin(line, "start");
  line.add(",\"pid\":").add(sys::getpid()).add(",\"child\":").add(child).add(",\"program\":[");
  for (char** word = options.program; *word != nullptr; ++word) {
    if (word != options.program) line.add(",");
    add_string(line, *word);
  }
  line.add("]");
  finish(line);
}

void run_journal::signal(const passage& signal) noexcept {
  if (!on()) return;
  const siginfo_t& info = signal.info;
  text_line line(fd_);
  begin(line, "signal");
  line.add(",\"signo\":")
      .add(info.si_signo)
      .add(",\"name\":\"")
      .add(signal_name(info.si_signo))
      .add("\",\"si_code\":")
      .add(info.si_code)
      .add(",\"code\":\"")
      .add(signal_code_name(info.si_signo, info.si_code))
      .add("\"");
  add_sender(line, info);
  line.add(",\"done\":\"").add(to_string(signal.done)).add("\",\"sent\":");
  if (signal.sent != 0) {
    line.add("{\"signo\":")
        .add(signal.sent)
        .add(",\"name\":\"")
        .add(signal_name(signal.sent))
        .add("\",\"to\":\"")
        .add(to_string(signal.kind))
        .add("\",\"id\":")
        .add(signal.target)
        .add("}");
  } else {
    line.add("null");
  }
  if (signal.error != 0) {
    line.add(",\"error\":");
    add_string(line, error_text(signal.error));
  }
  finish(line);
}

void run_journal::process(std::string_view event, const siginfo_t& child) noexcept {
  if (!on()) return;
  text_line line(fd_);
  begin(line, event);
  line.add(",\"pid\":").add(child.si_pid).add(",\"comm\":");
  add_comm(line, child.si_pid);
  switch (child.si_code) {
    case CLD_EXITED:
      line.add(",\"change\":\"exited\",\"status\":").add(child.si_status);
      break;
    case CLD_KILLED:
    case CLD_DUMPED:
      line.add(",\"change\":\"killed\",\"signo\":")
          .add(child.si_status)
          .add(",\"name\":\"")
          .add(signal_name(child.si_status))
          .add("\",\"core\":")
          .add(child.si_code == CLD_DUMPED ? "true" : "false");
      break;
    case CLD_CONTINUED:
      line.add(",\"change\":\"continued\"");
      break;
    default:
      line.add(",\"change\":\"stopped\",\"signo\":")
          .add(child.si_status)
          .add(",\"name\":\"")
          .add(signal_name(child.si_status))
          .add("\"");
  }
  finish(line);
}

void run_journal::suspended(int signo) noexcept {
  if (!on()) return;
  text_line line(fd_);
  begin(line, "suspended");
  line.add(",\"signo\":").add(signo).add(",\"name\":\"").add(signal_name(signo)).add("\"");
  finish(line);
}

void run_journal::grace_over(int group) noexcept {
  if (!on()) return;
  text_line line(fd_);
  begin(line, "grace-over");
  line.add(",\"sent\":{\"signo\":9,\"name\":\"SIGKILL\",\"to\":\"")
      .add(group != 0 ? "group" : "children")
      .add("\",\"id\":")
      .add(group)
      .add("}");
  finish(line);
}

void run_journal::end(int exit_code) noexcept {
  if (!on()) return;
  text_line line(fd_);
  begin(line, "end");
  line.add(",\"exit_code\":").add(exit_code);
  finish(line);
}

}  // namespace sigrun::cmd
