// SPDX-License-Identifier: Apache-2.0
//
// Frame on the parked stack, from its stack pointer upwards (arch::switch_frame, whose offsets are
// asserted there):
//
//   0x00  r15   0x08  r14   0x10  r13   0x18  r12   0x20  rbx   0x28  rbp   0x30  return address
//
// The return address is jumped to, because a `ret` would be predicted to go back to the one who
// called last, which is never where a switch goes: 9 ns against 3. `notrack`: the place jumped to
// is a return address and has no endbr64. The other stack is read past rcx and not popped, so that
// no load waits for rsp: 3 ns against 5. Until rsp changes, a walk finds the old stack whole in
// memory.
        .text
        .p2align 5
        .globl  sigrun_context_switch
        .hidden sigrun_context_switch
        .type   sigrun_context_switch, @function
// void* sigrun_context_switch(context* from [rdi], const context* to [rsi], void* pass [rdx])
sigrun_context_switch:
        .cfi_startproc
        endbr64
        movq    (%rsi), %rcx                    // to->stack_pointer
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
        movq    %rsp, (%rdi)                    // from->stack_pointer
        movq    %rdx, %rax
        movq    0x30(%rcx), %rdx
        movq    0x00(%rcx), %r15
        movq    0x08(%rcx), %r14
        movq    0x10(%rcx), %r13
        movq    0x18(%rcx), %r12
        movq    0x20(%rcx), %rbx
        movq    0x28(%rcx), %rbp
        leaq    0x38(%rcx), %rsp                // from here on we are the other stack
        .cfi_def_cfa_offset 0
        .cfi_register %rip, %rdx
        .cfi_restore %rbp
        .cfi_restore %rbx
        .cfi_restore %r12
        .cfi_restore %r13
        .cfi_restore %r14
        .cfi_restore %r15
        notrack jmp *%rdx
        .cfi_endproc
        .size   sigrun_context_switch, . - sigrun_context_switch

// First code of a new stack: r12 = entry, rbx = arg as make_context() laid them out, rax = what the
// resumer passed. rsp is a multiple of 16. Entered behind the nop: to a walk over a stack that has
// not run, the place looks like a return address, and walks look at the byte before one.
        .p2align 4
        .globl  sigrun_context_start
        .hidden sigrun_context_start
        .type   sigrun_context_start, @function
sigrun_context_start:
        .cfi_startproc
        .cfi_undefined %rip                     // backtraces end here
        nop
        endbr64
        movq    %rbx, %rdi
        movq    %rax, %rsi
        leaq    1f(%rip), %rcx                  // a call would put the return predictor off by one
        pushq   %rcx
        .cfi_adjust_cfa_offset 8
        jmp     *%r12
        .cfi_adjust_cfa_offset -8
1:      ud2                                     // entry() returned
        .cfi_endproc
        .size   sigrun_context_start, . - sigrun_context_start

// void sigrun_call_on_stack(void (*f)(void*) [rdi], void* arg [rsi], void* stack_top [rdx])
//
// Frame on the caller's stack: 0 rbp, 8 return address. While f runs rbp points there, and the CFA
// is counted from rbp, so a walk from f comes back to the caller's stack by the tables alone.
        .p2align 4
        .globl  sigrun_call_on_stack
        .hidden sigrun_call_on_stack
        .type   sigrun_call_on_stack, @function
sigrun_call_on_stack:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        movq    %rdi, %rax
        movq    %rsi, %rdi
        andq    $-16, %rdx
        movq    %rdx, %rsp
        // A local symbol, for gdb alone: it takes a caller's frame at a lower address for a corrupt
        // stack, unless the frame between is of a function with this name (gcc's -fsplit-stack).
        .type   __morestack, @function
__morestack:
        call    *%rax
        movq    %rbp, %rsp
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   __morestack, . - __morestack
        .size   sigrun_call_on_stack, . - sigrun_call_on_stack
        .section .note.GNU-stack,"",@progbits
