// SPDX-License-Identifier: Apache-2.0
#include "poll/poller.hpp"

#include "base/expect.hpp"
#include "sys/epoll.hpp"
#include "sys/file.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

namespace sigrun::poll {
namespace {

constexpr std::uint64_t break_key = ~std::uint64_t{0};
constexpr std::uint32_t read_events = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR;
constexpr std::uint32_t write_events = EPOLLOUT | EPOLLHUP | EPOLLERR;
constexpr std::uint32_t hang_up_events = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
// Linux holds a time-out in milliseconds in an int.
constexpr std::int64_t timeout_ms_max = INT32_MAX;

std::uint64_t key_of(std::uint32_t index, std::uint32_t generation) noexcept {
  return std::uint64_t{generation} << 32 | index;
}

}  // namespace

poller::~poller() {
  for (std::size_t i = 0; i < segments_max; ++i) {
    if (descriptor* const held = segments_[i].load()) {
      sys::call(SYS_munmap, held, sizeof(descriptor) * (std::size_t{first_segment} << i));
    }
  }
  if (break_fd_ >= 0) sys::close(break_fd_);
  if (epoll_fd_ >= 0) sys::close(epoll_fd_);
}

long poller::open() noexcept {
  base::expect(!is_open(), "poller: opened twice");
  const long made = sys::epoll_create(EPOLL_CLOEXEC);
  if (sys::failed(made)) return made;
  const long bell = sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  long result = bell;
  if (!sys::failed(bell)) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = break_key;
    result = sys::epoll_ctl(static_cast<int>(made), EPOLL_CTL_ADD, static_cast<int>(bell), &event);
    if (sys::failed(result)) sys::close(static_cast<int>(bell));
  }
  if (sys::failed(result)) {
    sys::close(static_cast<int>(made));
    return result;
  }
  epoll_fd_ = static_cast<int>(made);
  break_fd_ = static_cast<int>(bell);
  return 0;
}

// ------------------------------------------------------------------------------------- the pool

poller::place poller::place_of(std::uint32_t index) noexcept {
  // Segment k begins at first_segment * (2^k - 1).
  const auto number = static_cast<std::size_t>(std::bit_width(index / first_segment + 1) - 1);
  return {number, index - first_segment * ((1U << number) - 1)};
}

descriptor* poller::at(std::uint32_t index) noexcept {
  const place where = place_of(index);
  return segments_[where.segment].load() + where.offset;
}

descriptor* poller::segment(std::size_t number) noexcept {
  if (descriptor* const held = segments_[number].load()) return held;
  const std::size_t bytes = sizeof(descriptor) * (std::size_t{first_segment} << number);
  const long mapped = sys::call(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sys::failed(mapped)) return nullptr;
  auto* const fresh = reinterpret_cast<descriptor*>(mapped);
  descriptor* seen = nullptr;
  if (segments_[number].compare_exchange_strong(seen, fresh)) return fresh;
  sys::call(SYS_munmap, fresh, bytes);  // another thread was first
  return seen;
}

descriptor* poller::grow() noexcept {
  std::uint32_t index = used_.load();
  for (;;) {
    if (index >= descriptors_max) return nullptr;
    const place where = place_of(index);
    descriptor* const held = segment(where.segment);
    if (held == nullptr) return nullptr;
    if (!used_.compare_exchange_weak(index, index + 1)) continue;
    auto* const made = ::new (held + where.offset) descriptor;
    made->index_ = index;
    return made;
  }
}

descriptor* poller::acquire() noexcept {
  std::uint64_t head = free_.load();
  while (static_cast<std::uint32_t>(head) != 0) {
    descriptor* const first = at(static_cast<std::uint32_t>(head) - 1);
    // (4): whatever the link says when the head has moved meanwhile, the exchange fails.
    const std::uint64_t next = ((head >> 32) + 1) << 32 | first->next_free_.load();
    if (free_.compare_exchange_weak(head, next)) return first;
  }
  return grow();
}

void poller::release(descriptor& which) noexcept {
  std::uint64_t head = free_.load();
  std::uint64_t next = 0;
  do {
    which.next_free_.store(static_cast<std::uint32_t>(head));
    next = ((head >> 32) + 1) << 32 | (which.index_ + 1);
  } while (!free_.compare_exchange_weak(head, next));
}

// -------------------------------------------------------------------------------------- the set

