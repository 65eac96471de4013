// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun::go_detail {

/// Writes what each goroutine waits for and ends the process with status 2, as Go does
/// (runtime/proc.go, checkdead).
[[noreturn]] void report_deadlock();

}  // namespace sigrun::go_detail
