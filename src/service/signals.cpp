// SPDX-License-Identifier: Apache-2.0
#include "service/signals.hpp"

#include <sigrun/signal_names.hpp>

#include <csignal>
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

signal_set subscribe(const signal_chan& to, const std::vector<int>& signals,
                     std::string_view options) {
  const signal_set wanted = set_of(signals, options);
  const signal_set background = wanted & signal_set::of(SIGINT, SIGHUP);
  notify_options respectful;
  respectful.respect_inherited_ignore = true;
  if (!background.empty()) notify(to, background, respectful);
  if (!(wanted - background).empty()) notify(to, wanted - background);
  return wanted;
}

std::string describe_sender(const signal_event& event) {
  return std::string(signal_name(event.signo)) + " from pid " + std::to_string(event.pid) +
         " (uid " + std::to_string(event.uid) + ")";
}

}  // namespace sigrun::service
