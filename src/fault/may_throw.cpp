// SPDX-License-Identifier: Apache-2.0
#include "fault/may_throw.hpp"

namespace sigrun::fault_detail {
namespace {

constexpr std::uint8_t omitted = 0xff;  // DW_EH_PE_omit
constexpr int actions_max = 64;

// An action is a type filter and the distance to the next. A filter above zero is a catch clause,
// zero a cleanup, below zero an exception specification, which the exception violates.
landing first_of(std::uint64_t action, std::uint64_t actions, std::uint64_t end) noexcept {
  std::uint64_t at = actions + action - 1;
  for (int i = 0; i < actions_max; ++i) {
    symbol::cursor in(at, end);
    const std::int64_t filter = in.sleb();
    const std::uint64_t place = in.at();
    const std::int64_t next = in.sleb();
    if (in.bad()) return landing::never;
    if (filter > 0) return landing::handler;
    if (filter < 0) return landing::never;
    if (next == 0) return landing::cleanup;
    at = place + static_cast<std::uint64_t>(next);
  }
  return landing::never;
}

}  // namespace

landing landing_at(const symbol::seen_frame& frame, std::uint64_t at) noexcept {
  if (frame.lsda == 0) return landing::none;
  if (frame.lsda < frame.tables_begin) return landing::never;
  symbol::cursor in(frame.lsda, frame.tables_end);
  const auto start_encoding = in.take<std::uint8_t>();
  if (start_encoding != omitted) in.pointer(start_encoding, 0);  // where the landing pads are
  if (in.take<std::uint8_t>() != omitted) in.uleb();             // where the types are
  const auto encoding = in.take<std::uint8_t>();
  const std::uint64_t size = in.uleb();
  // Offsets, which are never relative to anything but the function.
  if (in.bad() || (encoding & 0x70) != 0 || size > in.end() - in.at()) return landing::never;
  const std::uint64_t actions = in.at() + size;
  const std::uint64_t offset = at - frame.function;
  while (in.at() < actions && !in.bad()) {
    const std::uint64_t begin = in.pointer(encoding, 0);
    const std::uint64_t length = in.pointer(encoding, 0);
    const std::uint64_t pad = in.pointer(encoding, 0);
    const std::uint64_t action = in.uleb();
    if (in.bad() || offset < begin) return landing::never;  // the table is sorted
    if (offset - begin >= length) continue;
    if (pad == 0) return landing::none;
    return action == 0 ? landing::cleanup : first_of(action, actions, frame.tables_end);
  }
  return landing::never;
}

}  // namespace sigrun::fault_detail
