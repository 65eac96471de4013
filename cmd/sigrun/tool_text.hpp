// SPDX-License-Identifier: Apache-2.0
//
// What `ps`, `doctor`, `send` and `watch` share: options, numbers, sets of signals as text.
#pragma once

#include <sigrun/signal_set.hpp>

#include <chrono>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::cmd {

/// What the user asked for cannot be done; the text says what and why. Exit code 2.
class tool_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class argument { none, required, optional };

struct tool_option {
  char id;           // what next() returns; also its short form, unless it is below ' '
  const char* name;  // without the dashes
  argument takes = argument::none;
};

/// The command line of one tool, read with getopt_long(3). Every tool also has --help.
class tool_line {
 public:
  tool_line(int argc, char** argv, std::initializer_list<tool_option> options);
  /// The next option's id, 0 after the last one. Throws tool_error that names a wrong one.
  char next();
  /// The argument of the option that next() returned; empty when it has none.
  std::string_view value() const noexcept { return value_; }
  /// What is left after the options. Throws tool_error unless it is exactly as many words as
  /// `names` has, and names the first that is missing or one too many.
  std::vector<std::string_view> operands(std::initializer_list<const char*> names) const;

 private:
  int argc_;
  char** argv_;
  std::vector<tool_option> options_;
  std::string_view value_;
};

/// Runs `body` and turns what it throws into one line on stderr and exit code 2. A `--help` among
/// the options prints `help`.
int run_tool(const char* name, const char* help, int argc, char** argv,
             int (*body)(int argc, char** argv));

/// Writes to standard output at once. Throws tool_error when it cannot be written.
void print(std::string_view text);

/// A number from 1 up. Throws tool_error that quotes the text and says `what` it should have been.
int parse_id(std::string_view text, const char* what);
/// "250ms", "2s", "5m", "1.5s", or seconds without a unit; above 0 and at most a year.
std::chrono::milliseconds parse_time(std::string_view text, const char* option);
/// A whole number within a range, for options.
std::uint64_t parse_count(std::string_view text, const char* option, std::uint64_t most);

/// "SIGINT SIGTERM SIGRTMIN..SIGRTMIN+5", "all but SIGTERM", "all", or "-". glibc's own 32 and 33
/// and what cannot be blocked appear only with `exact`, which also spells out every member.
std::string format_set(signal_set set, bool exact = false);

/// Bytes that a terminal would obey, as \xNN: names of threads are chosen by strangers.
std::string printable(std::string_view text);

/// Lines of at most `width` columns, broken at blanks; a longer word has a line of its own.
std::vector<std::string> wrap(std::string_view text, std::size_t width);

/// "sleeping" for 'S' and so on (proc(5)).
std::string_view state_word(char state) noexcept;

/// "no such process" instead of the kernel's word for a path that is not there.
std::string no_such_process(int pid);

}  // namespace sigrun::cmd
