// SPDX-License-Identifier: Apache-2.0
#include "service/signals.hpp"

#include <sigrun/signal_names.hpp>

#include <stdexcept>

namespace sigrun::service {

signal_set set_of(const std::vector<int>& signals, std::string_view options) {
  signal_set wanted;
  for (const int signo : signals) {
    if (!signal_set::valid(signo)) {
      throw std::invalid_argument("sigrun::" + std::string(options) + ": signals has " +
                                  std::to_string(signo) + ", which is no signal");
    }
    wanted |= signal_set::of(signo);
  }
  return wanted;
}

std::string describe_sender(const signal_event& event) {
  return std::string(signal_name(event.signo)) + " from pid " + std::to_string(event.pid) +
         " (uid " + std::to_string(event.uid) + ")";
}

}  // namespace sigrun::service
