// SPDX-License-Identifier: Apache-2.0
//
// Entered by the kernel as a function: edi = signo, rsi = siginfo_t*, rdx = ucontext_t*, return
// address = the restorer (linux arch/x86/kernel/signal_64.c, x64_setup_rt_frame). The interrupted
// registers are all in the kernel's frame, so only what the psABI (3.2.1) calls callee-saved must
// come back, which keeps unwinders that do not know the kernel's frame right as well.
//
// Frame, from rbp downwards:
//   +8   return address (the restorer)     0  rbp     -8  rbx     -16 r12
//   -24  r13     -32 r14     -40 r15       then padding to 16 bytes
        .text
        .p2align 4
        .globl  sigrun_sigtramp
        .type   sigrun_sigtramp, @function
sigrun_sigtramp:
        .cfi_startproc
        endbr64
        movq    %rsp, %rcx                      // 4th argument: where the kernel's frame begins
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        pushq   %rbx
        .cfi_offset %rbx, -24
        pushq   %r12
        .cfi_offset %r12, -32
        pushq   %r13
        .cfi_offset %r13, -40
        pushq   %r14
        .cfi_offset %r14, -48
        pushq   %r15
        .cfi_offset %r15, -56
        andq    $-16, %rsp
        cld
        call    sigrun_sighandler@PLT
        leaq    -40(%rbp), %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc
        .size   sigrun_sigtramp, . - sigrun_sigtramp

// rt_sigreturn is system call 15. Unwinders look at the byte before a return address to find the
// caller, so one nop stands before the first instruction.
        .p2align 4
        nop
        .globl  sigrun_sigreturn__sigaction
        .type   sigrun_sigreturn__sigaction, @function
sigrun_sigreturn__sigaction:
        movq    $15, %rax
        syscall
        ud2
        .size   sigrun_sigreturn__sigaction, . - sigrun_sigreturn__sigaction
        .section .note.GNU-stack,"",@progbits
