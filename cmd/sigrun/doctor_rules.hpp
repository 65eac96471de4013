// SPDX-License-Identifier: Apache-2.0
//
// What can be wrong with a process's signals, as seen from outside. Pure: a look at a process in,
// findings out, so that every rule is tested without a process.
#pragma once

#include "procfs/process.hpp"

#include <sigrun/signal_set.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::cmd {

enum class severity {
  note,     ///< worth knowing, and often meant
  warning,  ///< goes wrong when a certain signal comes
  error,    ///< is going wrong now
};
std::string_view to_string(severity how_bad) noexcept;

struct finding {
  std::string_view id;  // never changes; docs/doctor.md has a section for each
  severity how_bad = severity::note;
  signal_set signals;
  std::vector<int> tids;
  std::string text;                   // what is wrong
  std::string why;                    // what follows from it
  std::vector<std::string> evidence;  // where it can be seen
  std::string advice;
};

struct doctor_input {
  procfs::process_view view;  // the steady one of several looks
  std::vector<procfs::zombie> zombies;
  int looks = 1;
  std::chrono::milliseconds span{0};  // from the first look to the last
};

/// All findings, the worst first.
std::vector<finding> diagnose(const doctor_input& input);

}  // namespace sigrun::cmd
