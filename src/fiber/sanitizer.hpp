// SPDX-License-Identifier: Apache-2.0
//
// Which tools watch this build, and their interfaces for stack switching.
#pragma once

#if defined(__has_feature)
#define SIGRUN_HAS_FEATURE(name) __has_feature(name)
#else
#define SIGRUN_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SIGRUN_HAS_FEATURE(address_sanitizer)
#define SIGRUN_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define SIGRUN_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || SIGRUN_HAS_FEATURE(thread_sanitizer)
#define SIGRUN_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define SIGRUN_TSAN 0
#endif
