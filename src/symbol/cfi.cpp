// SPDX-License-Identifier: Apache-2.0
#include "symbol/cfi.hpp"

namespace sigrun::symbol {

std::uint64_t cursor::uleb() noexcept {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    const auto byte = take<std::uint8_t>();
    if (shift < 64) value |= std::uint64_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) == 0) return value;
  }
  fail();
  return 0;
}

std::int64_t cursor::sleb() noexcept {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    const auto byte = take<std::uint8_t>();
    if (shift < 64) value |= std::uint64_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) != 0) continue;
    if ((byte & 0x40) != 0 && shift + 7 < 64) value |= ~std::uint64_t{0} << (shift + 7);
    return static_cast<std::int64_t>(value);
  }
  fail();
  return 0;
}

std::uint64_t cursor::pointer(std::uint8_t encoding, std::uint64_t data_base) noexcept {
  constexpr std::uint8_t omitted = 0xff;
  if (encoding == omitted) return 0;
  const std::uint64_t place = at_;
  std::uint64_t value = 0;
  switch (encoding & 0x0f) {
    case 0x00:  // absptr
    case 0x04:  // udata8
    case 0x0c:  // sdata8
      value = take<std::uint64_t>();
      break;
    case 0x01:
      value = uleb();
      break;
    case 0x02:
      value = take<std::uint16_t>();
      break;
    case 0x03:
      value = take<std::uint32_t>();
      break;
    case 0x09:
      value = static_cast<std::uint64_t>(sleb());
      break;
    case 0x0a:
      value = static_cast<std::uint64_t>(std::int64_t{take<std::int16_t>()});
      break;
    case 0x0b:
      value = static_cast<std::uint64_t>(std::int64_t{take<std::int32_t>()});
      break;
    default:
      fail();
      return 0;
  }
  switch (encoding & 0x70) {
    case 0x00:
      return value;
    case 0x10:  // pcrel
      return place + value;
    case 0x30:  // datarel
      return data_base + value;
    default:
      fail();
      return 0;
  }
}