long poller::add(descriptor& which, int fd) noexcept {
  which.open(fd);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
  event.data.u64 = key_of(which.index_, which.generation());
  adds_.fetch_add(1, std::memory_order_release);  // pairs with the load in wait()
  const long result = sys::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event);
  if (sys::failed(result)) {
    which.close(side::read);
    which.close(side::write);
    return result;
  }
  count_.descriptors.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

long poller::remove(descriptor& which) noexcept {
  which.generation_.fetch_add(1);  // (3)
  base::expect(which.close(side::read) == nullptr && which.close(side::write) == nullptr,
               "poller: removed a descriptor that is waited for");
  count_.descriptors.fetch_sub(1, std::memory_order_relaxed);
  // Linux before 2.6.9 wanted an event here; none of ours is that old.
  return sys::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, which.fd_, nullptr);
}

long poller::sleep(std::int64_t timeout_ns, void* events, int room) noexcept {
  auto* const list = static_cast<epoll_event*>(events);
  if (timeout_ns <= 0) return sys::epoll_wait_ms(epoll_fd_, list, room, timeout_ns < 0 ? -1 : 0);
  if (!no_pwait2_.load(std::memory_order_relaxed)) {
    const sys::timespec64 timeout =
        sys::timespec64{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
    const long result = sys::epoll_wait_ns(epoll_fd_, list, room, &timeout);
    if (result != -ENOSYS) return result;
    no_pwait2_.store(true, std::memory_order_relaxed);
  }
  // Rounded up, so that nobody wakes before his time and spins for the rest of it.
  const std::int64_t ms = timeout_ns / 1'000'000 + (timeout_ns % 1'000'000 != 0 ? 1 : 0);
  return sys::epoll_wait_ms(epoll_fd_, list, room, static_cast<int>(std::min(ms, timeout_ms_max)));
}

int poller::wait(std::int64_t timeout_ns, ready_list& ready) noexcept {
  base::expect(ready.left() >= 2, "poller: no room for who is ready");
  const bool look = timeout_ns == 0;
  (look ? count_.looks : count_.waits).fetch_add(1, std::memory_order_relaxed);
  epoll_event events[events_max];
  const int room = static_cast<int>(std::min<std::size_t>(events_max, ready.left() / 2));
  const long found = sleep(timeout_ns, events, room);
  if (found == -EINTR) return 0;
  if (sys::failed(found)) return static_cast<int>(found);

  static_cast<void>(adds_.load(std::memory_order_acquire));  // pairs with the one in add()
  const std::size_t before = ready.size();
  std::uint64_t late = 0;
  std::uint64_t taken = 0;
  for (long i = 0; i < found; ++i) {
    const std::uint64_t key = events[i].data.u64;
    const std::uint32_t happened = events[i].events;
    if (key == break_key) {
      if (!look) empty_break();  // (2)
      continue;
    }
    ++taken;
    descriptor& which = *at(static_cast<std::uint32_t>(key));
    if (which.generation() != key >> 32) {
      ++late;
      continue;
    }
    const std::uint32_t seen = ((happened & hang_up_events) != 0 ? descriptor::seen_hang_up : 0) |
                               ((happened & EPOLLPRI) != 0 ? descriptor::seen_urgent : 0);
    if (seen != 0) which.seen_.fetch_or(seen);
    if ((happened & read_events) != 0) ready.add(which.event(side::read));
    if ((happened & write_events) != 0) ready.add(which.event(side::write));
  }
  const std::size_t listed = ready.size() - before;
  if (taken != 0) count_.events.fetch_add(taken, std::memory_order_relaxed);
  if (late != 0) count_.late.fetch_add(late, std::memory_order_relaxed);
  if (listed != 0) count_.woken.fetch_add(listed, std::memory_order_relaxed);
  return static_cast<int>(listed);
}

void poller::empty_break() noexcept {
  std::uint64_t rings = 0;
  sys::read(break_fd_, &rings, sizeof rings);
  woken_.exchange(false);
  count_.breaks.fetch_add(1, std::memory_order_relaxed);
}

poll_counters poller::counters() const noexcept {
  constexpr auto relaxed = std::memory_order_relaxed;
  return {.looks = count_.looks.load(relaxed),
          .waits = count_.waits.load(relaxed),
          .events = count_.events.load(relaxed),
          .late = count_.late.load(relaxed),
          .woken = count_.woken.load(relaxed),
          .breaks = count_.breaks.load(relaxed),
          .wakes = count_.wakes.load(relaxed),
          .descriptors = count_.descriptors.load(relaxed)};
}

}  // namespace sigrun::poll
