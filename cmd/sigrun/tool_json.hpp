// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tool_text.hpp"

#include <sigrun/signal_names.hpp>

#include <nlohmann/json.hpp>

#include <string>

namespace sigrun::cmd {

using json = nlohmann::ordered_json;

/// The members by name. Nothing is left out, glibc's own neither.
inline json set_json(signal_set set) {
  json names = json::array();
  set.for_each([&](int signo) { names.push_back(signal_name(signo)); });
  return names;
}

/// One document on standard output; names that are not UTF-8 have their bytes replaced.
inline void print_json(const json& document, int indent) {
  print(document.dump(indent, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace sigrun::cmd
