// SPDX-License-Identifier: Apache-2.0
//
// No frame: arguments move from the C calling convention (number rdi, then rsi rdx rcx r8 r9 and
// one on the stack) to the kernel's (rax; rdi rsi rdx r10 r8 r9). The kernel clobbers rcx and r11.
        .text
        .p2align 4
        .globl  sigrun_syscall6
        .type   sigrun_syscall6, @function
sigrun_syscall6:
        .cfi_startproc
        endbr64
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        movq    8(%rsp), %r9
        syscall
        ret
        .cfi_endproc
        .size   sigrun_syscall6, . - sigrun_syscall6
        .section .note.GNU-stack,"",@progbits
