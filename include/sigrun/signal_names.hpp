// SPDX-License-Identifier: Apache-2.0
//
// Names of signals and of what brought them about.
#pragma once

#include <sigrun/signal_event.hpp>

#include <string_view>

namespace sigrun {

/// "SIGTERM"; "SIGRTMIN+3" for real-time signals (counted from 34, as glibc does); "SIG32" and
/// "SIG33" for glibc's own; "SIG?" for what is no signal. Static storage; safe in a handler.
std::string_view signal_name(int signo) noexcept;

/// Understands "TERM", "SIGTERM" (in any case), "15", "RTMIN", "SIGRTMIN+3", "RTMAX-2". Returns 0
/// for anything else, "0" and numbers above 64 included. Safe in a handler.
int parse_signal(std::string_view text) noexcept;

/// What the default action of a signal is (signal(7)). Safe in a handler.
enum class default_action { terminate, core, ignore, stop, resume };
default_action signal_default_action(int signo) noexcept;

/// "SI_USER", "CLD_EXITED", "SEGV_MAPERR", …; "?" for an unknown pair. Static storage.
std::string_view signal_code_name(int signo, int code) noexcept;

std::string_view to_string(signal_origin origin) noexcept;
std::string_view to_string(signal_cause cause) noexcept;

}  // namespace sigrun
