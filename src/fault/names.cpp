// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <sigrun/fault.hpp>
#include <sigrun/signal_names.hpp>

namespace sigrun {

std::string_view fault_register_name(std::size_t index) noexcept {
#if defined(__x86_64__)
  // The order of DWARF's numbers, which is that of the array.
  static constexpr std::string_view names[fault_register_count] = {
      "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8",
      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags"};
#else
  static constexpr std::string_view names[fault_register_count] = {
      "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",    "x10", "x11",
      "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21",   "x22", "x23",
      "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp",  "pc",  "pstate"};
#endif
  return index < fault_register_count ? names[index] : "?";
}

std::string describe(const fault& what) {
  base::text_buffer<256> text;
  text.add(signal_name(what.signal)).add(" (").add(signal_code_name(what.signal, what.code));
  text.add(")");
  if (what.has_address) text.add(" at ").add_hex(what.address);
  text.add(", pc ").add_hex(what.pc);
  if (what.locks_size != 0) {
    text.add("; locks poisoned: ").add(static_cast<int>(what.locks_size));
  }
  return std::string(text.view());
}

}  // namespace sigrun
