// SPDX-License-Identifier: Apache-2.0
//
// Goal: the switch keeps what the calling convention says a call keeps, hands over one word, and
// leaves stacks that unwinders can walk. Stands on module arch alone, so that the same file runs
// for arm64 under qemu-user (tests/arm64/run).

#include "arch/context.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unwind.h>
#include <cfenv>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

// uint64_t switch_with_patterns(context* from, const context* to, uint64_t seed): fills each
// callee-saved register with a value of its own, switches, and returns 0 if all came back.
extern "C" std::uint64_t switch_with_patterns(sigrun::arch::context* from,
                                              const sigrun::arch::context* to, std::uint64_t seed);
#if defined(__x86_64__)
asm(R"(
        .text
        .type   switch_with_patterns, @function
switch_with_patterns:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdx
        leaq    1(%rdx), %rbx
        leaq    2(%rdx), %rbp
        leaq    3(%rdx), %r12
        leaq    4(%rdx), %r13
        leaq    5(%rdx), %r14
        leaq    6(%rdx), %r15
        call    sigrun_context_switch
        popq    %rdx
        subq    %rdx, %rbx
        subq    %rdx, %rbp
        subq    %rdx, %r12
        subq    %rdx, %r13
        subq    %rdx, %r14
        subq    %rdx, %r15
        xorq    $1, %rbx
        xorq    $2, %rbp
        xorq    $3, %r12
        xorq    $4, %r13
        xorq    $5, %r14
        xorq    $6, %r15
        movq    %rbx, %rax
        orq     %rbp, %rax
        orq     %r12, %rax
        orq     %r13, %rax
        orq     %r14, %rax
        orq     %r15, %rax
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
        .size   switch_with_patterns, . - switch_with_patterns
)");
#else
asm(R"(
        .text
        .type   switch_with_patterns, %function
        .macro  each_register what
        \what   19
        \what   20
        \what   21
        \what   22
        \what   23
        \what   24
        \what   25
        \what   26
        \what   27
        \what   28
        .endm
        .macro  each_vector what
        \what   8
        \what   9
        \what   10
        \what   11
        \what   12
        \what   13
        \what   14
        \what   15
        .endm
        .macro  fill number
        add     x\number, x2, #\number
        .endm
        .macro  fill_vector number
        add     x9, x2, #(\number + 64)
        fmov    d\number, x9
        .endm
        .macro  compare number
        sub     x9, x\number, #\number
        eor     x9, x9, x2
        orr     x0, x0, x9
        .endm
        .macro  compare_vector number
        fmov    x9, d\number
        sub     x9, x9, #(\number + 64)
        eor     x9, x9, x2
        orr     x0, x0, x9
        .endm
switch_with_patterns:
        sub     sp, sp, #0xb0
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
        str     x2, [sp, #0xa0]
        each_register fill
        each_vector fill_vector
        bl      sigrun_context_switch
        ldr     x2, [sp, #0xa0]
        mov     x0, #0
        each_register compare
        each_vector compare_vector
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
        add     sp, sp, #0xb0
        ret
        .size   switch_with_patterns, . - switch_with_patterns
)");
#endif

namespace sigrun::arch {
namespace {

class test_stack {
 public:
  test_stack() {
    memory_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::runtime_error("mmap");
  }
  test_stack(const test_stack&) = delete;
  test_stack& operator=(const test_stack&) = delete;
  ~test_stack() { munmap(memory_, size); }
  void* top() const { return static_cast<std::byte*>(memory_) + size; }
  bool holds(const void* address) const { return address >= memory_ && address < top(); }

 private:
  static constexpr std::size_t size = 256 * 1024;
  void* memory_ = nullptr;
};

/// Two contexts that switch to and fro.
struct pair {
  context caller;
  context callee;
  std::uint64_t spoiled = 0;
  std::vector<void*> seen;
};

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TOOL_WATCHES 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TOOL_WATCHES 1
#endif

TEST(Context, AWordGoesOverWithEachSwitch) {
#ifdef TOOL_WATCHES
  GTEST_SKIP() << "the bare switch tells the sanitizer nothing; module fiber's does";
#endif
  test_stack stack;
  pair both;
  both.callee = make_context(
      stack.top(),
      [](void* arg, void* passed) {
        auto& self = *static_cast<pair*>(arg);
        for (;;) {
          self.seen.push_back(passed);
          passed = sigrun_context_switch(&self.callee, &self.caller, &self.seen);
        }
      },
      &both);
  int first = 0;
  int second = 0;
  EXPECT_EQ(sigrun_context_switch(&both.caller, &both.callee, &first), &both.seen);
  EXPECT_EQ(sigrun_context_switch(&both.caller, &both.callee, &second), &both.seen);
  EXPECT_EQ(both.seen, (std::vector<void*>{&first, &second}));
}

TEST(Context, CalleeSavedRegistersSurviveTheOtherSideUsingThem) {
#ifdef TOOL_WATCHES
  GTEST_SKIP() << "the bare switch tells the sanitizer nothing; module fiber's does";
#endif
  test_stack stack;
  pair both;
  both.callee = make_context(
      stack.top(),
      [](void* arg, void*) {
        auto& self = *static_cast<pair*>(arg);
        for (std::uint64_t seed = 0x5555'0000'0000'0000;; seed += 0x100) {
          self.spoiled |= switch_with_patterns(&self.callee, &self.caller, seed);
        }
      },
      &both);
  std::uint64_t spoiled = 0;
  for (std::uint64_t i = 0; i < 1000; i++) {
    spoiled |= switch_with_patterns(&both.caller, &both.callee, 0x2aaa'0000'0000'0000 + (i << 8));
  }
  EXPECT_EQ(spoiled, 0u) << "of the caller";
  EXPECT_EQ(both.spoiled, 0u) << "of the other side";
}

TEST(Context, ANewStackBeginsAlignedAndWithTheTopItWasGiven) {
#ifdef TOOL_WATCHES
  GTEST_SKIP() << "the bare switch tells the sanitizer nothing; module fiber's does";
#endif
  test_stack stack;
  for (const int crooked : {0, 1, 8, 15}) {
    pair both;
    both.callee = make_context(
        static_cast<std::byte*>(stack.top()) - crooked,
        [](void* arg, void*) {
          auto& self = *static_cast<pair*>(arg);
          // 16-byte vectors are stored with aligned stores.
          alignas(16) std::uint64_t words[2] = {1, 2};
          self.seen.push_back(__builtin_frame_address(0));
          asm volatile("" : : "r"(words) : "memory");
          self.spoiled = reinterpret_cast<std::uintptr_t>(words) % 16;
          sigrun_context_switch(&self.callee, &self.caller, nullptr);
        },
        &both);
    sigrun_context_switch(&both.caller, &both.callee, nullptr);
    EXPECT_EQ(both.spoiled, 0u);
    ASSERT_EQ(both.seen.size(), 1u);
    EXPECT_TRUE(stack.holds(both.seen[0]));
    EXPECT_LT(static_cast<std::byte*>(stack.top()) - static_cast<std::byte*>(both.seen[0]), 256);
  }
}

TEST(Context, AParkedStackSaysWhereItGoesOn) {
  test_stack stack;
  pair both;
  both.callee = make_context(
      stack.top(), [](void*, void*) {}, &both);
  const parked_registers fresh = read_parked(both.callee);
  EXPECT_EQ(fresh.pc, reinterpret_cast<std::uint64_t>(&sigrun_context_start) + context_start_nop);
  EXPECT_EQ(fresh.fp, 0u);
  EXPECT_EQ(fresh.sp, reinterpret_cast<std::uint64_t>(stack.top()) - 16);
}

TEST(Context, ControlWordsAreReadWithoutTheStatusBits) {
  const control_words before = read_control_words();
  EXPECT_EQ(before, control_words{}) << "a program starts with the ABI's words";
  const double third = 1.0;
  double result = third;
  asm volatile("" : "+m"(result));
  result /= 3;  // inexact: a status bit is set now
  asm volatile("" : : "m"(result));
  EXPECT_EQ(read_control_words(), before);
  std::fesetround(FE_UPWARD);
  const control_words upward = read_control_words();
  EXPECT_NE(upward, before);
  load_control_words(before);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  load_control_words(upward);
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
  EXPECT_EQ(read_control_words(), upward);
  load_control_words(before);
}

// ---- sigrun_call_on_stack

struct on_other_stack {
  const test_stack* stack = nullptr;
  bool was_there = false;
  std::vector<std::uintptr_t> frames;
  _Unwind_Reason_Code end = _URC_NO_REASON;
};

_Unwind_Reason_Code note_frame(_Unwind_Context* frame, void* argument) {
  auto& frames = *static_cast<std::vector<std::uintptr_t>*>(argument);
  frames.push_back(_Unwind_GetRegionStart(frame));
  return frames.size() < 100 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

void look_around(void* argument) {
  auto& note = *static_cast<on_other_stack*>(argument);
  note.was_there = note.stack->holds(__builtin_frame_address(0));
  note.end = _Unwind_Backtrace(note_frame, &note.frames);
}

[[gnu::noinline]] void call_it(void (*f)(void*), void* argument, void* top) {
  sigrun_call_on_stack(f, argument, top);
  asm volatile("" ::: "memory");  // no tail call: this frame must be there
}

TEST(CallOnStack, RunsThereAndComesBack) {
  test_stack stack;
  on_other_stack note;
  note.stack = &stack;
  call_it(look_around, &note, stack.top());
  EXPECT_TRUE(note.was_there);
}

TEST(CallOnStack, AnUnwinderWalksFromTheOtherStackIntoTheCaller) {
  test_stack stack;
  on_other_stack note;
  note.stack = &stack;
  call_it(look_around, &note, stack.top());
  EXPECT_EQ(note.end, _URC_END_OF_STACK);
  ASSERT_GT(note.frames.size(), 4u);
  EXPECT_EQ(note.frames[0], reinterpret_cast<std::uintptr_t>(&look_around));
  EXPECT_EQ(note.frames[1], reinterpret_cast<std::uintptr_t>(&sigrun_call_on_stack));
  EXPECT_EQ(note.frames[2], reinterpret_cast<std::uintptr_t>(&call_it));
}

struct counts_its_end {
  int& ends;
  ~counts_its_end() { ends++; }
};

void throws_after_some_frames(void* argument) {
  const counts_its_end guard{*static_cast<int*>(argument)};
  throw std::runtime_error("from the other stack");
}

TEST(CallOnStack, AnExceptionPassesThroughIntoTheCaller) {
#if defined(TOOL_WATCHES)
  GTEST_SKIP() << "the bare call tells the sanitizer nothing; module fiber's does";
#endif
  test_stack stack;
  for (int round = 1; round <= 3; round++) {
    int ends = 0;
    std::string what;
    try {
      const counts_its_end outer{ends};
      call_it(throws_after_some_frames, &ends, stack.top());
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    EXPECT_EQ(what, "from the other stack");
    EXPECT_EQ(ends, 2);
  }
}

}  // namespace
}  // namespace sigrun::arch
