// SPDX-License-Identifier: Apache-2.0
#include "procfs/parse.hpp"

#include <charconv>
#include <stdexcept>

namespace sigrun::procfs {
namespace {

constexpr std::string_view blanks = " \t";

[[noreturn]] void refuse(std::string_view field, std::string_view why) {
  throw std::invalid_argument(std::string{field} + ": " + std::string{why});
}

// Takes the text before the next `separator` off `rest`; the last piece needs none.
std::string_view take(std::string_view& rest, char separator) {
  const std::size_t at = rest.find(separator);
  const std::string_view piece = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return piece;
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// Takes the next word off `rest`; empty at the end.
std::string_view word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(blanks), rest.size()));
  const std::string_view piece = rest.substr(0, rest.find_first_of(blanks));
  rest.remove_prefix(piece.size());
  return piece;
}

template <class Number>
Number number(std::string_view field, std::string_view text, int base = 10) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value, base);
  if (problem != std::errc{} || stop != end) {
    refuse(field, "'" + std::string{text.substr(0, 40)} + "' is not a number in range");
  }
  return value;
}

std::uint64_t hex(std::string_view field, std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  return number<std::uint64_t>(field, text, 16);
}

signal_set signals(std::string_view field, std::string_view text) {
  return signal_set{number<std::uint64_t>(field, text, 16)};
}

void parse_ids(std::string_view value, thread_status& status) {
  status.uid = number<unsigned>("Uid", word(value));
  status.effective_uid = number<unsigned>("Uid", word(value));
}

void parse_namespaces(std::string_view value, thread_status& status) {
  status.ns_pids.clear();
  // The kernel nests pid namespaces at most 32 deep (MAX_PID_NS_LEVEL).
  for (std::string_view id = word(value); !id.empty(); id = word(value)) {
    if (status.ns_pids.size() > 32) refuse("NSpid", "too many namespaces");
    status.ns_pids.push_back(number<int>("NSpid", id));
  }
}

void parse_queue(std::string_view value, thread_status& status) {
  status.queued = number<std::uint64_t>("SigQ", take(value, '/'));
  status.queue_limit = number<std::uint64_t>("SigQ", value);
}

struct status_field {
  std::string_view key;
  void (*parse)(std::string_view value, thread_status& status);
  bool required;
};

constexpr status_field status_fields[] = {
    {"Name", [](std::string_view v, thread_status& s) { s.name = v; }, true},
    {"State",
     [](std::string_view v, thread_status& s) {
       if (v.empty()) refuse("State", "is empty");
       s.state = v[0];
     },
     true},
    {"Tgid", [](std::string_view v, thread_status& s) { s.tgid = number<int>("Tgid", v); }, true},
    {"Pid", [](std::string_view v, thread_status& s) { s.tid = number<int>("Pid", v); }, true},
    {"PPid", [](std::string_view v, thread_status& s) { s.ppid = number<int>("PPid", v); }, true},
    {"TracerPid",
     [](std::string_view v, thread_status& s) { s.tracer_pid = number<int>("TracerPid", v); },
     false},
    {"Uid", parse_ids, true},
    {"Threads", [](std::string_view v, thread_status& s) { s.threads = number<int>("Threads", v); },
     true},
    {"Kthread", [](std::string_view v, thread_status& s) { s.kernel_thread = v == "1"; }, false},
    {"NSpid", parse_namespaces, false},
    {"SigQ", parse_queue, true},
    {"SigPnd", [](std::string_view v, thread_status& s) { s.pending = signals("SigPnd", v); },
     true},
    {"ShdPnd",
     [](std::string_view v, thread_status& s) { s.shared_pending = signals("ShdPnd", v); }, true},
    {"SigBlk", [](std::string_view v, thread_status& s) { s.blocked = signals("SigBlk", v); },
     true},
    {"SigIgn", [](std::string_view v, thread_status& s) { s.ignored = signals("SigIgn", v); },
     true},
    {"SigCgt", [](std::string_view v, thread_status& s) { s.caught = signals("SigCgt", v); }, true},
};

// "start-end perms offset major:minor inode   path", where the path may hold blanks.
mapping parse_mapping(std::string_view line) {
  mapping map;
  std::string_view range = word(line);
  map.begin = hex("maps", take(range, '-'));
  map.end = hex("maps", range);
  if (map.end < map.begin) refuse("maps", "a range ends before it begins");
  map.permissions = word(line);
  map.offset = hex("maps", word(line));
  if (word(line).empty()) refuse("maps", "a line has no device");
  map.inode = number<std::uint64_t>("maps", word(line));
  map.path = trim(line);
  return map;
}

