// SPDX-License-Identifier: Apache-2.0
//
// No frame: number x0 and arguments x1..x6 move to x8 and x0..x5.
        .text
        .p2align 4
        .globl  sigrun_syscall6
        .type   sigrun_syscall6, %function
sigrun_syscall6:
        .cfi_startproc
        hint    #34                             // bti c
        mov     x8, x0
        mov     x0, x1
        mov     x1, x2
        mov     x2, x3
        mov     x3, x4
        mov     x4, x5
        mov     x5, x6
        svc     #0
        ret
        .cfi_endproc
        .size   sigrun_syscall6, . - sigrun_syscall6
        .section .note.GNU-stack,"",%progbits
