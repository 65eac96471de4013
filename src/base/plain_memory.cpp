// SPDX-License-Identifier: Apache-2.0
//
// What plain_memory.hpp names. Byte by byte: it is for builds with a sanitizer alone.
#if defined(SIGRUN_SANITIZED)
#include <cstddef>

namespace {

// Or the compiler makes the loop a call of the function that it is in.
[[gnu::always_inline]] inline void opaque(unsigned char* at) { asm("" : : "r"(at) : "memory"); }

}  // namespace

extern "C" void* sigrun_plain_memcpy(void* to, const void* from, std::size_t size) noexcept {
  auto* const out = static_cast<unsigned char*>(to);
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = static_cast<const unsigned char*>(from)[i];
    opaque(out);
  }
  return to;
}

extern "C" void* sigrun_plain_memmove(void* to, const void* from, std::size_t size) noexcept {
  auto* const out = static_cast<unsigned char*>(to);
  if (to < from) return sigrun_plain_memcpy(to, from, size);
  while (size-- > 0) {
    out[size] = static_cast<const unsigned char*>(from)[size];
    opaque(out);
  }
  return to;
}

extern "C" void* sigrun_plain_memset(void* to, int value, std::size_t size) noexcept {
  auto* const out = static_cast<unsigned char*>(to);
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = static_cast<unsigned char>(value);
    opaque(out);
  }
  return to;
}
#endif
