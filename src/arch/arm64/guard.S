// SPDX-License-Identifier: Apache-2.0
//
// bool sigrun_guarded_call(void (*f)(void*) [x0], void* arg [x1], uint64_t* stack_pointer [x2])
//
// Frame, from the stack pointer that is stored, 160 bytes: 0 x29, 8 x30, 16 x19 … 88 x28, 96 d8 …
// 152 d15.
        .text
        .p2align 4
        .globl  sigrun_guarded_call
        .hidden sigrun_guarded_call
        .type   sigrun_guarded_call, %function
sigrun_guarded_call:
        .cfi_startproc
        hint    #34                             // bti c
        stp     x29, x30, [sp, #-160]!
        .cfi_def_cfa_offset 160
        .cfi_offset x29, -160
        .cfi_offset x30, -152
        mov     x29, sp
        stp     x19, x20, [sp, #16]
        .cfi_offset x19, -144
        .cfi_offset x20, -136
        stp     x21, x22, [sp, #32]
        .cfi_offset x21, -128
        .cfi_offset x22, -120
        stp     x23, x24, [sp, #48]
        .cfi_offset x23, -112
        .cfi_offset x24, -104
        stp     x25, x26, [sp, #64]
        .cfi_offset x25, -96
        .cfi_offset x26, -88
        stp     x27, x28, [sp, #80]
        .cfi_offset x27, -80
        .cfi_offset x28, -72
        stp     d8, d9, [sp, #96]
        .cfi_offset 72, -64
        .cfi_offset 73, -56
        stp     d10, d11, [sp, #112]
        .cfi_offset 74, -48
        .cfi_offset 75, -40
        stp     d12, d13, [sp, #128]
        .cfi_offset 76, -32
        .cfi_offset 77, -24
        stp     d14, d15, [sp, #144]
        .cfi_offset 78, -16
        .cfi_offset 79, -8
        mov     x9, sp
        str     x9, [x2]
        mov     x9, x0
        mov     x0, x1
        blr     x9
        .globl  sigrun_guarded_return
        .hidden sigrun_guarded_return
sigrun_guarded_return:
        // f has kept the callee-saved registers: there is nothing else to restore.
        mov     w0, #0
        ldp     x29, x30, [sp], #160
        .cfi_remember_state
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        ret
        // Entered by rt_sigreturn(2), with the stack pointer that was stored and nothing else.
        .globl  sigrun_guard_resumed
        .hidden sigrun_guard_resumed
sigrun_guard_resumed:
        .cfi_restore_state
        mov     w0, #1
        ldp     d14, d15, [sp, #144]
        ldp     d12, d13, [sp, #128]
        ldp     d10, d11, [sp, #112]
        ldp     d8, d9, [sp, #96]
        ldp     x27, x28, [sp, #80]
        ldp     x25, x26, [sp, #64]
        ldp     x23, x24, [sp, #48]
        ldp     x21, x22, [sp, #32]
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #160
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   sigrun_guarded_call, . - sigrun_guarded_call

// The injected frame; its CFA is the interrupted stack pointer:
//
//   CFA-32    interrupted pc, laid by inject_throw()      CFA-24  interrupted x30
//   CFA-1056  the record, 1024 bytes; sp and x0 on entry
//
// The interrupted pc is found in a pseudo column, because x30 is the interrupted function's own
// return address and has to come back as such.
        .p2align 4
        nop
        .globl  sigrun_fault_thrown
        .hidden sigrun_fault_thrown
        .type   sigrun_fault_thrown, %function
sigrun_fault_thrown:
        .cfi_startproc
        .cfi_signal_frame
        .cfi_def_cfa sp, 1056
        .cfi_return_column 96
        .cfi_offset 96, -32
        .cfi_offset x30, -24
        bl      sigrun_throw_fault
        brk     #0
        .cfi_endproc
        .size   sigrun_fault_thrown, . - sigrun_fault_thrown
        .section .note.GNU-stack,"",%progbits
