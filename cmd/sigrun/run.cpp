// SPDX-License-Identifier: Apache-2.0
//
// `sigrun run`: its command line.
#include "run_loop.hpp"
#include "run_text.hpp"
#include "subcommands.hpp"

#include <sigrun/signal_names.hpp>

#include <csignal>
#include <cstring>

namespace sigrun::cmd {
namespace {

constexpr int usage_error = 125;  // as env(1), nice(1), timeout(1): the runner's own failures

enum class wanted : std::uint8_t { nothing, value };

struct option_name {
  char letter;  // 0: none
  const char* word;
  wanted argument;
  char id;  // what apply() sees
};

constexpr option_name names[] = {
    {'g', "group", wanted::nothing, 'g'},     {'c', "child", wanted::nothing, 'c'},
    {'s', "subreaper", wanted::nothing, 's'}, {0, "no-subreaper", wanted::nothing, 'S'},
    {0, "session", wanted::nothing, 'n'},     {'r', "rewrite", wanted::value, 'r'},
    {'e', "map-exit", wanted::value, 'e'},    {'p', "parent-death", wanted::value, 'p'},
    {'t', "grace", wanted::value, 't'},       {'j', "journal", wanted::value, 'j'},
    {'w', "wait-all", wanted::nothing, 'w'},  {'d', "die-by-signal", wanted::nothing, 'd'},
    {0, "tty", wanted::nothing, 'y'},         {0, "no-tty", wanted::nothing, 'Y'},
    {'v', "verbose", wanted::nothing, 'v'},   {'h', "help", wanted::nothing, 'h'},
    {'V', "version", wanted::nothing, 'V'}};

constexpr std::string_view help =
    "Usage: sigrun run [OPTIONS] [--] PROGRAM [ARGUMENTS]\n\n"
    "Runs PROGRAM under an init: every signal is passed on, real-time ones with their value,\n"
    "orphans are reaped, and the exit code is PROGRAM's own, or 128 + N if signal N killed it.\n\n"
    "  -g, --group            pass signals to PROGRAM's process group\n"
    "  -c, --child            pass them to PROGRAM alone (the default)\n"
    "  -r, --rewrite FROM:TO  pass FROM on as TO, names or numbers; TO 0 drops it; repeatable\n"
    "  -e, --map-exit CODE[:TO]\n"
    "                         exit with TO (0) where it would be CODE, a number or a signal;\n"
    "                         repeatable\n"
    "  -d, --die-by-signal    if a signal kills PROGRAM, die by the same one\n"
    "  -t, --grace SECONDS    SIGKILL the group this long after the first TERM, INT or QUIT\n"
    "  -w, --wait-all         wait for every other process too, before exiting\n"
    "  -p, --parent-death SIG receive SIG when the runner's parent dies\n"
    "  -s, --subreaper        adopt orphans (the default; a PID 1 always does)\n"
    "      --no-subreaper     leave orphans to the next reaper up\n"
    "      --session          give PROGRAM a session of its own, without the terminal\n"
    "      --tty              make PROGRAM's group the terminal's foreground group\n"
    "                         (the default where the runner's own group is it)\n"
    "      --no-tty           never do that\n"
    "  -j, --journal FILE     append one JSON line per signal and child event to FILE\n"
    "  -v, --verbose          say on stderr what is done\n"
    "  -h, --help             print this and exit\n"
    "  -V, --version          print the version and exit\n\n"
    "Exit codes of its own: 127 no such program, 126 it cannot be executed, 125 wrong usage or\n"
    "the runner's own failure.\n";

text_line& complain(text_line& line) noexcept { return line.add("sigrun run: "); }

int bad_value(const char* option, const char* value, const char* expected) noexcept {
  text_line line(2);
  complain(line)
      .add("bad value '")
      .add(value)
      .add("' for --")
      .add(option)
      .add(": ")
      .add(expected)
      .add("\n");
  return usage_error;
}

// A number of 0..limit made of all of `text`; -1 for anything else.
int whole_number(std::string_view text, int limit) noexcept {
  if (text.empty() || text.size() > 9) return -1;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value <= limit ? value : -1;
}

// Seconds with up to nine decimals, at most 10^9 of them; -1 for anything else.
std::int64_t duration_ns(std::string_view text) noexcept {
  const std::size_t point = text.find('.');
  const std::string_view whole(text.data(), point == text.npos ? text.size() : point);
  const int seconds = whole_number(whole, 999'999'999);
  if (seconds < 0) return -1;
  std::int64_t ns = 0;
  if (point != text.npos) {
    std::string_view decimals(text.data() + point + 1, text.size() - point - 1);
    const int value = whole_number(decimals, 999'999'999);
    if (value < 0) return -1;
    ns = value;
    for (std::size_t digits = decimals.size(); digits < 9; ++digits) ns *= 10;
  }
  return std::int64_t{seconds} * 1'000'000'000 + ns;
}

int add_rewrite(run_options& options, const char* value) noexcept {
  const char* const colon = std::strchr(value, ':');
  if (colon == nullptr) return bad_value("rewrite", value, "FROM:TO");
  const std::string_view from(value, static_cast<std::size_t>(colon - value));
  const std::string_view to(colon + 1);
  const int taken = parse_signal(from);
  const int sent = to == "0" ? 0 : parse_signal(to);
  if (taken == 0) return bad_value("rewrite", value, "FROM is no signal");
  if (sent == 0 && to != "0") return bad_value("rewrite", value, "TO is no signal and not 0");
  if (taken == SIGKILL || taken == SIGSTOP) {
    return bad_value("rewrite", value, "no process can catch SIGKILL or SIGSTOP");
  }
  options.rewrite[taken] = static_cast<std::uint8_t>(sent);
  return -1;
}

int add_exit(run_options& options, const char* value) noexcept {
  const char* const colon = std::strchr(value, ':');
  const std::string_view from(
      value, colon != nullptr ? static_cast<std::size_t>(colon - value) : std::strlen(value));
  int code = whole_number(from, 255);
  if (code < 0) {
    // By its name, a signal stands for the death by it.
    const int signo = from.empty() || (from[0] >= '0' && from[0] <= '9') ? 0 : parse_signal(from);
    if (signo == 0) return bad_value("map-exit", value, "CODE is not 0..255, nor a signal's name");
    code = 128 + signo;
  }
  const int to = colon != nullptr ? whole_number(colon + 1, 255) : 0;
  if (to < 0) return bad_value("map-exit", value, "TO is not 0..255");
  options.exit_code[code] = static_cast<std::uint8_t>(to);
  options.exit_code_given[code] = true;
  return -1;
}

// -1: go on; else the exit code to end with.
int apply(run_options& options, char id, const char* value) noexcept {
  switch (id) {
    case 'g':
      options.signal_group = true;
      break;
    case 'c':
      options.signal_group = false;
      break;
    case 's':
      options.subreaper = true;
      break;
    case 'S':
      options.subreaper = false;
      break;
    case 'n':
      options.own_session = true;
      break;
    case 'r':
      return add_rewrite(options, value);
    case 'e':
      return add_exit(options, value);
    case 'p':
      options.parent_death_signal = parse_signal(value);
      if (options.parent_death_signal == 0) return bad_value("parent-death", value, "no signal");
      break;
    case 't':
      options.grace_ns = duration_ns(value);
      if (options.grace_ns < 0) return bad_value("grace", value, "not a number of seconds");
      break;
    case 'j':
      options.journal = value;
      break;
    case 'w':
      options.wait_all = true;
      break;
    case 'd':
      options.die_by_signal = true;
      break;
    case 'y':
      options.tty = tty_choice::always;
      break;
    case 'Y':
      options.tty = tty_choice::never;
      break;
    case 'v':
      ++options.verbosity;
      break;
    case 'h':
      text_line(1).add(help);
      return 0;
    default:
      text_line(1).add("sigrun " SIGRUN_VERSION "\n");
      return 0;
  }
  return -1;
}

const option_name* by_word(std::string_view word) noexcept {
  for (const option_name& name : names) {
    if (word == name.word) return &name;
  }
  return nullptr;
}

const option_name* by_letter(char letter) noexcept {
  for (const option_name& name : names) {
    if (name.letter != 0 && name.letter == letter) return &name;
  }
  return nullptr;
}

int unknown(std::string_view option) noexcept {
  text_line line(2);
  complain(line).add("unknown option '").add(option).add("' (see sigrun run --help)\n");
  return usage_error;
}

int no_value(const option_name& name) noexcept {
  text_line line(2);
  complain(line).add("option '--").add(name.word).add("' needs a value\n");
  return usage_error;
}

// `at` is the index of an argument that begins with "--" and is longer; moved past what is used.
int parse_word(run_options& options, int argc, char** argv, int& at) noexcept {
  const std::string_view argument(argv[at]);
  const char* const equals = std::strchr(argv[at], '=');
  const std::size_t end =
      equals != nullptr ? static_cast<std::size_t>(equals - argv[at]) : argument.size();
  const std::string_view word(argument.data() + 2, end - 2);
  const option_name* const name = by_word(word);
  if (name == nullptr) return unknown({argument.data(), end});
  const char* value = equals != nullptr ? equals + 1 : nullptr;
  if (name->argument == wanted::nothing && value != nullptr) {
    text_line line(2);
    complain(line).add("option '--").add(word).add("' takes no value\n");
    return usage_error;
  }
  if (name->argument == wanted::value && value == nullptr) {
    if (at + 1 >= argc) return no_value(*name);
    value = argv[++at];
  }
  ++at;
  return apply(options, name->id, value);
}

// The same for "-abc": letters may share a dash, and the last may have its value attached.
int parse_letters(run_options& options, int argc, char** argv, int& at) noexcept {
  const char* letter = argv[at] + 1;
  while (*letter != '\0') {
    const option_name* const name = by_letter(*letter);
    if (name == nullptr) {
      const char text[] = {'-', *letter};
      return unknown({text, 2});
    }
    const char* value = nullptr;
    ++letter;
    if (name->argument == wanted::value) {
      if (*letter != '\0') {
        value = letter;
        letter = "";
      } else if (at + 1 < argc) {
        value = argv[++at];
      } else {
        return no_value(*name);
      }
    }
    if (const int code = apply(options, name->id, value); code >= 0) return code;
  }
  ++at;
  return -1;
}

}  // namespace

int run_main(int argc, char** argv) {
  run_options options;
  int at = 1;
  while (at < argc && argv[at][0] == '-' && argv[at][1] != '\0') {
    if (std::strcmp(argv[at], "--") == 0) {
      ++at;
      break;
    }
    const int code = argv[at][1] == '-' ? parse_word(options, argc, argv, at)
                                        : parse_letters(options, argc, argv, at);
    if (code >= 0) return code;
  }
  if (at >= argc) {
    text_line line(2);
    complain(line).add("no program given (see sigrun run --help)\n");
    return usage_error;
  }
  options.program = argv + at;
  return run_program(options);
}

}  // namespace sigrun::cmd
