// SPDX-License-Identifier: Apache-2.0
//
// The way back from an injected call: rt_sigreturn(2), system call 139, on the copy of the kernel's
// frame that begins at sp. To unwinders these two instructions, found at a return address that no
// table covers, say that sp points to a siginfo and a ucontext (libgcc's aarch64-unwind, gdb's
// aarch64-linux-tdep), so no table may cover them. They look at the instruction before a return
// address to find the caller: hence the nop.
        .text
        .p2align 4
        nop
        .globl  sigrun_preempt_sigreturn
        .hidden sigrun_preempt_sigreturn
        .type   sigrun_preempt_sigreturn, %function
sigrun_preempt_sigreturn:
        mov     x8, #139
        svc     #0
        brk     #0                              // the frame was refused
        .size   sigrun_preempt_sigreturn, . - sigrun_preempt_sigreturn
        .section .note.GNU-stack,"",%progbits