namespace {

struct entry {
  std::uint64_t code_align = 1;
  std::int64_t data_align = 1;
  std::uint64_t start = 0;  // the function
  std::uint64_t size = 0;
  cursor common{0, 0};  // instructions of the CIE
  cursor own{0, 0};     // instructions of the FDE
};

struct common_entry {
  std::uint8_t pointer_encoding = 0;
  std::uint8_t lsda_encoding = 0xff;  // DW_EH_PE_omit
  bool augmented = false;
};

// The record at `at`, without its length; empty and bad when it does not fit.
cursor record_at(const module_view& image, std::uint64_t at) noexcept {
  cursor in(at, image.tables_end);
  if (at < image.tables_begin) in.fail();
  std::uint64_t length = in.take<std::uint32_t>();
  if (length == 0xffffffffU) length = in.take<std::uint64_t>();
  if (length == 0 || length > in.end() - in.at()) in.fail();
  in.cut(in.at() + length);
  return in;
}

bool read_common(const module_view& image, std::uint64_t at, entry& to, common_entry& common,
                 frame_rules& rules) noexcept {
  cursor in = record_at(image, at);
  if (in.take<std::uint32_t>() != 0) return false;  // not a CIE
  const auto version = in.take<std::uint8_t>();
  if (version != 1 && version != 3) return false;
  char augmentation[8] = {};
  for (std::size_t i = 0;; ++i) {
    const char c = in.take<char>();
    if (c == '\0') break;
    if (i == sizeof augmentation - 1) return false;
    augmentation[i] = c;
  }
  to.code_align = in.uleb();
  to.data_align = in.sleb();
  rules.return_register = version == 1 ? in.take<std::uint8_t>() : static_cast<unsigned>(in.uleb());
  if (augmentation[0] == 'z') {
    common.augmented = true;
    const std::uint64_t size = in.uleb();
    const std::uint64_t begin = in.at();
    for (const char* c = augmentation + 1; *c != '\0'; ++c) {
      if (*c == 'R') common.pointer_encoding = in.take<std::uint8_t>();
      if (*c == 'L') common.lsda_encoding = in.take<std::uint8_t>();
      if (*c == 'S') rules.signal_frame = true;
      if (*c == 'P') {
        const auto encoding = in.take<std::uint8_t>();
        in.pointer(encoding & 0x7f, 0);
      }
    }
    if (in.bad()) return false;
    in = cursor(begin, in.end());
    in.skip(size);
  } else if (augmentation[0] != '\0') {
    return false;
  }
  to.common = in;
  return !in.bad();
}

// No table is a zero in the place, whatever the encoding adds to it.
std::uint64_t read_lsda(cursor in, std::uint8_t encoding) noexcept {
  cursor raw = in;
  if (raw.pointer(encoding & 0x0f, 0) == 0) return 0;
  return in.pointer(encoding & 0x7f, 0);
}

bool read_entry(const module_view& image, std::uint64_t at, entry& to,
                frame_rules& rules) noexcept {
  cursor in = record_at(image, at);
  const std::uint64_t place = in.at();
  const auto distance = in.take<std::uint32_t>();
  common_entry common;
  if (in.bad() || distance == 0 || !read_common(image, place - distance, to, common, rules)) {
    return false;
  }
  to.start = in.pointer(common.pointer_encoding, 0);
  to.size = in.pointer(common.pointer_encoding & 0x0f, 0);
  rules.function = to.start;
  if (common.augmented) {
    const std::uint64_t size = in.uleb();
    cursor after = in;
    after.skip(size);
    if (size != 0 && common.lsda_encoding != 0xff) rules.lsda = read_lsda(in, common.lsda_encoding);
    in = after;
  }
  to.own = in;
  return !in.bad();
}

// .eh_frame_hdr: a table sorted by function, for which every linker makes pairs of 32-bit offsets.
std::uint64_t find_entry(const module_view& image, std::uint64_t pc) noexcept {
  constexpr std::uint8_t pairs = 0x3b;  // datarel | sdata4
  const std::uint64_t base = image.eh_frame_hdr;
  cursor in(base, image.tables_end);
  if (base == 0 || base < image.tables_begin || in.take<std::uint8_t>() != 1) return 0;
  const auto frame_encoding = in.take<std::uint8_t>();
  const auto count_encoding = in.take<std::uint8_t>();
  if (in.take<std::uint8_t>() != pairs) return 0;
  in.pointer(frame_encoding, base);
  const std::uint64_t count = in.pointer(count_encoding, base);
  if (in.bad() || count == 0 || count > (in.end() - in.at()) / 8) return 0;
  const auto word = [&](std::uint64_t index, unsigned half) {
    std::int32_t offset;
    __builtin_memcpy(&offset, reinterpret_cast<const void*>(in.at() + index * 8 + half * 4), 4);
    return base + static_cast<std::uint64_t>(std::int64_t{offset});
  };
  if (pc < word(0, 0)) return 0;
  std::uint64_t low = 0;
  std::uint64_t high = count;
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    (word(middle, 0) <= pc ? low : high) = middle;
  }
  return word(low, 1);
}

// Runs the instructions that set up the rules at a pc.
class machine {
 public:
  machine(const entry& of, std::uint64_t pc, frame_rules& rules) noexcept
      : of_(of), pc_(pc), at_(of.start), rules_(rules) {}

  bool run(cursor in) noexcept {
    while (!in.empty() && at_ <= pc_) {
      if (!step(in)) return false;
    }
    return !in.bad();
  }
  void common_done() noexcept {
    for (unsigned i = 0; i < register_count; ++i) initial_[i] = rules_.registers[i];
  }

 private:
  static constexpr unsigned depth_max = 4;

  // Nothing of it is set before remember() does.
  struct saved {
    unsigned cfa_register;
    std::int64_t cfa_offset;
    std::uint64_t cfa_expression;
    union {
      register_rule registers[register_count];
    };
    saved() noexcept {}  // NOLINT: see above
  };

  void set(std::uint64_t number, rule how, std::int64_t value) noexcept {
    if (number < register_count) rules_.registers[number] = {how, value};
  }
  std::int64_t factored(std::uint64_t n) const noexcept {
    return static_cast<std::int64_t>(n) * of_.data_align;
  }
  std::int64_t factored(std::int64_t n) const noexcept { return n * of_.data_align; }
  void define_cfa(std::uint64_t number, std::int64_t offset) noexcept {
    rules_.cfa_register = static_cast<unsigned>(number);
    rules_.cfa_offset = offset;
    rules_.cfa_expression = 0;
  }
  // Of a block: where its length stands. The cursor goes past it.
  std::int64_t block(cursor& in) noexcept {
    const auto at = static_cast<std::int64_t>(in.at());
    in.skip(in.uleb());
    return at;
  }

  bool step(cursor& in) noexcept {
    const auto op = in.take<std::uint8_t>();
    const std::uint8_t low = op & 0x3f;
    switch (op & 0xc0) {
      case 0x40:  // advance_loc
        at_ += low * of_.code_align;
        return true;
      case 0x80:  // offset
        set(low, rule::offset, factored(in.uleb()));
        return true;
      case 0xc0:  // restore
        if (low < register_count) rules_.registers[low] = initial_[low];
        return true;
      default:
        return extended(in, op);
    }
  }

