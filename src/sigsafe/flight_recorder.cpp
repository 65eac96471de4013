// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/flight_recorder.hpp"

namespace sigrun::sigsafe {
namespace {

constinit flight_recorder instance;

constexpr unsigned since_bits = 40;
constexpr std::uint64_t since_max = (std::uint64_t{1} << since_bits) - 1;

constexpr std::uint64_t pair(std::uint32_t high, std::uint32_t low) noexcept {
  return std::uint64_t{high} << 32 | low;
}
constexpr std::uint32_t high_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32);
}
constexpr std::uint32_t low_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word);
}

}  // namespace

flight_recorder& the_flight_recorder() noexcept { return instance; }

void flight_recorder::record(const signal_event& event, std::uint32_t subscribers) noexcept {
  slot& to = slots_[event.sequence % flight_slots];
  to.sequence.store(0, std::memory_order_relaxed);
  // A reader that sees a word of this record sees the 0 as well, or the new sequence: its second
  // look (an acquire fence before it) pairs with this one.
  std::atomic_thread_fence(std::memory_order_release);
  const auto as_word = [](auto value) { return static_cast<std::uint64_t>(value); };
  const std::uint64_t all[words] = {
      pair(static_cast<std::uint32_t>(event.signo), static_cast<std::uint32_t>(event.code)),
      pair(event.count,
           static_cast<std::uint32_t>(event.cause) << 8 | static_cast<std::uint32_t>(event.origin)),
      pair(static_cast<std::uint32_t>(event.pid), event.uid),
      pair(static_cast<std::uint32_t>(event.tid), subscribers),
      as_word(event.at.taken),
      as_word(event.at.queued),
      as_word(event.at.dispatched)};
  for (std::size_t i = 0; i < words; ++i) to.word[i].store(all[i], std::memory_order_relaxed);
  to.received.store(0, std::memory_order_relaxed);
  to.sequence.store(event.sequence, std::memory_order_release);  // pairs with read
  newest_.store(event.sequence, std::memory_order_release);
}

void flight_recorder::received(std::uint64_t sequence, std::int64_t dispatched_ns,
                               std::int64_t received_ns) noexcept {
  slot& to = slots_[sequence % flight_slots];
  if (sequence == 0 || to.sequence.load(std::memory_order_relaxed) != sequence) return;
  const std::int64_t since = received_ns - dispatched_ns;
  // At least 1, for 0 means that nobody has received it.
  const std::uint64_t bounded = since < 1 ? 1
                                : static_cast<std::uint64_t>(since) > since_max
                                    ? since_max
                                    : static_cast<std::uint64_t>(since);
  std::uint64_t seen = to.received.load(std::memory_order_relaxed);
  const std::uint64_t tag = sequence << since_bits;
  if ((seen & since_max) != 0 && (seen & ~since_max) == tag) return;  // the first one counts
  to.received.store(tag | bounded, std::memory_order_relaxed);
}

bool flight_recorder::read(std::uint64_t sequence, flight_record& out) const noexcept {
  const slot& from = slots_[sequence % flight_slots];
  if (sequence == 0 || from.sequence.load(std::memory_order_acquire) != sequence) return false;
  std::uint64_t all[words];
  for (std::size_t i = 0; i < words; ++i) all[i] = from.word[i].load(std::memory_order_relaxed);
  const std::uint64_t got = from.received.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release fence in record
  if (from.sequence.load(std::memory_order_relaxed) != sequence) return false;
  out = flight_record{};
  out.sequence = sequence;
  out.signo = static_cast<std::int32_t>(high_of(all[0]));
  out.code = static_cast<std::int32_t>(low_of(all[0]));
  out.count = high_of(all[1]);
  out.cause = static_cast<signal_cause>(low_of(all[1]) >> 8);
  out.origin = static_cast<signal_origin>(low_of(all[1]) & 0xff);
  out.pid = static_cast<std::int32_t>(high_of(all[2]));
  out.uid = low_of(all[2]);
  out.tid = static_cast<std::int32_t>(high_of(all[3]));
  out.subscribers = low_of(all[3]);
  out.at.taken = static_cast<std::int64_t>(all[4]);
  out.at.queued = static_cast<std::int64_t>(all[5]);
  out.at.dispatched = static_cast<std::int64_t>(all[6]);
  const bool ours = (got & ~since_max) == sequence << since_bits;
  if (ours && (got & since_max) != 0) {
    out.at.received = out.at.dispatched + static_cast<std::int64_t>(got & since_max);
  }
  return true;
}

}  // namespace sigrun::sigsafe
