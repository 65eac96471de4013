// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/signal_safe.hpp"

namespace sigrun::base {

/// Ends the process by SIGABRT after writing "sigrun: <what>" to fd 2 with one write(2).
[[noreturn]] SIGRUN_SIGNAL_SAFE void fail(const char* what) noexcept;

/// States what this library itself must have made true; kept in every build type. `what` is a
/// constant, because nothing may be formatted here.
SIGRUN_SIGNAL_SAFE inline void expect(bool holds, const char* what) noexcept {
  if (!holds) [[unlikely]]
    fail(what);
}

}  // namespace sigrun::base
