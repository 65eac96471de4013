// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun::sched {

/// True: run() waits, every goroutine is blocked, no timer is set, no descriptor is registered, and
/// the process has no thread that is not ours. Nothing can happen any
/// more. (Go: runtime/proc.go, checkdead.)
bool all_asleep_for_ever() noexcept;

}  // namespace sigrun::sched
