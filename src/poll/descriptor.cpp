// SPDX-License-Identifier: Apache-2.0
#include "poll/descriptor.hpp"

namespace sigrun::poll {
namespace {

std::uintptr_t to_word(void* waiter) noexcept { return reinterpret_cast<std::uintptr_t>(waiter); }
void* to_waiter(std::uintptr_t word) noexcept { return reinterpret_cast<void*>(word); }

}  // namespace

armed descriptor::arm(side which, void* waiter) noexcept {
  std::atomic<std::uintptr_t>& at = word(which);
  for (;;) {
    std::uintptr_t seen = nil_word;
    if (at.compare_exchange_strong(seen, to_word(waiter))) return armed::waiting;
    if (seen == closed_word) return armed::closed;
    if (is_waiter(seen)) return armed::busy;
    // Only close() can come between here, since an event leaves `ready` as it is.
    if (at.compare_exchange_strong(seen, nil_word)) return armed::ready;
  }
}

bool descriptor::disarm(side which, void* waiter) noexcept {
  std::uintptr_t seen = to_word(waiter);
  return word(which).compare_exchange_strong(seen, nil_word);
}

void* descriptor::take_out(side which, std::uintptr_t leave) noexcept {
  std::atomic<std::uintptr_t>& at = word(which);
  std::uintptr_t seen = at.load();
  while (is_waiter(seen)) {
    if (at.compare_exchange_weak(seen, leave)) return to_waiter(seen);
  }
  return nullptr;
}

void* descriptor::kick(side which) noexcept { return take_out(which, nil_word); }

void* descriptor::close(side which) noexcept {
  const std::uintptr_t before = word(which).exchange(closed_word);
  return is_waiter(before) ? to_waiter(before) : nullptr;
}

void* descriptor::event(side which) noexcept {
  std::atomic<std::uintptr_t>& at = word(which);
  std::uintptr_t seen = at.load();
  for (;;) {
    if (seen == ready_word || seen == closed_word) return nullptr;
    const std::uintptr_t next = seen == nil_word ? ready_word : nil_word;
    if (at.compare_exchange_weak(seen, next)) return is_waiter(seen) ? to_waiter(seen) : nullptr;
  }
}

void descriptor::open(int fd) noexcept {
  fd_ = fd;
  seen_.store(0);
  words_[0].store(nil_word);
  words_[1].store(nil_word);
}

}  // namespace sigrun::poll
