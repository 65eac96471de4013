// SPDX-License-Identifier: Apache-2.0
//
// A set of signals, laid out as the kernel lays out its sigset_t on amd64 and arm64: one 64-bit
// word, signal n in bit n-1. glibc's sigset_t is 128 bytes and never used by the library.
#pragma once

#include <cstdint>

namespace sigrun {

/// Highest signal number of Linux on amd64 and arm64 (kernel _NSIG; signal(7)).
inline constexpr int signal_max = 64;

/// The range that signal(7) calls real-time, without 32 and 33, which glibc keeps for itself
/// (thread cancellation and setuid), so that the first number a program may use is 34.
inline constexpr int signal_rt_min = 34;
inline constexpr int signal_rt_max = 64;

/// Set of signal numbers 1..64. A literal type; every member may be called in a handler.
class signal_set {
 public:
  constexpr signal_set() noexcept = default;
  constexpr explicit signal_set(std::uint64_t bits) noexcept : bits_(bits) {}

  /// The set with just `signo`; the empty set when `signo` is not 1..64.
  static constexpr signal_set of(int signo) noexcept {
    return valid(signo) ? signal_set{std::uint64_t{1} << (signo - 1)} : signal_set{};
  }
  template <class... Signos>
  static constexpr signal_set of(int first, Signos... rest) noexcept {
    return of(first) | of(rest...);
  }
  static constexpr signal_set all() noexcept { return signal_set{~std::uint64_t{0}}; }
  static constexpr bool valid(int signo) noexcept { return signo >= 1 && signo <= signal_max; }

  constexpr bool has(int signo) const noexcept { return (bits_ & of(signo).bits_) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr std::uint64_t bits() const noexcept { return bits_; }
  /// Lowest member, 0 when empty.
  constexpr int first() const noexcept { return bits_ == 0 ? 0 : __builtin_ctzll(bits_) + 1; }
  constexpr int size() const noexcept { return __builtin_popcountll(bits_); }

  constexpr signal_set& operator|=(signal_set o) noexcept {
    bits_ |= o.bits_;
    return *this;
  }
  constexpr signal_set& operator&=(signal_set o) noexcept {
    bits_ &= o.bits_;
    return *this;
  }
  constexpr signal_set& operator-=(signal_set o) noexcept {
    bits_ &= ~o.bits_;
    return *this;
  }
  friend constexpr signal_set operator|(signal_set a, signal_set b) noexcept { return a |= b; }
  friend constexpr signal_set operator&(signal_set a, signal_set b) noexcept { return a &= b; }
  friend constexpr signal_set operator-(signal_set a, signal_set b) noexcept { return a -= b; }
  friend constexpr bool operator==(signal_set, signal_set) noexcept = default;

  /// Calls f(signo) for each member, lowest first.
  template <class F>
  constexpr void for_each(F f) const {
    for (std::uint64_t left = bits_; left != 0; left &= left - 1) f(__builtin_ctzll(left) + 1);
  }

 private:
  std::uint64_t bits_ = 0;
};

static_assert(sizeof(signal_set) == 8 && signal_set::of(64).bits() == std::uint64_t{1} << 63);

}  // namespace sigrun
