// SPDX-License-Identifier: Apache-2.0
//
// Waiting for one child, and for those that nobody waits for.
//
// The reaper is a thread named sigrun-reaper with every signal blocked. It runs while there is a
// child to reap and ends with the last one.
//
//   orphan is      means                              next, and who moves it
//   handed over    in the list, its pidfd in epoll    reaped (reaper)
//   stranded       no thread or epoll fd was to be    handed over, or reaped (the next hand_over)
//                  had; only in the list
//   reaped         no longer in the list
//
// Invariants:
//  (1) Every child in the list is waited for by pidfd, never by "any child": the status of a child
//      of somebody else is never taken.
//  (2) The list is bounded by the fds and processes this process may have: each entry holds one
//      of either.
#pragma once

#include <sigrun/process.hpp>

namespace sigrun::process {

/// waitid(2) for just this child. Returns 0 and fills `status` (if given) when it has ended,
/// -EAGAIN when `options` says WNOHANG and it has not, else a negated errno.
long wait_for_end(int pid, int pidfd, int options, exit_status* status) noexcept;

/// Takes the child and its pidfd over. Never blocks, never fails.
void hand_over(int pid, int pidfd) noexcept;

}  // namespace sigrun::process
