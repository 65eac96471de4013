// SPDX-License-Identifier: Apache-2.0
//
// The subcommands of `sigrun`, one file (or family of files) each. A subcommand is a function
// NAME_main, declared here and listed with its summary in main.cpp's table.
#pragma once

namespace sigrun::cmd {

struct subcommand {
  const char* name;
  /// argv[0] is the subcommand's own name, argv[1] its first argument; argv[argc] is null. The
  /// result is the process's exit code.
  int (*run)(int argc, char** argv);
  const char* summary;  // one line for `sigrun --help`
};

// Weak: a build that leaves one of these out has no row for it, in the help neither.
[[gnu::weak]] int run_main(int argc, char** argv);
[[gnu::weak]] int ps_main(int argc, char** argv);
[[gnu::weak]] int doctor_main(int argc, char** argv);
[[gnu::weak]] int send_main(int argc, char** argv);
[[gnu::weak]] int watch_main(int argc, char** argv);
[[gnu::weak]] int lab_main(int argc, char** argv);
[[gnu::weak]] int crash_main(int argc, char** argv);
[[gnu::weak]] int dump_main(int argc, char** argv);

}  // namespace sigrun::cmd
