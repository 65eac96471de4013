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

// rt_sigreturn is system call 15. Here rsp points to the ucontext (the trampoline's ret has taken
// the address before it), whose gregs begin 40 bytes in. The tables say so for unwinders that go
// by tables alone; libgcc and gdb would know it by its bytes. Looked up is the byte before a return
// address, so one nop stands before the first instruction, within the tables.
//
// DW_CFA_expression of a DWARF register: rsp + 40 + 8 greg (DW_OP_breg7, an SLEB128 of two bytes).
.macro in_ucontext dwarf, greg
        .cfi_escape 0x10, \dwarf, 3, 0x77, ((40 + 8 * \greg) & 0x7f) | 0x80, (40 + 8 * \greg) >> 7
.endm
        .p2align 4
        .cfi_startproc
        .cfi_signal_frame
        // DW_CFA_def_cfa_expression: rsp + 160 (REG_RSP), what lies there.
        .cfi_escape 0x0f, 4, 0x77, 0xa0, 0x01, 0x06
        in_ucontext 8, 0                // r8
        in_ucontext 9, 1                // r9
        in_ucontext 10, 2               // r10
        in_ucontext 11, 3               // r11
        in_ucontext 12, 4               // r12
        in_ucontext 13, 5               // r13
        in_ucontext 14, 6               // r14
        in_ucontext 15, 7               // r15
        in_ucontext 5, 8                // rdi
        in_ucontext 4, 9                // rsi
        in_ucontext 6, 10               // rbp
        in_ucontext 3, 11               // rbx
        in_ucontext 1, 12               // rdx
        in_ucontext 0, 13               // rax
        in_ucontext 2, 14               // rcx
        in_ucontext 7, 15               // rsp
        in_ucontext 16, 16              // rip
        nop
        .globl  sigrun_sigreturn__sigaction
        .type   sigrun_sigreturn__sigaction, @function
sigrun_sigreturn__sigaction:
        movq    $15, %rax
        syscall
        ud2
        .cfi_endproc
        .size   sigrun_sigreturn__sigaction, . - sigrun_sigreturn__sigaction
        .section .note.GNU-stack,"",@progbits
