// SPDX-License-Identifier: Apache-2.0
#include "tool_text.hpp"

#include "procfs/read.hpp"

#include <sigrun/signal_names.hpp>

#include <getopt.h>

#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace sigrun::cmd {
namespace {

constexpr int help_id = 1000;
constexpr auto never_blocked = signal_set::of(SIGKILL, SIGSTOP);
constexpr auto of_glibc = signal_set::of(32, 33);
// Above this many members, saying what is missing is shorter.
constexpr int many = 40;

std::string quoted(std::string_view text) { return "'" + printable(text) + "'"; }

std::string list_members(signal_set set) {
  std::string text;
  int last = 0;  // end of the range that has just been written
  set.for_each([&](int signo) {
    if (signo <= last) return;
    if (!text.empty()) text += ' ';
    text += signal_name(signo);
    last = signo;
    if (signo < signal_rt_min) return;
    while (set.has(last + 1)) ++last;
    // Two neighbours are shorter as two names.
    if (last < signo + 2) {
      last = signo;
    } else {
      text += ".." + std::string{signal_name(last)};
    }
  });
  return text;
}

bool asks_for_help(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--") == 0) return false;
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-h") == 0) return true;
  }
  return false;
}

std::string explain(const procfs::error& problem) {
  if (!problem.vanished()) return problem.what();
  return std::string{problem.what()} + " (no such process, or it has just ended)";
}

}  // namespace

tool_line::tool_line(int argc, char** argv, std::initializer_list<tool_option> options)
    : argc_(argc), argv_(argv), options_(options) {
  optind = 0;  // glibc: start anew, whatever was parsed before
}

char tool_line::next() {
  std::string shorts = ":";  // report a missing argument as ':'
  std::vector<option> longs;
  for (const tool_option& o : options_) {
    longs.push_back({o.name, static_cast<int>(o.takes), nullptr, o.id});
    if (o.id <= ' ') continue;
    shorts += o.id;
    shorts.append(static_cast<std::size_t>(o.takes), ':');
  }
  longs.push_back({"help", no_argument, nullptr, help_id});
  longs.push_back({});
  opterr = 0;
  const int before = optind == 0 ? 1 : optind;
  const int found = getopt_long(argc_, argv_, shorts.c_str(), longs.data(), nullptr);
  if (found == -1) return 0;
  if (found == '?' || found == ':') {
    // optind has passed a wrong long option, but may still be at a cluster of short ones.
    const char* const word = argv_[optind > before ? optind - 1 : before];
    const bool is_long = std::strncmp(word, "--", 2) == 0;
    const std::string name = is_long || optopt == 0
                                 ? quoted(word)
                                 : "'-" + std::string(1, static_cast<char>(optopt)) + "'";
    if (found == ':') throw tool_error("option " + name + " needs an argument");
    if (is_long && std::strchr(word, '=') != nullptr) {
      throw tool_error("option " + name + " is not known, or takes no argument");
    }
    throw tool_error("option " + name + " is not known");
  }
  value_ = optarg == nullptr ? std::string_view{} : std::string_view{optarg};
  return static_cast<char>(found);
}

std::vector<std::string_view> tool_line::operands(std::initializer_list<const char*> names) const {
  std::vector<std::string_view> words(argv_ + optind, argv_ + argc_);
  if (words.size() < names.size()) {
    throw tool_error(std::string{names.begin()[words.size()]} + " is missing (see --help)");
  }
  if (words.size() > names.size()) {
    throw tool_error("one argument too many: " + quoted(words[names.size()]));
  }
  return words;
}

int run_tool(const char* name, const char* help, int argc, char** argv,
             int (*body)(int argc, char** argv)) {
  std::string why;
  try {
    if (asks_for_help(argc, argv)) {
      print(help);
      return 0;
    }
    return body(argc, argv);
  } catch (const procfs::error& problem) {
    why = explain(problem);
  } catch (const std::exception& problem) {
    why = problem.what();
  }
  std::fprintf(stderr, "sigrun %s: %s\n", name, why.c_str());
  return 2;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw tool_error("standard output cannot be written");
  }
}

int parse_id(std::string_view text, const char* what) {
  int value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  if (problem != std::errc{} || stop != end || value < 1) {
    throw tool_error(quoted(text) + " is not a " + what + ": a number from 1 to 2147483647");
  }
  return value;
}

std::chrono::milliseconds parse_time(std::string_view text, const char* option) {
  struct unit {
    std::string_view name;
    double ms;
  };
  constexpr unit units[] = {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 36e5}};
  constexpr double year_ms = 366.0 * 24 * 36e5;
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  const std::string_view rest{stop, static_cast<std::size_t>(end - stop)};
  if (problem == std::errc{}) {
    for (const unit& u : units) {
      const double ms = std::ceil(value * u.ms);
      if (rest == u.name && value > 0 && ms <= year_ms) {
        return std::chrono::milliseconds{static_cast<std::int64_t>(ms)};
      }
    }
  }
  throw tool_error(std::string{option} + ": " + quoted(text) +
                   " is not a time such as 250ms, 2s or 5m, above 0 and at most a year");
}

std::uint64_t parse_count(std::string_view text, const char* option, std::uint64_t most) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  if (problem != std::errc{} || stop != end || value < 1 || value > most) {
    throw tool_error(std::string{option} + ": " + quoted(text) + " is not a number from 1 to " +
                     std::to_string(most));
  }
  return value;
}

std::string format_set(signal_set set, bool exact) {
  if (exact) {
    std::string text;
    set.for_each(
        [&](int signo) { text += (text.empty() ? "" : " ") + std::string{signal_name(signo)}; });
    return text.empty() ? "-" : text;
  }
  constexpr signal_set ordinary = signal_set::all() - never_blocked - of_glibc;
  set &= signal_set::all() - of_glibc;
  if (set.empty()) return "-";
  if ((set & ordinary) == ordinary) return "all";
  if (set.size() > many) return "all but " + list_members(ordinary - set);
  return list_members(set);
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    // Bytes above 0x7f are left: alone they do nothing to a UTF-8 terminal.
    if (byte >= ' ' && byte != 0x7f) {
      out += c;
    } else {
      constexpr char digits[] = "0123456789abcdef";
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines{""};
  while (!text.empty()) {
    const std::size_t at = text.find(' ');
    const std::string_view word = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) {
      lines.emplace_back();
    }
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

std::string_view state_word(char state) noexcept {
  switch (state) {
    case 'R':
      return "running";
    case 'S':
      return "sleeping";
    case 'D':
      return "uninterruptible";
    case 'T':
      return "stopped";
    case 't':
      return "traced";
    case 'Z':
      return "zombie";
    case 'X':
      return "dead";
    case 'I':
      return "idle";
    default:
      return "unknown";
  }
}

std::string no_such_process(int pid) { return "no process has the id " + std::to_string(pid); }

}  // namespace sigrun::cmd
