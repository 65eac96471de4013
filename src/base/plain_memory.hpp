// SPDX-License-Identifier: Apache-2.0
//
// In builds with a sanitizer: memcpy() and its kin are the sanitizer's interceptors there, which
// keep books of their own and must not be entered in a handler; and compilers call them for what is
// assigned as a whole. Every file that runs in handlers includes this first, by a flag
// (cmake/sigrun_flags.cmake), so that the assembler puts ours in their place.
#pragma once

asm(".set memcpy, sigrun_plain_memcpy");
asm(".set memmove, sigrun_plain_memmove");
asm(".set memset, sigrun_plain_memset");
