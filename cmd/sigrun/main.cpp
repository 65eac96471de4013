// SPDX-License-Identifier: Apache-2.0
//
// The command. Nothing is done before the subcommand is chosen: as an init, start-up time counts.
#include "subcommands.hpp"

#include "run_compat.hpp"
#include "run_text.hpp"

#include <cstring>

namespace sigrun::cmd {
namespace {

constexpr subcommand subcommands[] = {
    {"run", run_main, "run a program under an init: forward signals, reap, journal"},
    {"ps", ps_main, "show what each thread of a process blocks, ignores, catches, has pending"},
    {"doctor", doctor_main, "explain in words what is wrong with a process's signals"},
    {"send", send_main, "send a signal, with a value, to a process, thread or group"},
    {"watch", watch_main, "follow the signal state of a process"},
    {"lab", lab_main, "experiments: how signals get lost, and what holds in a storm"},
    {"dump", dump_main, "show every goroutine of a living program that offers it"},
    {"crash", crash_main, "show a crash report, with names; compare two"},
};

void print_help(int fd) {
  text_line out(fd);
  out.add("Usage: sigrun COMMAND [ARGUMENTS]\n\nCommands:\n");
  for (const subcommand& row : subcommands) {
    if (row.run == nullptr) continue;
    out.add("  ").add(row.name);
    for (std::size_t width = std::strlen(row.name); width < 8; ++width) out.add(" ");
    out.add(row.summary).add("\n");
  }
  out.add(
      "\n`sigrun COMMAND --help` explains one. Called as `tini`, `docker-init` or `dumb-init`, it\n"
      "takes their command lines.\n");
}

int main_of(int argc, char** argv) {
  if (argc < 1) return 125;
  const char* slash = std::strrchr(argv[0], '/');
  const char* name = slash != nullptr ? slash + 1 : argv[0];
  if (std::strcmp(name, "tini") == 0 || std::strcmp(name, "tini-static") == 0 ||
      std::strcmp(name, "docker-init") == 0) {
    return tini_main(argc, argv);
  }
  if (std::strcmp(name, "dumb-init") == 0) return dumb_init_main(argc, argv);
  if (argc < 2) {
    print_help(2);
    return 125;
  }
  const char* word = argv[1];
  for (const subcommand& row : subcommands) {
    if (row.run != nullptr && std::strcmp(word, row.name) == 0) return row.run(argc - 1, argv + 1);
  }
  if (std::strcmp(word, "--help") == 0 || std::strcmp(word, "-h") == 0 ||
      std::strcmp(word, "help") == 0) {
    print_help(1);
    return 0;
  }
  if (std::strcmp(word, "--version") == 0 || std::strcmp(word, "-V") == 0) {
    text_line(1).add("sigrun " SIGRUN_VERSION "\n");
    return 0;
  }
  text_line(2).add("sigrun: no command '").add(word).add("' (see sigrun --help)\n");
  return 125;
}

}  // namespace
}  // namespace sigrun::cmd

int main(int argc, char** argv) { return sigrun::cmd::main_of(argc, argv); }
