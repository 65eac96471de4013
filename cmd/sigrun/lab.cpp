// SPDX-License-Identifier: Apache-2.0
//
// `sigrun lab`: how signals get lost, and what holds when everything happens at once.
#include "lab.hpp"

#include "subcommands.hpp"
#include "tool_text.hpp"

#include <string>
#include <string_view>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun lab EXPERIMENT [OPTIONS]\n"
    "Experiments on signals, with books that say what became of each.\n"
    "\n"
    "  loss     five ways to lose a signal, and three repairs of each\n"
    "  storm    everything at once, and the books of what became of each signal\n"
    "\n"
    "`sigrun lab EXPERIMENT --help` explains one.\n";

struct entry {
  std::string_view name;
  int (*run)(int argc, char** argv);
};
constexpr entry experiments[] = {
    {"loss", lab::loss_main}, {"storm", lab::storm_main}, {"burst", lab::burst_main}};

// Reached when no experiment was named, or none that there is.
int body(int argc, char** argv) {
  if (argc < 2) throw tool_error("EXPERIMENT is missing (see --help)");
  throw tool_error("no experiment '" + printable(argv[1]) + "' (see --help)");
}

}  // namespace

int lab_main(int argc, char** argv) {
  for (const entry& row : experiments) {
    if (argc >= 2 && row.name == argv[1]) return row.run(argc - 1, argv + 1);
  }
  return run_tool("lab", help, argc, argv, body);
}

}  // namespace sigrun::cmd
