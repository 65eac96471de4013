// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun::fault {

/// The `nth` call (from 1) of system call `number` from now on returns -error, once. 0: none.
void fail(long number, int nth, int error) noexcept;

/// Called before every system call from now on with its number and first two arguments, perhaps in
/// a handler. nullptr: nothing.
void watch(void (*look)(long number, long a, long b)) noexcept;

/// How often the planned call has been made since fail().
int calls() noexcept;

}  // namespace sigrun::fault
