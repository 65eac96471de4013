// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks a function that runs between clone and execve. The child shares its parent's memory and
/// does not return from execve: a sanitizer would leave its marks for that frame in the parent's
/// shadow. Such a function has no arrays and calls only the kernel or its like.
#if defined(__clang__)
#define SIGRUN_IN_CHILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#else
#define SIGRUN_IN_CHILD \
  __attribute__((noinline, no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))
#endif
