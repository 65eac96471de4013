// SPDX-License-Identifier: Apache-2.0
#include "run_compat.hpp"

#include "run_loop.hpp"
#include "run_sys.hpp"
#include "run_text.hpp"

#include <sigrun/signal_names.hpp>

#include <getopt.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sigrun::cmd {
namespace {

// The release whose behaviour this is; scripts and container engines read it from here.
constexpr std::string_view tini_version = "tini version 0.19.0";
constexpr std::string_view dumb_init_version = "1.2.5";

const char* base_name(const char* path) noexcept {
  const char* const slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

void tini_usage(const char* argv0, int fd) noexcept {
  const char* const name = base_name(argv0);
  text_line out(fd);
  out.add(name).add(" (").add(tini_version).add(")\n");
  out.add("Usage: ").add(name).add(" [OPTIONS] PROGRAM -- [ARGS] | --version\n\n");
  out.add("Execute a program under the supervision of a valid init process (")
      .add(name)
      .add(")\n\n");
  out.add(
      "Command line options:\n\n"
      "  --version: Show version and exit.\n"
      "  -h: Show this help message and exit.\n"
      "  -s: Register as a process subreaper (requires Linux >= 3.4).\n"
      "  -p SIGNAL: Trigger SIGNAL when parent dies, e.g. \"-p SIGKILL\".\n"
      "  -v: Generate more verbose output. Repeat up to 3 times.\n"
      "  -w: Print a warning when processes are getting reaped.\n"
      "  -g: Send signals to the child's process group.\n"
      "  -e EXIT_CODE: Remap EXIT_CODE (from 0 to 255) to 0.\n"
      "  -l: Show license and exit.\n\n"
      "Environment variables:\n\n"
      "  TINI_SUBREAPER: Register as a process subreaper (requires Linux >= 3.4).\n"
      "  TINI_VERBOSITY: Set the verbosity level (default: 1).\n"
      "  TINI_KILL_PROCESS_GROUP: Send signals to the child's process group.\n\n");
}

void tini_license(int fd) noexcept {
  text_line(fd).add(
      "This is sigrun " SIGRUN_VERSION
      ", called as tini.\n\n"
      "Licensed under the Apache License, Version 2.0 (the \"License\"); you may not use it "
      "except\n"
      "in compliance with the License. You may obtain a copy of the License at\n\n"
      "    http://www.apache.org/licenses/LICENSE-2.0\n\n"
      "Unless required by applicable law or agreed to in writing, software distributed under the\n"
      "License is distributed on an \"AS IS\" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY "
      "KIND,\n"
      "either express or implied.\n");
}

int tini_bad_value(const char* option, const char* value) noexcept {
  text_line(2)
      .add("[FATAL tini (")
      .add(sys::getpid())
      .add(")] Not a valid option for ")
      .add(option)
      .add(": ")
      .add(value)
      .add("\n");
  return 1;
}

// tini knows the standard signals by their full names, and not these three.
int tini_signal(const char* name) noexcept {
  for (int signo = 1; signo < 32; ++signo) {
    if (signo == SIGSTKFLT || signo == SIGIO || signo == SIGPWR) continue;
    if (signal_name(signo) == name) return signo;
  }
  return 0;
}

bool add_tini_exit_code(run_options& options, const char* text) noexcept {
  char* end = nullptr;
  const long code = std::strtol(text, &end, 10);
  if (*end != '\0' || code < 0 || code > 255) return false;
  options.exit_code[code] = 0;
  return true;
}

// -1: go on; else the exit code to end with.
int parse_tini(run_options& options, int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    text_line(1).add(tini_version).add("\n");
    return 0;
  }
  // The C library's getopt() as tini uses it: permutation, POSIXLY_CORRECT, error texts.
  for (int option; (option = ::getopt(argc, argv, "p:hvwgle:s")) != -1;) {
    switch (option) {
      case 'h':
        tini_usage(argv[0], 1);
        return 0;
      case 's':
        options.subreaper = true;
        break;
      case 'p':
        options.parent_death_signal = tini_signal(optarg);
        if (options.parent_death_signal == 0) return tini_bad_value("-p", optarg);
        break;
      case 'v':
        ++options.verbosity;
        break;
      case 'w':
        options.warn_on_reap = true;
        break;
      case 'g':
        options.signal_group = true;
        break;
      case 'e':
        if (!add_tini_exit_code(options, optarg)) return tini_bad_value("-e", optarg);
        break;
      case 'l':
        tini_license(1);
        return 0;
      default:
        tini_usage(argv[0], 2);
        return 1;
    }
  }
  if (optind >= argc) {
    tini_usage(argv[0], 2);
    return 1;
  }
  return -1;
}

void dumb_init_help(const char* argv0) noexcept {
  text_line(2)
      .add("dumb-init v")
      .add(dumb_init_version)
      .add("\nUsage: ")
      .add(argv0)
      .add(
          " [option] command [[arg] ...]\n\n"
          "dumb-init is a simple process supervisor that forwards signals to children.\n"
          "It is designed to run as PID1 in minimal container environments.\n\n"
          "Optional arguments:\n"
          "   -c, --single-child   Run in single-child mode.\n"
          "                        In this mode, signals are only proxied to the\n"
          "                        direct child and not any of its descendants.\n"
          "   -r, --rewrite s:r    Rewrite received signal s to new signal r before proxying.\n"
          "                        To ignore (not proxy) a signal, rewrite it to 0.\n"
          "                        This option can be specified multiple times.\n"
          "   -v, --verbose        Print debugging information to stderr.\n"
          "   -h, --help           Print this help message and exit.\n"
          "   -V, --version        Print the current version and exit.\n\n"
          "Full help is available online at https://github.com/Yelp/dumb-init\n");
}

bool add_dumb_init_rewrite(run_options& options, bool (&given)[32], const char* text) noexcept {
  int from = 0;
  int to = 0;
  if (std::sscanf(text, "%d:%d", &from, &to) != 2 || from < 1 || from > 31 || to < 0 || to > 31) {
    text_line(2).add(
        "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.\n"
        "This option can be specified multiple times.\n"
        "Use --help for full usage.\n");
    return false;
  }
  options.rewrite[from] = static_cast<std::uint8_t>(to);
  given[from] = true;
  return true;
}

int parse_dumb_init(run_options& options, bool (&given)[32], int argc, char** argv) {
  static constexpr option long_options[] = {
      {"help", no_argument, nullptr, 'h'},          {"single-child", no_argument, nullptr, 'c'},
      {"rewrite", required_argument, nullptr, 'r'}, {"verbose", no_argument, nullptr, 'v'},
      {"version", no_argument, nullptr, 'V'},       {nullptr, 0, nullptr, 0}};
  for (int option; (option = ::getopt_long(argc, argv, "+hvVr:c", long_options, nullptr)) != -1;) {
    switch (option) {
      case 'h':
        dumb_init_help(argv[0]);
        return 0;
      case 'v':
        options.verbosity = 1;
        break;
      case 'V':
        text_line(2).add("dumb-init v").add(dumb_init_version).add("\n");
        return 0;
      case 'c':
        options.own_session = false;
        break;
      case 'r':
        if (!add_dumb_init_rewrite(options, given, optarg)) return 1;
        break;
      default:
        return 1;
    }
  }
  if (optind >= argc) {
    text_line(2)
        .add("Usage: ")
        .add(argv[0])
        .add(" [option] program [args]\nTry ")
        .add(argv[0])
        .add(" --help for full usage.\n");
    return 1;
  }
  return -1;
}

void read_dumb_init_environment(run_options& options) {
  if (const char* text = std::getenv("DUMB_INIT_DEBUG");
      text != nullptr && std::strcmp(text, "1") == 0) {
    options.verbosity = 1;
    text_line(2).add("[dumb-init] Running in debug mode.\n");
  }
  if (const char* text = std::getenv("DUMB_INIT_SETSID");
      text != nullptr && std::strcmp(text, "0") == 0) {
    options.own_session = false;
    if (options.verbosity > 0) text_line(2).add("[dumb-init] Not running in setsid mode.\n");
  }
}

}  // namespace

