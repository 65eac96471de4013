// SPDX-License-Identifier: Apache-2.0
//
// bool sigrun_guarded_call(void (*f)(void*) [rdi], void* arg [rsi], uint64_t* stack_pointer [rdx])
//
// Frame, from the stack pointer that is stored: 0 padding, 8 r15, 16 r14, 24 r13, 32 r12, 40 rbx,
// 48 rbp, 56 return address.
        .text
        .p2align 4
        .globl  sigrun_guarded_call
        .hidden sigrun_guarded_call
        .type   sigrun_guarded_call, @function
sigrun_guarded_call:
        .cfi_startproc
        endbr64
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
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        movq    %rsp, (%rdx)
        movq    %rdi, %rax
        movq    %rsi, %rdi
        call    *%rax
        .globl  sigrun_guarded_return
        .hidden sigrun_guarded_return
sigrun_guarded_return:
        // f has kept the callee-saved registers: there is nothing to restore.
        xorl    %eax, %eax
        addq    $56, %rsp
        .cfi_remember_state
        .cfi_def_cfa_offset 8
        ret
        // Entered by rt_sigreturn(2), with the stack pointer that was stored and nothing else.
        .globl  sigrun_guard_resumed
        .hidden sigrun_guard_resumed
sigrun_guard_resumed:
        .cfi_restore_state
        movl    $1, %eax
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
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
        .size   sigrun_guarded_call, . - sigrun_guarded_call

// The injected frame; its CFA is the interrupted stack pointer:
//
//   CFA-128   red zone of the interrupted code
//   CFA-136   interrupted pc, laid by inject_throw()
//   CFA-1160  the record, 1024 bytes; rsp and rdi on entry
//
// Callee-saved registers are the interrupted ones. Marked as a signal frame, because the address in
// it is an instruction's own and not one to return to.
#define RECORD_ROOM 1024
#define FRAME 136+RECORD_ROOM
        .p2align 4
        .globl  sigrun_fault_thrown
        .hidden sigrun_fault_thrown
        .type   sigrun_fault_thrown, @function
        nop
sigrun_fault_thrown:
        .cfi_startproc
        .cfi_signal_frame
        .cfi_def_cfa %rsp, FRAME
        .cfi_offset %rip, -136
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        andq    $-16, %rsp
        cld
        call    sigrun_throw_fault@PLT
        ud2
        .cfi_endproc
        .size   sigrun_fault_thrown, . - sigrun_fault_thrown
        .section .note.GNU-stack,"",@progbits
