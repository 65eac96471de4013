// SPDX-License-Identifier: Apache-2.0
//
// DWARF expressions (DWARF 4, 2.5), as far as call frame information uses them: procedure linkage
// tables, stacks that were realigned, and frames that the kernel made.
#include "symbol/cfi.hpp"
#include "symbol/memory.hpp"

namespace sigrun::symbol {
namespace {

class calculator {
 public:
  calculator(cursor in, const std::uint64_t (&registers)[register_count], memory& from) noexcept
      : in_(in), registers_(registers), memory_(from) {}

  void push(std::uint64_t value) noexcept {
    if (depth_ == depth_max) {
      in_.fail();
    } else {
      stack_[depth_++] = value;
    }
  }

  bool run(std::uint64_t& out) noexcept {
    const std::uint64_t begin = in_.at();
    const std::uint64_t end = in_.end();
    for (unsigned steps = 0; !in_.empty() && steps < steps_max; ++steps) {
      const auto op = in_.take<std::uint8_t>();
      if (op == 0x28 || op == 0x2f) {  // bra, skip
        const std::int64_t distance = in_.take<std::int16_t>();
        if (op == 0x28 && pop() == 0) continue;
        const std::uint64_t to = in_.at() + static_cast<std::uint64_t>(distance);
        if (to < begin || to > end) return false;
        in_ = cursor(to, end);
        continue;
      }
      if (!constant(op) && !arrange(op) && !compute(op)) return false;
    }
    if (in_.bad() || !in_.empty() || depth_ == 0) return false;
    out = stack_[depth_ - 1];
    return true;
  }

 private:
  static constexpr unsigned depth_max = 16;
  static constexpr unsigned steps_max = 256;

  std::uint64_t pop() noexcept {
    if (depth_ == 0) {
      in_.fail();
      return 0;
    }
    return stack_[--depth_];
  }
  std::uint64_t at(unsigned from_top) noexcept {
    if (from_top < depth_) return stack_[depth_ - 1 - from_top];
    in_.fail();
    return 0;
  }
  std::uint64_t reg(std::uint64_t number) noexcept {
    if (number < register_count) return registers_[number];
    in_.fail();
    return 0;
  }
  template <class T>
  std::uint64_t number() noexcept {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(in_.take<T>()));
  }

  bool constant(std::uint8_t op) noexcept {
    if (op >= 0x30 && op <= 0x4f) return done(op - 0x30U);
    if (op >= 0x50 && op <= 0x6f) return done(reg(op - 0x50U));
    if (op >= 0x70 && op <= 0x8f) {
      const std::uint64_t base = reg(op - 0x70U);
      return done(base + static_cast<std::uint64_t>(in_.sleb()));
    }
    switch (op) {
      case 0x03:
      case 0x0e:
      case 0x0f:
        return done(in_.take<std::uint64_t>());
      case 0x08:
        return done(in_.take<std::uint8_t>());
      case 0x09:
        return done(number<std::int8_t>());
      case 0x0a:
        return done(in_.take<std::uint16_t>());
      case 0x0b:
        return done(number<std::int16_t>());
      case 0x0c:
        return done(in_.take<std::uint32_t>());
      case 0x0d:
        return done(number<std::int32_t>());
      case 0x10:
        return done(in_.uleb());
      case 0x11:
        return done(static_cast<std::uint64_t>(in_.sleb()));
      case 0x92: {  // bregx
        const std::uint64_t base = reg(in_.uleb());
        return done(base + static_cast<std::uint64_t>(in_.sleb()));
      }
      default:
        return false;
    }
  }
  bool done(std::uint64_t value) noexcept {
    push(value);
    return true;
  }

  bool load(unsigned size) noexcept {
    const std::uint64_t address = pop();
    if (size == 0 || size > 8 || !memory_.covers(address, size)) return false;
    std::uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) {
      value |= std::uint64_t{*reinterpret_cast<const unsigned char*>(address + i)} << (8 * i);
    }
    return done(value);
  }

  bool arrange(std::uint8_t op) noexcept {
    switch (op) {
      case 0x06:
        return load(8);
      case 0x94:
        return load(in_.take<std::uint8_t>());
      case 0x12:
        return done(at(0));
      case 0x13:
        pop();
        return true;
      case 0x14:
        return done(at(1));
      case 0x15:
        return done(at(in_.take<std::uint8_t>()));
      case 0x16: {
        const std::uint64_t a = pop();
        const std::uint64_t b = pop();
        push(a);
        return done(b);
      }
      case 0x1f:
        return done(0 - pop());
      case 0x20:
        return done(~pop());
      case 0x23:
        return done(pop() + in_.uleb());
      case 0x96:
        return true;
      default:
        return false;
    }
  }

  bool compute(std::uint8_t op) noexcept {
    const std::uint64_t b = pop();
    const std::uint64_t a = pop();
    const auto sa = static_cast<std::int64_t>(a);
    const auto sb = static_cast<std::int64_t>(b);
    switch (op) {
      case 0x1a:
        return done(a & b);
      case 0x1c:
        return done(a - b);
      case 0x1e:
        return done(a * b);
      case 0x21:
        return done(a | b);
      case 0x22:
        return done(a + b);
      case 0x24:
        return done(b < 64 ? a << b : 0);
      case 0x25:
        return done(b < 64 ? a >> b : 0);
      case 0x26:
        return done(static_cast<std::uint64_t>(sa >> (b < 64 ? b : 63)));
      case 0x27:
        return done(a ^ b);
      case 0x29:
        return done(a == b);
      case 0x2a:
        return done(sa >= sb);
      case 0x2b:
        return done(sa > sb);
      case 0x2c:
        return done(sa <= sb);
      case 0x2d:
        return done(sa < sb);
      case 0x2e:
        return done(a != b);
      default:
        return false;
    }
  }

  cursor in_;
  const std::uint64_t (&registers_)[register_count];
  memory& memory_;
  unsigned depth_ = 0;
  std::uint64_t stack_[depth_max];
};

}  // namespace

bool evaluate(std::uint64_t expression, std::uint64_t tables_end,
              const std::uint64_t (&registers)[register_count], memory& from, bool push,
              std::uint64_t first, std::uint64_t& out) noexcept {
  cursor in(expression, tables_end);
  const std::uint64_t size = in.uleb();
  if (in.bad() || size > in.end() - in.at()) return false;
  in.cut(in.at() + size);
  calculator c(in, registers, from);
  if (push) c.push(first);
  return c.run(out);
}

}  // namespace sigrun::symbol
