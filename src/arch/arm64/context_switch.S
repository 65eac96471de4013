// SPDX-License-Identifier: Apache-2.0
//
// Frame on the parked stack, from its stack pointer upwards (arch::switch_frame, whose offsets are
// asserted there):
//
//   0x00  x19 x20   0x10  x21 x22   0x20  x23 x24   0x30  x25 x26   0x40  x27 x28
//   0x50  x29 x30   0x60  d8  d9    0x70  d10 d11   0x80  d12 d13   0x90  d14 d15
//   0xa0  end of frame
#define FRAME_SIZE 0xa0

        .text
        .p2align 5
        .globl  sigrun_context_switch
        .hidden sigrun_context_switch
        .type   sigrun_context_switch, %function
// void* sigrun_context_switch(context* from [x0], const context* to [x1], void* pass [x2])
sigrun_context_switch:
        .cfi_startproc
        hint    #34                             // bti c
        ldr     x10, [x1]                       // to->stack_pointer
        sub     sp, sp, #FRAME_SIZE
        .cfi_adjust_cfa_offset FRAME_SIZE
        stp     x19, x20, [sp, #0x00]
        stp     x21, x22, [sp, #0x10]
        stp     x23, x24, [sp, #0x20]
        stp     x25, x26, [sp, #0x30]
        stp     x27, x28, [sp, #0x40]
        stp     x29, x30, [sp, #0x50]
        stp     d8,  d9,  [sp, #0x60]
        stp     d10, d11, [sp, #0x70]
        stp     d12, d13, [sp, #0x80]
        stp     d14, d15, [sp, #0x90]
        .cfi_rel_offset x19, 0x00
        .cfi_rel_offset x20, 0x08
        .cfi_rel_offset x21, 0x10
        .cfi_rel_offset x22, 0x18
        .cfi_rel_offset x23, 0x20
        .cfi_rel_offset x24, 0x28
        .cfi_rel_offset x25, 0x30
        .cfi_rel_offset x26, 0x38
        .cfi_rel_offset x27, 0x40
        .cfi_rel_offset x28, 0x48
        .cfi_rel_offset x29, 0x50
        .cfi_rel_offset x30, 0x58

        mov     x9, sp
        str     x9, [x0]                        // from->stack_pointer
        mov     sp, x10                         // from here on we are the other stack
        mov     x0, x2

        ldp     x19, x20, [sp, #0x00]
        ldp     x21, x22, [sp, #0x10]
        ldp     x23, x24, [sp, #0x20]
        ldp     x25, x26, [sp, #0x30]
        ldp     x27, x28, [sp, #0x40]
        ldp     x29, x30, [sp, #0x50]
        ldp     d8,  d9,  [sp, #0x60]
        ldp     d10, d11, [sp, #0x70]
        ldp     d12, d13, [sp, #0x80]
        ldp     d14, d15, [sp, #0x90]
        .cfi_restore x19
        .cfi_restore x20
        .cfi_restore x21
        .cfi_restore x22
        .cfi_restore x23
        .cfi_restore x24
        .cfi_restore x25
        .cfi_restore x26
        .cfi_restore x27
        .cfi_restore x28
        .cfi_restore x29
        .cfi_restore x30
        add     sp, sp, #FRAME_SIZE
        .cfi_adjust_cfa_offset -FRAME_SIZE
        ret
        .cfi_endproc
        .size   sigrun_context_switch, . - sigrun_context_switch

// First code of a new stack: x19 = entry, x20 = arg as make_context() laid them out, x0 = what the
// resumer passed. Entered behind the nop: to a walk over a stack that has not run, the place looks
// like a return address, and walks look at the instruction before one.
        .p2align 4
        .globl  sigrun_context_start
        .hidden sigrun_context_start
        .type   sigrun_context_start, %function
sigrun_context_start:
        .cfi_startproc
        .cfi_undefined x30                      // backtraces end here
        nop
        hint    #36                             // bti j
        mov     x1, x0
        mov     x0, x20
        blr     x19
        brk     #0                              // entry() returned
        .cfi_endproc
        .size   sigrun_context_start, . - sigrun_context_start

// void sigrun_call_on_stack(void (*f)(void*) [x0], void* arg [x1], void* stack_top [x2])
//
// Frame on the caller's stack: 0 x29, 8 x30. While f runs x29 points there, and the CFA is counted
// from x29, so a walk from f comes back to the caller's stack by the tables alone.
        .p2align 4
        .globl  sigrun_call_on_stack
        .hidden sigrun_call_on_stack
        .type   sigrun_call_on_stack, %function
sigrun_call_on_stack:
        .cfi_startproc
        hint    #34                             // bti c
        stp     x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset x29, -16
        .cfi_offset x30, -8
        mov     x29, sp
        .cfi_def_cfa x29, 16
        mov     x9, x0
        mov     x0, x1
        and     x2, x2, #-16
        mov     sp, x2
        // A local symbol, for gdb alone: it takes a caller's frame at a lower address for a corrupt
        // stack, unless the frame between is of a function with this name (gcc's -fsplit-stack).
        .type   __morestack, %function
__morestack:
        blr     x9
        mov     sp, x29
        ldp     x29, x30, [sp], #16
        .cfi_def_cfa sp, 0
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   __morestack, . - __morestack
        .size   sigrun_call_on_stack, . - sigrun_call_on_stack
        .section .note.GNU-stack,"",%progbits