int tini_main(int argc, char** argv) {
  run_options options;
  options.style = run_style::tini;
  options.subreaper = false;
  options.verbosity = 1;
  if (const int code = parse_tini(options, argc, argv); code >= 0) return code;
  if (std::getenv("TINI_SUBREAPER") != nullptr) options.subreaper = true;
  if (std::getenv("TINI_KILL_PROCESS_GROUP") != nullptr) options.signal_group = true;
  if (const char* text = std::getenv("TINI_VERBOSITY"); text != nullptr) {
    options.verbosity = std::atoi(text);
  }
  options.program = argv + optind;
  return run_program(options);
}

int dumb_init_main(int argc, char** argv) {
  run_options options;
  options.style = run_style::dumb_init;
  options.subreaper = false;
  options.own_session = true;
  bool given[32] = {};
  if (const int code = parse_dumb_init(options, given, argc, argv); code >= 0) return code;
  read_dumb_init_environment(options);
  options.signal_group = options.own_session;
  if (options.own_session) {
    // A session of its own has an orphaned group, where only SIGSTOP stops.
    for (const int signo : {SIGTSTP, SIGTTIN, SIGTTOU}) {
      if (!given[signo]) options.rewrite[signo] = SIGSTOP;
    }
  }
  options.program = argv + optind;
  return run_program(options);
}

}  // namespace sigrun::cmd