  bool extended(cursor& in, std::uint8_t op) noexcept {
    switch (op) {
      case 0x00:  // nop
        return true;
      case 0x01:  // set_loc
        at_ = in.take<std::uint64_t>();
        return true;
      case 0x02:
        at_ += in.take<std::uint8_t>() * of_.code_align;
        return true;
      case 0x03:
        at_ += in.take<std::uint16_t>() * of_.code_align;
        return true;
      case 0x04:
        at_ += in.take<std::uint32_t>() * of_.code_align;
        return true;
      case 0x0a:
        return remember();
      case 0x0b:
        return restore();
      case 0x0c: {  // def_cfa
        const std::uint64_t number = in.uleb();
        define_cfa(number, static_cast<std::int64_t>(in.uleb()));
        return true;
      }
      case 0x12: {  // def_cfa_sf
        const std::uint64_t number = in.uleb();
        define_cfa(number, factored(in.sleb()));
        return true;
      }
      case 0x0d:  // def_cfa_register
        define_cfa(in.uleb(), rules_.cfa_offset);
        return true;
      case 0x0e:  // def_cfa_offset
        define_cfa(rules_.cfa_register, static_cast<std::int64_t>(in.uleb()));
        return true;
      case 0x13:
        define_cfa(rules_.cfa_register, factored(in.sleb()));
        return true;
      case 0x0f:  // def_cfa_expression
        rules_.cfa_expression = static_cast<std::uint64_t>(block(in));
        return true;
      case 0x2e:  // GNU_args_size
        in.uleb();
        return true;
      case 0x2d:  // AARCH64_negate_ra_state: see strip_signature() in unwind.cpp
        return true;
      default:
        return of_register(in, op);
    }
  }

  bool of_register(cursor& in, std::uint8_t op) noexcept {
    const std::uint64_t number = in.uleb();
    switch (op) {
      case 0x05:  // offset_extended
        set(number, rule::offset, factored(in.uleb()));
        return true;
      case 0x06:  // restore_extended
        if (number < register_count) rules_.registers[number] = initial_[number];
        return true;
      case 0x07:
        set(number, rule::undefined, 0);
        return true;
      case 0x08:
        set(number, rule::same, 0);
        return true;
      case 0x09:
        set(number, rule::in_register, static_cast<std::int64_t>(in.uleb()));
        return true;
      case 0x10:
        set(number, rule::expression, block(in));
        return true;
      case 0x11:  // offset_extended_sf
        set(number, rule::offset, factored(in.sleb()));
        return true;
      case 0x14:
        set(number, rule::value_offset, factored(in.uleb()));
        return true;
      case 0x15:
        set(number, rule::value_offset, factored(in.sleb()));
        return true;
      case 0x16:
        set(number, rule::value_expression, block(in));
        return true;
      default:
        return false;
    }
  }

  bool remember() noexcept {
    if (depth_ == depth_max) return false;
    saved& s = stack_[depth_++];
    s.cfa_register = rules_.cfa_register;
    s.cfa_offset = rules_.cfa_offset;
    s.cfa_expression = rules_.cfa_expression;
    for (unsigned i = 0; i < register_count; ++i) s.registers[i] = rules_.registers[i];
    return true;
  }
  bool restore() noexcept {
    if (depth_ == 0) return false;
    const saved& s = stack_[--depth_];
    rules_.cfa_register = s.cfa_register;
    rules_.cfa_offset = s.cfa_offset;
    rules_.cfa_expression = s.cfa_expression;
    for (unsigned i = 0; i < register_count; ++i) rules_.registers[i] = s.registers[i];
    return true;
  }

  const entry& of_;
  const std::uint64_t pc_;
  std::uint64_t at_;
  frame_rules& rules_;
  unsigned depth_ = 0;
  register_rule initial_[register_count];
  saved stack_[depth_max];
};

}  // namespace

bool find_rules(const module_view& image, std::uint64_t pc, frame_rules& out) noexcept {
  const std::uint64_t at = find_entry(image, pc);
  if (at == 0) return false;
  entry found;
  out.tables_end = image.tables_end;
  if (!read_entry(image, at, found, out)) return false;
  if (pc < found.start || pc - found.start >= found.size) return false;
  machine m(found, pc, out);
  if (!m.run(found.common)) return false;
  m.common_done();
  return m.run(found.own);
}

}  // namespace sigrun::symbol
