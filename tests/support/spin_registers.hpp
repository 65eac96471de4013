// SPDX-License-Identifier: Apache-2.0
//
// A loop in assembly, in the section of SIGRUN_PREEMPTIBLE, that holds a pattern in every register
// of the processor (flags, vector registers, x87 or fpcr, the red zone on amd64) and writes out
// what it finds after n rounds. To be included by one file of a program: it defines the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#if defined(__aarch64__)
#include "support/spin_registers_arm64.hpp"
#endif

namespace sigrun::test {

#if defined(__x86_64__)

// In the order the assembly below has it.
struct register_file {
  std::uint64_t general[16];  // rax rcx rdx rbx rsi rdi rbp - r8..r15
  std::uint64_t flags;
  std::uint32_t mxcsr;
  std::uint16_t x87_control, unused[1];
  std::uint64_t red_zone[16];
  std::uint64_t masks[8];
  std::uint64_t unused_2[6];
  struct {
    std::uint8_t bytes[16];
  } x87[8];
  std::uint8_t vectors[32][64];
};
static_assert(offsetof(register_file, flags) == 128 && offsetof(register_file, red_zone) == 144 &&
              offsetof(register_file, masks) == 272 && offsetof(register_file, x87) == 384 &&
              offsetof(register_file, vectors) == 512);

// Each is the same but for the vector registers it knows.
extern "C" {
void spin_registers_sse(const register_file* in, register_file* out, std::uint64_t rounds);
void spin_registers_avx(const register_file* in, register_file* out, std::uint64_t rounds);
void spin_registers_avx512(const register_file* in, register_file* out, std::uint64_t rounds);
}

asm(R"(
.macro sigrun_spin_registers name, kind, count
        .pushsection sigrun_preemptible, "ax", @progbits
        .p2align 4
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        subq    $16, %rsp
        .cfi_adjust_cfa_offset 16
        stmxcsr (%rsp)
        fnstcw  4(%rsp)

        .set    i, 0
        .rept   \count
        sigrun_load_\kind %i
        .set    i, i + 1
        .endr
        .ifc \kind, avx512
        .irp    nr, 0,1,2,3,4,5,6,7
        kmovq   272+8*\nr(%rdi), %k\nr
        .endr
        .endif
        .irp    i, 7,6,5,4,3,2,1,0
        fldt    384+16*\i(%rdi)
        .endr
        fldcw   140(%rdi)
        ldmxcsr 136(%rdi)
        pushq   128(%rdi)
        .cfi_adjust_cfa_offset 8
        popfq
        .cfi_adjust_cfa_offset -8
        .irp    i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movq    144+8*\i(%rdi), %rax
        movq    %rax, -128+8*\i(%rsp)
        .endr
        movq    %rdx, %rcx
        movq    0(%rdi), %rax
        movq    16(%rdi), %rdx
        movq    24(%rdi), %rbx
        movq    32(%rdi), %rsi
        movq    48(%rdi), %rbp
        movq    64(%rdi), %r8
        movq    72(%rdi), %r9
        movq    80(%rdi), %r10
        movq    88(%rdi), %r11
        movq    96(%rdi), %r12
        movq    104(%rdi), %r13
        movq    112(%rdi), %r14
        movq    120(%rdi), %r15
        movq    40(%rdi), %rdi
        // Counts rcx down and rax up, and changes no flag.
1:      leaq    1(%rax), %rax
        leaq    -1(%rcx), %rcx
        jrcxz   2f
        jmp     1b
2:      xchgq   %rdi, 16(%rsp)
        movq    %rax, 0(%rdi)
        movq    %rcx, 8(%rdi)
        movq    %rdx, 16(%rdi)
        movq    %rbx, 24(%rdi)
        movq    %rsi, 32(%rdi)
        movq    16(%rsp), %rax
        movq    %rax, 40(%rdi)
        movq    %rbp, 48(%rdi)
        movq    %r8, 64(%rdi)
        movq    %r9, 72(%rdi)
        movq    %r10, 80(%rdi)
        movq    %r11, 88(%rdi)
        movq    %r12, 96(%rdi)
        movq    %r13, 104(%rdi)
        movq    %r14, 112(%rdi)
        movq    %r15, 120(%rdi)
        .irp    i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movq    -128+8*\i(%rsp), %rax
        movq    %rax, 144+8*\i(%rdi)
        .endr
        pushfq
        .cfi_adjust_cfa_offset 8
        popq    128(%rdi)
        .cfi_adjust_cfa_offset -8
        cld
        fnstcw  140(%rdi)
        stmxcsr 136(%rdi)
        .irp    i, 0,1,2,3,4,5,6,7
        fstpt   384+16*\i(%rdi)
        .endr
        .ifc \kind, avx512
        .irp    nr, 0,1,2,3,4,5,6,7
        kmovq   %k\nr, 272+8*\nr(%rdi)
        .endr
        .endif
        .set    i, 0
        .rept   \count
        sigrun_store_\kind %i
        .set    i, i + 1
        .endr
        .ifnc \kind, sse
        vzeroupper
        .endif
        ldmxcsr (%rsp)
        fldcw   4(%rsp)
        addq    $24, %rsp
        .cfi_adjust_cfa_offset -24
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   \name, . - \name
        .popsection
.endm
        .altmacro
.macro sigrun_load_sse i
        movups  512+64*\i(%rdi), %xmm\i
.endm
.macro sigrun_store_sse i
        movups  %xmm\i, 512+64*\i(%rdi)
.endm
.macro sigrun_load_avx i
        vmovups 512+64*\i(%rdi), %ymm\i
.endm
.macro sigrun_store_avx i
        vmovups %ymm\i, 512+64*\i(%rdi)
.endm
.macro sigrun_load_avx512 i
        vmovups 512+64*\i(%rdi), %zmm\i
.endm
.macro sigrun_store_avx512 i
        vmovups %zmm\i, 512+64*\i(%rdi)
.endm
        sigrun_spin_registers spin_registers_sse, sse, 16
        sigrun_spin_registers spin_registers_avx, avx, 16
        sigrun_spin_registers spin_registers_avx512, avx512, 32
        .noaltmacro
)");

/// Which vector registers the loop fills, of those that the processor has: 'x', 'y' or 'z' for xmm,
/// ymm or zmm with its masks.
inline std::string vector_kinds() {
  std::string kinds = "x";
  if (__builtin_cpu_supports("avx2")) kinds += 'y';
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) kinds += 'z';
  return kinds;
}

