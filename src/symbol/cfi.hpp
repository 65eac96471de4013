// SPDX-License-Identifier: Apache-2.0
//
// Call frame information, as compilers leave it in .eh_frame for every function, whatever its flags
// (Linux Standard Base Core 5.0, 10.6; DWARF 4, 6.4). It says, for each instruction, where the
// caller's registers are. Read in place, within the segment that holds it; a table that leads out
// of it, or that this reader does not understand, is no table.
#pragma once

#include "symbol/modules.hpp"

#include <cstddef>
#include <cstdint>

namespace sigrun::symbol {

/// Registers by their DWARF numbers. amd64: 7 is rsp, 16 the return address. arm64: 30 is the link
/// register, 31 sp, and one more for the pc of frames that the kernel made.
#if defined(__x86_64__)
inline constexpr unsigned register_count = 17;
inline constexpr unsigned sp_register = 7;
inline constexpr unsigned fp_register = 6;
#else
inline constexpr unsigned register_count = 32;
inline constexpr unsigned sp_register = 31;
inline constexpr unsigned fp_register = 29;
#endif

/// Bytes of a table, read from the front. A read beyond the end gives 0 and sets bad().
class cursor {
 public:
  cursor(std::uint64_t at, std::uint64_t end) noexcept : at_(at), end_(end) {}

  template <class T>
  [[gnu::always_inline]] T take() noexcept {
    T value{};
    if (at_ > end_ || end_ - at_ < sizeof(T)) {
      fail();
      return value;
    }
    __builtin_memcpy(&value, reinterpret_cast<const void*>(at_), sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::uint64_t uleb() noexcept;
  std::int64_t sleb() noexcept;
  /// A pointer in one of the DW_EH_PE_ encodings; `data_base` is what "datarel" is relative to.
  std::uint64_t pointer(std::uint8_t encoding, std::uint64_t data_base) noexcept;
  void skip(std::uint64_t bytes) noexcept {
    if (bytes > end_ - at_) {
      fail();
    } else {
      at_ += bytes;
    }
  }
  void fail() noexcept {
    bad_ = true;
    at_ = end_;
  }
  void cut(std::uint64_t end) noexcept {
    if (end <= end_) end_ = end;
  }
  std::uint64_t at() const noexcept { return at_; }
  std::uint64_t end() const noexcept { return end_; }
  bool empty() const noexcept { return at_ >= end_; }
  bool bad() const noexcept { return bad_; }

 private:
  std::uint64_t at_;
  std::uint64_t end_;
  bool bad_ = false;
};

enum class rule : std::uint8_t {
  same,
  undefined,
  offset,           // saved at CFA + value
  value_offset,     // is CFA + value
  in_register,      // is in register `value`
  expression,       // saved at the address that the expression at `value` gives
  value_expression  // is what that expression gives
};

struct register_rule {
  rule how = rule::same;
  std::int64_t value = 0;
};

/// What holds at one pc.
struct frame_rules {
  unsigned cfa_register = sp_register;
  std::int64_t cfa_offset = 0;
  std::uint64_t cfa_expression = 0;  // if not 0: this instead of the two above
  unsigned return_register = 0;
  bool signal_frame = false;
  std::uint64_t function = 0;  // where it begins
  std::uint64_t lsda = 0;      // its exception table (Itanium C++ ABI, 2.5); 0: none
  std::uint64_t tables_end = 0;
  register_rule registers[register_count];
};

/// The rules at `pc`, which lies in `image`. False: it has none, or none that can be used.
SIGRUN_SIGNAL_SAFE bool find_rules(const module_view& image, std::uint64_t pc,
                                   frame_rules& out) noexcept;

class memory;

/// The value of a DWARF expression: a length, then operations. False: it cannot be had.
SIGRUN_SIGNAL_SAFE bool evaluate(std::uint64_t expression, std::uint64_t tables_end,
                                 const std::uint64_t (&registers)[register_count], memory& from,
                                 bool push, std::uint64_t first, std::uint64_t& out) noexcept;

}  // namespace sigrun::symbol
