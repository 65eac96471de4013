// SPDX-License-Identifier: Apache-2.0
//
// What guards catch, by nothing but the fault module and the scheduler below it, in both
// processors' assembly.
#include "faulty.hpp"

#include <sigrun/fault.hpp>
#include <sigrun/go.hpp>

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

namespace sigrun::test {
namespace {

template <class F>
fault caught(F f) {
  try {
    guarded(f);
  } catch (const fault_error& error) {
    return error.details();
  }
  return {};
}

TEST(BareGuard, AReadAndAWriteThroughNullAreCaught) {
  for (int i = 0; i < 20; ++i) {
    const fault read = caught([] { load(near_null); });
    ASSERT_EQ(read.signal, SIGSEGV);
    ASSERT_EQ(read.code, SEGV_MAPERR);
    ASSERT_EQ(read.address, near_null);
    ASSERT_GT(read.stack_size, 2);
    ASSERT_EQ(read.stack()[0], read.pc);
    const fault write = caught([] { store(near_null, 1); });
    ASSERT_EQ(write.signal, SIGSEGV);
    ASSERT_EQ(write.address, near_null);
    ASSERT_NE(write.pc, read.pc);
  }
}

TEST(BareGuard, ATruncatedMappingIsABusError) {
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const int fd = ::memfd_create("bare guard", 0);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(size)), 0);
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(at, MAP_FAILED);
  ASSERT_EQ(::ftruncate(fd, 0), 0);
  const fault what = caught([at] { load(reinterpret_cast<std::uint64_t>(at)); });
  EXPECT_EQ(what.signal, SIGBUS);
  EXPECT_EQ(what.code, BUS_ADRERR);
  EXPECT_EQ(what.address, reinterpret_cast<std::uintptr_t>(at));
  ::munmap(at, size);
  ::close(fd);
}

// Writes to every register that a called function has to give back, then faults.
[[gnu::noinline]] void ruins_registers() {
#if defined(__x86_64__)
  asm volatile(
      "xorl %%ebx, %%ebx\n\txorl %%r12d, %%r12d\n\txorl %%r13d, %%r13d\n\t"
      "xorl %%r14d, %%r14d\n\txorl %%r15d, %%r15d\n\tmovq 0x18, %%rax"
      :
      :
      : "rax", "rbx", "r12", "r13", "r14", "r15", "cc", "memory");
#else
  asm volatile(
      "mov x19, xzr\n\tmov x20, xzr\n\tmov x21, xzr\n\tmov x22, xzr\n\tmov x23, xzr\n\t"
      "mov x24, xzr\n\tmov x25, xzr\n\tmov x26, xzr\n\tmov x27, xzr\n\tmov x28, xzr\n\t"
      "fmov d8, xzr\n\tfmov d9, xzr\n\tfmov d10, xzr\n\tfmov d11, xzr\n\t"
      "fmov d12, xzr\n\tfmov d13, xzr\n\tfmov d14, xzr\n\tfmov d15, xzr\n\t"
      "mov x0, #0x18\n\tldr x0, [x0]"
      :
      :
      : "x0", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "d8", "d9",
        "d10", "d11", "d12", "d13", "d14", "d15", "memory");
#endif
}

TEST(BareGuard, ItsCallerHasItsRegistersAfterwards) {
  std::uint64_t whole[10];
  double broken[8];
  for (std::uint64_t i = 0; i < 10; ++i) {
    whole[i] = i + 1;
    asm volatile("" : "+r"(whole[i]));
  }
  for (int i = 0; i < 8; ++i) broken[i] = static_cast<double>(whole[i]) * 0.5;
  const std::uint64_t a = whole[0], b = whole[1], c = whole[2], d = whole[3], e = whole[4];
  const double f = broken[5], g = broken[6], h = broken[7];
  EXPECT_EQ(caught([] { ruins_registers(); }).signal, SIGSEGV);
  EXPECT_EQ(a + b + c + d + e, 15u);
  EXPECT_EQ(f + g + h, 3.0 + 3.5 + 4.0);
}

TEST(BareGuard, ANullCallIsCaughtAndNamesItsCaller) {
  void (*nothing)() = nullptr;
  asm volatile("" : "+r"(nothing));
  const fault what = caught([nothing] {
    nothing();
    asm volatile("");
  });
  EXPECT_EQ(what.signal, SIGSEGV);
  EXPECT_EQ(what.pc, 0u);
  EXPECT_GT(what.stack_size, 2);
}

TEST(BareGuard, AGoroutineCatchesAndGoesOn) {
  go([] {
    for (int i = 0; i < 20; ++i) {
      const fault what = caught([] { load(near_null); });
      EXPECT_EQ(what.signal, SIGSEGV);
      EXPECT_EQ(what.goroutine, goroutine_id());
      yield();
    }
  }).join();
}

using loader = std::uint64_t (*)(std::uint64_t);

TEST(BareGuard, APanickingGoroutineIsThrownAtByTheInstruction) {
  go([] {
    loader opaque = &load;
    asm volatile("" : "+r"(opaque));
    set_panic_on_fault(true);
    for (int i = 0; i < 20; ++i) {
      try {
        opaque(near_null);
        ADD_FAILURE() << "not thrown";
      } catch (const fault_error& error) {
        EXPECT_TRUE(error.details().thrown_there);
        EXPECT_EQ(error.details().address, near_null);
      }
      yield();
    }
  }).join();
}

}  // namespace
}  // namespace sigrun::test