inline void spin_registers(char kind, const register_file& in, register_file& out,
                           std::uint64_t rounds) {
  switch (kind) {
    case 'z':
      return spin_registers_avx512(&in, &out, rounds);
    case 'y':
      return spin_registers_avx(&in, &out, rounds);
    default:
      return spin_registers_sse(&in, &out, rounds);
  }
}

/// What it writes out into `out` must be this; `out` itself is what it was before.
inline register_file expected(char kind, const register_file& in, const register_file& out,
                              std::uint64_t rounds) {
  register_file want = in;
  want.general[0] += rounds;
  want.general[1] = 0;
  want.general[7] = out.general[7];
  std::memcpy(want.unused, out.unused, sizeof want.unused);
  std::memcpy(want.unused_2, out.unused_2, sizeof want.unused_2);
  if (kind != 'z') std::memcpy(want.masks, out.masks, sizeof want.masks);
  const int registers = kind == 'z' ? 32 : 16;
  const std::size_t bytes = kind == 'z' ? 64 : kind == 'y' ? 32 : 16;
  for (int i = 0; i < 32; ++i) {
    const std::size_t kept = i < registers ? bytes : 0;
    std::memcpy(want.vectors[i] + kept, out.vectors[i] + kept, 64 - kept);
  }
  for (auto& st : want.x87) std::memset(st.bytes + 10, 0, 6);
  return want;
}

inline void randomise(register_file& file, std::mt19937_64& random) {
  auto* const words = reinterpret_cast<std::uint64_t*>(&file);
  for (std::size_t i = 0; i < sizeof file / sizeof *words; ++i) words[i] = random();
  // Carry, parity, adjust, zero, sign, direction and overflow; 0x202 is always set in user code.
  file.flags = (file.flags & 0xcd5) | 0x202;
  file.mxcsr = 0x1f80 | static_cast<std::uint32_t>(random() & 0xe03f);  // rounding, FTZ, status
  file.x87_control = static_cast<std::uint16_t>(0x037f | (random() & 0x0c00));
  for (auto& st : file.x87) std::memset(st.bytes + 10, 0, 6);
}

#endif

inline std::string first_difference(const register_file& want, const register_file& got) {
  const auto* const a = reinterpret_cast<const std::uint8_t*>(&want);
  const auto* const b = reinterpret_cast<const std::uint8_t*>(&got);
  for (std::size_t i = 0; i < sizeof want; ++i) {
    if (a[i] != b[i]) {
      return "byte " + std::to_string(i) + " is " + std::to_string(b[i]) + ", not " +
             std::to_string(a[i]);
    }
  }
  return "";
}

}  // namespace sigrun::test