std::optional<std::uint64_t> limit_value(std::string_view text) {
  if (text == "unlimited") return std::nullopt;
  return number<std::uint64_t>("limits", text);
}

}  // namespace

thread_status parse_status(std::string_view text) {
  thread_status status;
  std::uint32_t seen = 0;
  static_assert(std::size(status_fields) <= 32);
  while (!text.empty()) {
    std::string_view value = take(text, '\n');
    const std::string_view key = take(value, ':');
    for (std::size_t i = 0; i < std::size(status_fields); ++i) {
      if (status_fields[i].key != key) continue;
      // A name may begin or end with blanks of its own; the kernel puts one tab before it.
      if (key == "Name") {
        value.remove_prefix(value.starts_with('\t') ? 1 : 0);
      } else {
        value = trim(value);
      }
      status_fields[i].parse(value, status);
      seen |= 1U << i;
    }
  }
  for (std::size_t i = 0; i < std::size(status_fields); ++i) {
    if (status_fields[i].required && (seen & (1U << i)) == 0) {
      refuse(status_fields[i].key, "no such line");
    }
  }
  return status;
}

process_stat parse_stat(std::string_view text) {
  process_stat stat;
  // The name is the only field in parentheses and may hold some itself, so the last one ends it.
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    refuse("stat", "no name in parentheses");
  }
  stat.pid = number<int>("stat pid", trim(text.substr(0, open)));
  stat.name = text.substr(open + 1, close - open - 1);
  std::string_view rest = text.substr(close + 1);
  if (rest.ends_with('\n')) rest.remove_suffix(1);
  // Field numbers are those of proc(5); the name was field 2.
  for (int field = 3; field <= 52; ++field) {
    const std::string_view value = word(rest);
    if (value.empty()) {
      if (field <= 22) refuse("stat", "too few fields");
      break;
    }
    switch (field) {
      case 3:
        stat.state = value[0];
        break;
      case 4:
        stat.ppid = number<int>("stat ppid", value);
        break;
      case 5:
        stat.group = number<int>("stat pgrp", value);
        break;
      case 6:
        stat.session = number<int>("stat session", value);
        break;
      case 22:
        stat.start_ticks = number<std::uint64_t>("stat starttime", value);
        break;
      case 52:
        stat.exit_code = number<int>("stat exit_code", value);
        break;
      default:
        break;
    }
  }
  return stat;
}

std::string parse_comm(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return std::string{text};
}

std::vector<mapping> parse_maps(std::string_view text) {
  std::vector<mapping> maps;
  while (!text.empty()) {
    const std::string_view line = take(text, '\n');
    if (!line.empty()) maps.push_back(parse_mapping(line));
  }
  return maps;
}

const mapping* find_mapping(const std::vector<mapping>& maps, std::uint64_t address) noexcept {
  for (const mapping& map : maps) {
    if (address >= map.begin && address < map.end) return &map;
  }
  return nullptr;
}

std::vector<resource_limit> parse_limits(std::string_view text) {
  std::vector<resource_limit> limits;
  take(text, '\n');  // the headings
  while (!text.empty()) {
    std::string_view line = take(text, '\n');
    if (line.empty()) continue;
    // Names hold blanks, so only the column tells where one ends: 25 wide, then a blank
    // (linux fs/proc/base.c, proc_pid_limits).
    if (line.size() < 26) refuse("limits", "a line is too short");
    resource_limit limit;
    limit.name = trim(line.substr(0, 25));
    line.remove_prefix(25);
    limit.soft = limit_value(word(line));
    limit.hard = limit_value(word(line));
    limits.push_back(std::move(limit));
  }
  return limits;
}

syscall_state parse_syscall(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  syscall_state state;
  if (trim(text) == "running") return state;
  state.number = number<long>("syscall", word(text));
  if (state.number < 0) {
    // Stopped outside any call, by a fault for example: only SP and PC follow.
    state.what = syscall_state::kind::blocked;
  } else {
    state.what = syscall_state::kind::in_call;
    for (std::uint64_t& argument : state.arguments) argument = hex("syscall", word(text));
  }
  state.sp = hex("syscall sp", word(text));
  state.pc = hex("syscall pc", word(text));
  return state;
}

std::optional<signal_set> parse_signalfd(std::string_view text) {
  while (!text.empty()) {
    std::string_view value = take(text, '\n');
    if (take(value, ':') == "sigmask") return signals("sigmask", trim(value));
  }
  return std::nullopt;
}

}  // namespace sigrun::procfs
