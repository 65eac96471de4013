// SPDX-License-Identifier: Apache-2.0
//
// Entered by the kernel as a function: w0 = signo, x1 = siginfo_t*, x2 = ucontext_t*, x30 = the
// vDSO's rt_sigreturn (linux arch/arm64/kernel/signal.c, setup_return). The interrupted registers
// are all in the kernel's frame; what AAPCS64 (6.1.1) calls callee-saved is kept for unwinders
// that do not know that frame.
//
// Frame, from sp upwards:
//   0x00  x29 x30   0x10  x19 x20   0x20  x21 x22   0x30  x23 x24   0x40  x25 x26   0x50  x27 x28
//   0x60  end
        .text
        .p2align 4
        .globl  sigrun_sigtramp
        .type   sigrun_sigtramp, %function
sigrun_sigtramp:
        .cfi_startproc
        hint    #34                             // bti c
        mov     x3, sp                          // 4th argument: where the kernel's frame begins
        stp     x29, x30, [sp, #-0x60]!
        .cfi_def_cfa_offset 0x60
        .cfi_offset x29, -0x60
        .cfi_offset x30, -0x58
        mov     x29, sp
        .cfi_def_cfa_register x29
        stp     x19, x20, [sp, #0x10]
        .cfi_offset x19, -0x50
        .cfi_offset x20, -0x48
        stp     x21, x22, [sp, #0x20]
        .cfi_offset x21, -0x40
        .cfi_offset x22, -0x38
        stp     x23, x24, [sp, #0x30]
        .cfi_offset x23, -0x30
        .cfi_offset x24, -0x28
        stp     x25, x26, [sp, #0x40]
        .cfi_offset x25, -0x20
        .cfi_offset x26, -0x18
        stp     x27, x28, [sp, #0x50]
        .cfi_offset x27, -0x10
        .cfi_offset x28, -0x08
        bl      sigrun_sighandler
        ldp     x19, x20, [sp, #0x10]
        ldp     x21, x22, [sp, #0x20]
        ldp     x23, x24, [sp, #0x30]
        ldp     x25, x26, [sp, #0x40]
        ldp     x27, x28, [sp, #0x50]
        ldp     x29, x30, [sp], #0x60
        .cfi_def_cfa sp, 0
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   sigrun_sigtramp, . - sigrun_sigtramp
        .section .note.GNU-stack,"",%progbits
