// SPDX-License-Identifier: Apache-2.0
//
// The injected frame, on the interrupted stack; its CFA is the interrupted stack pointer:
//
//   CFA-128  red zone of the interrupted code
//   CFA-136  interrupted pc, laid by inject_preemption(); rsp on entry
//   CFA-144  rbp, where rbp points         -152 flags
//   CFA-160  rax  -168 rcx  -176 rdx  -184 rbx  -192 rsi  -200 rdi  -208 r8   -216 r9
//   CFA-224  r10  -232 r11  -240 r12  -248 r13  -256 r14  -264 r15
//   below    XSAVE area, at the next multiple of 64
//
// Entered by rt_sigreturn(2) with the interrupted registers, so nothing may be changed that is not
// saved: no endbr64 is needed, because rt_sigreturn is no indirect branch. Left by a `ret` that
// also drops the red zone, in one instruction: below rsp nothing lasts.
#define SAVED_BELOW_RBP 120
#define XSAVE_HEADER 512

.macro save reg, at
        pushq   %\reg
        .cfi_offset %\reg, \at
.endm
.macro back reg
        popq    %\reg
        .cfi_restore %\reg
.endm

        .text
        .p2align 4
        .globl  sigrun_async_preempt
        .hidden sigrun_async_preempt
        .type   sigrun_async_preempt, @function
sigrun_async_preempt:
        .cfi_startproc
        .cfi_signal_frame
        .cfi_def_cfa %rsp, 136
        .cfi_offset %rip, -136
        pushq   %rbp
        .cfi_def_cfa_offset 144
        .cfi_offset %rbp, -144
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        pushfq
        save    rax, -160
        save    rcx, -168
        save    rdx, -176
        save    rbx, -184
        save    rsi, -192
        save    rdi, -200
        save    r8, -208
        save    r9, -216
        save    r10, -224
        save    r11, -232
        save    r12, -240
        save    r13, -248
        save    r14, -256
        save    r15, -264
        cld
        subq    sigrun_xsave_size(%rip), %rsp
        andq    $-64, %rsp
        // XSAVE writes the first word of the header alone, and XRSTOR faults unless the rest is 0.
        xorl    %eax, %eax
        movq    %rax, XSAVE_HEADER+0(%rsp)
        movq    %rax, XSAVE_HEADER+8(%rsp)
        movq    %rax, XSAVE_HEADER+16(%rsp)
        movq    %rax, XSAVE_HEADER+24(%rsp)
        movq    %rax, XSAVE_HEADER+32(%rsp)
        movq    %rax, XSAVE_HEADER+40(%rsp)
        movq    %rax, XSAVE_HEADER+48(%rsp)
        movq    %rax, XSAVE_HEADER+56(%rsp)
        movl    $-1, %eax                       // all that XCR0 enables
        movl    $-1, %edx
        xsave64 (%rsp)
        // What the psABI has at a function's entry: no MMX register in use, which the next x87
        // code on this thread would take for a full stack, nor an exception of it pending.
        fnclex
        emms
        testb   $4, sigrun_xsave_features(%rip)
        jz      1f
        vzeroupper                              // upper halves in use slow down SSE code
1:      call    sigrun_preempted@PLT
        movl    $-1, %eax
        movl    $-1, %edx
        xrstor64 (%rsp)
        leaq    -SAVED_BELOW_RBP(%rbp), %rsp
        back    r15
        back    r14
        back    r13
        back    r12
        back    r11
        back    r10
        back    r9
        back    r8
        back    rdi
        back    rsi
        back    rbx
        back    rdx
        back    rcx
        back    rax
        popfq
        popq    %rbp
        .cfi_def_cfa %rsp, 136
        .cfi_restore %rbp
        ret     $128
        .cfi_endproc
        .size   sigrun_async_preempt, . - sigrun_async_preempt
        .section .note.GNU-stack,"",@progbits
