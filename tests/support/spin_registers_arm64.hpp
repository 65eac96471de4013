// SPDX-License-Identifier: Apache-2.0
//
// The loop of spin_registers.hpp for arm64; with SVE where the processor has it, whatever the
// length of its vectors.
#pragma once

#include <sys/auxv.h>
#include <sys/prctl.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

namespace sigrun::test {

// In the order the assembly below has it.
struct register_file {
  std::uint64_t general[31];
  std::uint64_t flags;
  std::uint64_t fpcr;
  std::uint64_t fpsr;
  std::uint64_t unused[2];
  std::uint8_t first_fault[32];
  std::uint64_t unused_2[24];
  std::uint8_t predicates[16 * 32];  // one after the other, at whatever length they have
  std::uint8_t vectors[32 * 256];
};
static_assert(offsetof(register_file, flags) == 248 && offsetof(register_file, fpsr) == 264 &&
              offsetof(register_file, first_fault) == 288 &&
              offsetof(register_file, predicates) == 512 &&
              offsetof(register_file, vectors) == 1024);

extern "C" {
void spin_registers_neon(const register_file* in, register_file* out, std::uint64_t rounds);
void spin_registers_sve(const register_file* in, register_file* out, std::uint64_t rounds);
}

asm(R"(
        .arch   armv8-a+sve
.macro sigrun_spin_registers name, sve
        .pushsection sigrun_preemptible, "ax", @progbits
        .p2align 4
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        stp     x29, x30, [sp, #-0xc0]!
        .cfi_def_cfa_offset 0xc0
        .cfi_offset x29, -0xc0
        .cfi_offset x30, -0xb8
        stp     x19, x20, [sp, #0x10]
        .cfi_offset x19, -0xb0
        .cfi_offset x20, -0xa8
        stp     x21, x22, [sp, #0x20]
        .cfi_offset x21, -0xa0
        .cfi_offset x22, -0x98
        stp     x23, x24, [sp, #0x30]
        .cfi_offset x23, -0x90
        .cfi_offset x24, -0x88
        stp     x25, x26, [sp, #0x40]
        .cfi_offset x25, -0x80
        .cfi_offset x26, -0x78
        stp     x27, x28, [sp, #0x50]
        .cfi_offset x27, -0x70
        .cfi_offset x28, -0x68
        stp     d8, d9, [sp, #0x60]
        stp     d10, d11, [sp, #0x70]
        stp     d12, d13, [sp, #0x80]
        stp     d14, d15, [sp, #0x90]
        str     x1, [sp, #0xa0]
        mrs     x9, fpcr
        str     x9, [sp, #0xa8]

        .if \sve
        add     x9, x0, #288
        ldr     p0, [x9]
        wrffr   p0.b
        add     x9, x0, #512
        .irp    i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        ldr     p\i, [x9, #\i, mul vl]
        .endr
        .endif
        add     x9, x0, #1024
        .irp    i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        .if \sve
        ldr     z\i, [x9, #\i, mul vl]
        .else
        ldr     q\i, [x9, #16*\i]
        .endif
        .endr
        .irp    i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        .if \sve
        ldr     z\i, [x9, #\i, mul vl]
        .else
        ldr     q\i, [x9, #16*\i]
        .endif
        .endr
        ldr     x9, [x0, #256]
        msr     fpcr, x9
        ldr     x9, [x0, #264]
        msr     fpsr, x9
        ldr     x9, [x0, #248]
        msr     nzcv, x9
        mov     x1, x2
        ldp     x2, x3, [x0, #16]
        ldp     x4, x5, [x0, #32]
        ldp     x6, x7, [x0, #48]
        ldp     x8, x9, [x0, #64]
        ldp     x10, x11, [x0, #80]
        ldp     x12, x13, [x0, #96]
        ldp     x14, x15, [x0, #112]
        ldp     x16, x17, [x0, #128]
        ldp     x18, x19, [x0, #144]
        ldp     x20, x21, [x0, #160]
        ldp     x22, x23, [x0, #176]
        ldp     x24, x25, [x0, #192]
        ldp     x26, x27, [x0, #208]
        ldp     x28, x29, [x0, #224]
        ldr     x30, [x0, #240]
        ldr     x0, [x0]
        // Counts x1 down and x0 up, and changes no flag.
1:      add     x0, x0, #1
        sub     x1, x1, #1
        cbnz    x1, 1b
        str     x0, [sp, #0xb0]
        ldr     x0, [sp, #0xa0]
        str     x1, [x0, #8]
        stp     x2, x3, [x0, #16]
        stp     x4, x5, [x0, #32]
        stp     x6, x7, [x0, #48]
        stp     x8, x9, [x0, #64]
        stp     x10, x11, [x0, #80]
        stp     x12, x13, [x0, #96]
        stp     x14, x15, [x0, #112]
        stp     x16, x17, [x0, #128]
        stp     x18, x19, [x0, #144]
        stp     x20, x21, [x0, #160]
        stp     x22, x23, [x0, #176]
        stp     x24, x25, [x0, #192]
        stp     x26, x27, [x0, #208]
        stp     x28, x29, [x0, #224]
        str     x30, [x0, #240]
        ldr     x1, [sp, #0xb0]
        str     x1, [x0]
        mrs     x9, nzcv
        str     x9, [x0, #248]
        mrs     x9, fpcr
        str     x9, [x0, #256]
        mrs     x9, fpsr
        str     x9, [x0, #264]
        add     x9, x0, #1024
        .irp    i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        .if \sve
        str     z\i, [x9, #\i, mul vl]
        .else
        str     q\i, [x9, #16*\i]
        .endif
        .endr
        .irp    i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        .if \sve
        str     z\i, [x9, #\i, mul vl]
        .else
        str     q\i, [x9, #16*\i]
        .endif
        .endr
        .if \sve
        add     x9, x0, #512
        .irp    i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        str     p\i, [x9, #\i, mul vl]
        .endr
        add     x9, x0, #288
        rdffr   p0.b
        str     p0, [x9]
        .endif
        ldr     x9, [sp, #0xa8]
        msr     fpcr, x9
        ldp     d14, d15, [sp, #0x90]
        ldp     d12, d13, [sp, #0x80]
        ldp     d10, d11, [sp, #0x70]
        ldp     d8, d9, [sp, #0x60]
        ldp     x27, x28, [sp, #0x50]
        ldp     x25, x26, [sp, #0x40]
        ldp     x23, x24, [sp, #0x30]
        ldp     x21, x22, [sp, #0x20]
        ldp     x19, x20, [sp, #0x10]
        ldp     x29, x30, [sp], #0xc0
        .cfi_def_cfa_offset 0
        ret
        .cfi_endproc
        .size   \name, . - \name
        .popsection
.endm
        sigrun_spin_registers spin_registers_neon, 0
        sigrun_spin_registers spin_registers_sve, 1
        .arch   armv8-a
)");

/// 'n' for NEON, 'v' for SVE.
inline std::string vector_kinds() { return (getauxval(AT_HWCAP) & HWCAP_SVE) != 0 ? "nv" : "n"; }

inline void spin_registers(char kind, const register_file& in, register_file& out,
                           std::uint64_t rounds) {
  kind == 'v' ? spin_registers_sve(&in, &out, rounds) : spin_registers_neon(&in, &out, rounds);
}

/// Bytes of a vector register.
inline std::size_t vector_bytes(char kind) {
  return kind == 'v' ? static_cast<std::size_t>(prctl(PR_SVE_GET_VL)) & PR_SVE_VL_LEN_MASK : 16;
}

/// What it writes out into `out` must be this; `out` itself is what it was before.
inline register_file expected(char kind, const register_file& in, const register_file& out,
                              std::uint64_t rounds) {
  register_file want = out;
  std::memcpy(want.general, in.general, sizeof want.general);
  want.general[0] += rounds;
  want.general[1] = 0;
  want.flags = in.flags;
  want.fpcr = in.fpcr;
  want.fpsr = in.fpsr;
  const std::size_t bytes = vector_bytes(kind);
  std::memcpy(want.vectors, in.vectors, 32 * bytes);
  if (kind != 'v') return want;
  std::memcpy(want.predicates, in.predicates, 2 * bytes);
  std::memcpy(want.first_fault, in.first_fault, bytes / 8);
  return want;
}

inline void randomise(register_file& file, std::mt19937_64& random) {
  auto* const words = reinterpret_cast<std::uint64_t*>(&file);
  for (std::size_t i = 0; i < sizeof file / sizeof *words; ++i) words[i] = random();
  file.flags &= 0xf0000000;
  file.fpcr &= 0x07c00000;  // rounding, flush to zero, default NaN, alternative half precision
  file.fpsr &= 0x0800009f;
  // Only what a first-fault load may leave: ones up to some place.
  const std::size_t ones = random() % 256;
  for (std::size_t i = 0; i < 32; ++i) {
    const std::size_t here = ones <= 8 * i ? 0 : ones - 8 * i;
    file.first_fault[i] = static_cast<std::uint8_t>(here >= 8 ? 0xff : (1U << here) - 1);
  }
}

}  // namespace sigrun::test
