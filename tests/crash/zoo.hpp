// SPDX-License-Identifier: Apache-2.0
//
// What the programs of the zoo do wrong, and what one of them is.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <span>

namespace zoo {

// A value the compiler knows nothing about.
template <class T>
[[gnu::noinline]] T hidden(T value) {
  asm volatile("" : "+r"(value));
  return value;
}

[[gnu::noinline]] inline void writes_to(int* at) {
  *at = 42;
  asm volatile("" ::: "memory");
}

[[gnu::noinline]] inline int divides(int a, int b) {
  const int result = a / hidden(b);
  asm volatile("");
  return result;
}

inline void null_write() { writes_to(hidden<int*>(nullptr)); }
inline void wild_read() { writes_to(hidden(reinterpret_cast<int*>(0xdead'0000'0000'0000))); }

inline void read_only() {
  void* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  writes_to(static_cast<int*>(page));
}

inline void truncated_file() {
  const int fd = ::memfd_create("zoo", 0);
  if (::ftruncate(fd, 4096) != 0) std::_Exit(99);
  void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (::ftruncate(fd, 0) != 0) std::_Exit(99);
  writes_to(static_cast<int*>(page));
}

inline void divide() { hidden(divides(7, 0)); }
inline void calls_null() {
  hidden<void (*)()>(nullptr)();
  asm volatile("");
}
struct animal {
  const char* name;
  void (*dies)();
  bool on_goroutine;
};

/// Those that go on, and say on stdout what they have seen.
std::span<const animal> recovering();

}  // namespace zoo
