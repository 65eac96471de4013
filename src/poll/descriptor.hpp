// SPDX-License-Identifier: Apache-2.0
//
// One descriptor in the poller: what is known of its two sides, and who waits for each. A waiter
// is an address and nothing more; whoever takes it out of a word has to wake it.
//
// Each side is one word:
//
//                    event                        arm
//        nil ─────────────────▶ ready      nil ─────────▶ waiter
//         ▲ ◀──── arm takes it ───┘         ▲ ◀─ disarm, kick, event ─┘
//         │                                 │
//         └── open(), only from closed ──── closed ◀── close, from any of the three
//
// Movers: `event` is poller::wait() on any thread; `arm` and `disarm` are the waiter itself; kick()
// and close() are anybody who holds the descriptor; open() is poller::add().
//   (1) An edge is never lost: it either takes the waiter out of the word or leaves `ready` there,
//       which the next arm() takes instead of waiting. Hence the order of a blocking call: try;
//       on EAGAIN arm; if armed, sleep; try again.
//   (2) A waiter leaves the word once, by one exchange. Who made it owns the wake: the mover of
//       event, kick or close must wake it, and then never touches it; the waiter whose disarm()
//       succeeded will not be woken, one whose disarm() failed will be, and must wait for that.
//   (3) At most one waiter a side. The callers queue before it, not in it.
//   (4) `ready` is a hint. An event fetched before the descriptor changed hands is told by its
//       generation and dropped; one that passes this check and is then overtaken leaves at most a
//       needless `ready` or a needless wake, and (1)'s second try makes good.
//   (5) What `hung_up` and `urgent` say was so at some time since open(), and stays: they are set
//       before the word moves, so that who is woken sees them.
//   (6) The memory of a descriptor is never given back, so that a late event always finds one.
#pragma once

#include <atomic>
#include <cstdint>

namespace sigrun::poll {

class poller;

enum class side : std::uint8_t { read, write };

enum class armed : std::uint8_t {
  waiting,  ///< the waiter is in the word
  ready,    ///< an edge had come, and was taken; try again
  closed,
  busy,  ///< another waiter is there: the caller broke (3)
};

class alignas(64) descriptor {
 public:
  descriptor() noexcept = default;
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;

  /// Puts `waiter`, the address of something aligned to 4, into the word of `which`.
  armed arm(side which, void* waiter) noexcept;

  /// Takes one's own waiter back. False: somebody has it, and its wake is on the way.
  bool disarm(side which, void* waiter) noexcept;

  /// Takes out whoever waits, so that the caller wakes him to look again; nullptr for nobody.
  void* kick(side which) noexcept;

  /// From here on arm() says `closed`. Returns whoever waited, for the caller to wake.
  void* close(side which) noexcept;

  /// The peer shut its sending half, hung up, or there was an error: a short read no longer means
  /// that the next one would block.
  bool hung_up() const noexcept { return (seen_.load() & seen_hang_up) != 0; }
  /// The same of urgent data, at which a read stops short. (tcp(7))
  bool urgent() const noexcept { return (seen_.load() & seen_urgent) != 0; }
  /// Whether nothing has come for the side since arm() last took `ready`.
  bool quiet(side which) const noexcept { return word(which).load() == nil_word; }

  /// Whether somebody waits.
  bool is_waited_for(side which) const noexcept { return is_waiter(word(which).load()); }

  int fd() const noexcept { return fd_; }
  std::uint32_t generation() const noexcept { return generation_.load(); }

 private:
  friend class poller;

  static constexpr std::uintptr_t nil_word = 0;
  static constexpr std::uintptr_t ready_word = 1;
  static constexpr std::uintptr_t closed_word = 2;
  static constexpr std::uint32_t seen_hang_up = 1;
  static constexpr std::uint32_t seen_urgent = 2;

  static bool is_waiter(std::uintptr_t word) noexcept { return word > closed_word; }
  std::atomic<std::uintptr_t>& word(side which) noexcept {
    return words_[static_cast<std::size_t>(which)];
  }
  const std::atomic<std::uintptr_t>& word(side which) const noexcept {
    return words_[static_cast<std::size_t>(which)];
  }
  /// The edge: returns the waiter to wake, or nullptr after leaving `ready`.
  void* event(side which) noexcept;
  void open(int fd) noexcept;
  void* take_out(side which, std::uintptr_t leave) noexcept;

  std::atomic<std::uintptr_t> words_[2] = {closed_word, closed_word};
  std::atomic<std::uint32_t> seen_{0};
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::uint32_t> next_free_{0};  // the pool's link: index + 1
  std::uint32_t index_ = 0;                  // set once, by the pool
  int fd_ = -1;                              // between open() and the next one
};

}  // namespace sigrun::poll
