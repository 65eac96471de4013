// SPDX-License-Identifier: Apache-2.0
//
// What the parts that wait for signals have in common.
#pragma once

#include <sigrun/signal.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace sigrun::service {

/// `signals` as a set. Throws std::invalid_argument for a number that is no signal: refused by
/// name, with the `options` it stood in, rather than silently not in the set.
signal_set set_of(const std::vector<int>& signals, std::string_view options);

/// Has `to` receive `signals`, and returns them. SIGHUP and SIGINT only where they were not
/// ignored when the program started: who starts it in the background, or by nohup(1), says so.
signal_set subscribe(const signal_chan& to, const std::vector<int>& signals,
                     std::string_view options);

/// "SIGHUP from pid 42 (uid 0)".
std::string describe_sender(const signal_event& event);

}  // namespace sigrun::service
