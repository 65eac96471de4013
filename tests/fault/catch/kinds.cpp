// SPDX-License-Identifier: Apache-2.0
//
// Faults of every kind, each in a function with something to destroy, called by a frame with
// something to destroy.
#include "kinds.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace catching {
namespace {

constinit std::atomic<int> destroyed{0};
constinit std::atomic<bool> caught_itself{false};
constinit sigrun::mutex the_lock;

struct probe {
  ~probe() { destroyed.fetch_add(1, std::memory_order_relaxed); }
};

// A value the compiler knows nothing about.
template <class T>
[[gnu::noinline]] T hidden(T value) {
  asm volatile("" : "+r"(value));
  return value;
}

template <class T>
void keep(T value) {
  asm volatile("" : : "r"(value) : "memory");
}

char* page(int protection) {
  return static_cast<char*>(::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void null_read() {
  const probe inside;
  keep(*hidden<int*>(nullptr));
}

void null_write() {
  const probe inside;
  *hidden<int*>(nullptr) = 1;
  asm volatile("" ::: "memory");
}

void null_and_handler() {
  const probe inside;
  try {
    keep(*hidden<int*>(nullptr));
  } catch (const sigrun::fault_error&) {
    caught_itself = true;
  }
}

// No mapping can have such an address: the processor does not tell it.
void wild_read() {
  const probe inside;
  keep(*hidden(reinterpret_cast<int*>(0xdead'0000'0000'0000)));
}

void read_only() {
  const probe inside;
  *hidden(page(PROT_READ)) = 1;
  asm volatile("" ::: "memory");
}

void calls_null() {
  const probe inside;
  hidden<void (*)()>(nullptr)();
  asm volatile("");
}

void calls_data() {
  const probe inside;
  hidden(reinterpret_cast<void (*)()>(page(PROT_READ)))();
  asm volatile("");
}

void atomic_of_8() {
  const probe inside;
  alignas(64) char room[64] = {};
  __atomic_fetch_add(reinterpret_cast<std::uint64_t*>(hidden(room + 1)), 1, __ATOMIC_SEQ_CST);
}

#if defined(__x86_64__)
void atomic_of_16() {
  const probe inside;
  alignas(64) char room[64] = {};
  asm volatile("lock cmpxchg16b (%0)" : : "r"(hidden(room + 8)) : "rax", "rdx", "memory", "cc");
}

void vector_of_16() {
  using vector = long long __attribute__((vector_size(16)));
  const probe inside;
  alignas(64) char room[64] = {};
  const vector value = *reinterpret_cast<const vector*>(hidden(room + 8));
  asm volatile("" : : "x"(value));
}
#endif

void truncated_mapping() {
  const probe inside;
  const int fd = ::memfd_create("catch", 0);
  if (::ftruncate(fd, 4096) != 0) std::_Exit(99);
  auto* const at = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
  if (::ftruncate(fd, 0) != 0) std::_Exit(99);
  keep(*hidden(at));
}

void divides_by_zero() {
  const probe inside;
  keep(7 / hidden(0));
}

void divides_the_least() {
  const probe inside;
  keep(hidden(INT_MIN) / hidden(-1));
}

[[gnu::noinline]] int runs_deep(int depth) {
  char room[512];
  asm volatile("" : : "r"(room) : "memory");
  room[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : runs_deep(hidden(depth - 1)) + room[hidden(0)];
}

void overflows() {
  const probe inside;
  keep(runs_deep(hidden(1 << 30)));
}

void in_memcpy() {
  const probe inside;
  char room[64];
  std::memcpy(room, hidden<char*>(nullptr), hidden(sizeof room));
  keep(room[0]);
}

void in_strlen() {
  const probe inside;
  keep(std::strlen(hidden<const char*>(nullptr)));
}

int compares_badly(const void*, const void*) {
  const probe inside;
  return *hidden<int*>(nullptr);
}

// compares_badly() is the function that faults, and this one its caller, with a frame of the C
// library between them.
void in_qsorts_call() {
  int values[2] = {2, 1};
  std::qsort(values, 2, sizeof values[0], &compares_badly);
  keep(values[0]);
}

void in_a_foreign_call() {
  sigrun::foreign_call([] { null_read(); });
}

[[gnu::noinline]] void marked_noexcept() noexcept {
  const probe inside;
  hidden<void (*)()>(null_write)();
  keep(*hidden<int*>(nullptr));
}

void in_noexcept() {
  marked_noexcept();
  asm volatile("");
}

struct ends_badly {
  ~ends_badly() { keep(*hidden<int*>(nullptr)); }
};

void in_a_destructor() {
  const probe inside;
  const ends_badly one;
  hidden<void (*)()>([] {})();
}

void in_a_handler() {
  const probe inside;
  std::signal(SIGUSR1, [](int) { keep(*hidden<int*>(nullptr)); });
  std::raise(SIGUSR1);
}

void with_a_mutex() {
  const probe inside;
  const std::lock_guard hold(the_lock);
  keep(*hidden<int*>(nullptr));
}

// Its move is called by the channel, under its lock.
struct moves_badly {
  moves_badly() = default;
  moves_badly(moves_badly&&) noexcept { keep(*hidden<int*>(nullptr)); }
  moves_badly& operator=(moves_badly&&) = default;
};

void under_a_channels_lock() {
  const probe inside;
  sigrun::chan<moves_badly> values(2);
  values.send(moves_badly());
}

// The frame in between.
[[gnu::noinline]] void calls(const kind& one) {
  const probe outer;
  hidden(one.run)();
  asm volatile("");
}

outcome judge(bool caught) {
  if (!caught) return caught_itself ? outcome::own : outcome::goes_on;
  if (caught_itself) return outcome::unexpected;
  switch (destroyed) {
    case 0:
      return outcome::returned;
    case 1:
      return outcome::skips;
    case 2:
      return outcome::thrown;
    default:
      return outcome::unexpected;
  }
}

}  // namespace

outcome by_guard(const kind& one, sigrun::fault& what) {
  bool caught = false;
  try {
    sigrun::guarded([&] { calls(one); });
  } catch (const sigrun::fault_error& error) {
    what = error.details();
    caught = true;
  }
  return judge(caught);
}

outcome by_panic(const kind& one, sigrun::fault& what) {
  bool caught = false;
  sigrun::set_panic_on_fault(true);
  try {
    calls(one);
  } catch (const sigrun::fault_error& error) {
    what = error.details();
    caught = true;
  }
  return judge(caught);
}

bool lock_is_right(outcome got) {
  const bool free = the_lock.try_lock();
  if (free == the_lock.poisoned()) return false;
  return free || got == outcome::returned || got == outcome::skips;
}

const kind kinds[] = {
    {"null pointer, read", null_read, SIGSEGV, SEGV_MAPERR},
    {"null pointer, written", null_write, SIGSEGV, SEGV_MAPERR},
    {"null pointer, `catch` in the same function", null_and_handler, SIGSEGV, SEGV_MAPERR},
    {"wild pointer", wild_read, SIGSEGV, any_code},
    {"write to a read-only page", read_only, SIGSEGV, SEGV_ACCERR},
    {"call through null", calls_null, SIGSEGV, SEGV_MAPERR},
    {"call into data", calls_data, SIGSEGV, SEGV_ACCERR},
    {"misaligned atomic, 8 bytes", atomic_of_8, SIGBUS, BUS_ADRALN},
#if defined(__x86_64__)
    {"misaligned atomic, 16 bytes", atomic_of_16, SIGSEGV, SI_KERNEL},
    {"misaligned vector", vector_of_16, SIGSEGV, SI_KERNEL},
#endif
    {"truncated mapping", truncated_mapping, SIGBUS, BUS_ADRERR},
    {"division by zero", divides_by_zero, SIGFPE, FPE_INTDIV},
    {"`INT_MIN / -1`", divides_the_least, SIGFPE, FPE_INTDIV},
    {"stack overflow", overflows, SIGSEGV, any_code},
    {"in libc: `memcpy`", in_memcpy, SIGSEGV, SEGV_MAPERR},
    {"in libc: `strlen`", in_strlen, SIGSEGV, SEGV_MAPERR},
    {"in what libc calls: `qsort`", in_qsorts_call, SIGSEGV, SEGV_MAPERR},
    {"in a foreign call", in_a_foreign_call, SIGSEGV, SEGV_MAPERR},
    {"in a `noexcept` function", in_noexcept, SIGSEGV, SEGV_MAPERR},
    {"in a destructor", in_a_destructor, SIGSEGV, SEGV_MAPERR},
    {"in a signal handler", in_a_handler, SIGSEGV, SEGV_MAPERR},
    {"with a `mutex` held", with_a_mutex, SIGSEGV, SEGV_MAPERR},
    {"with a channel's own lock held", under_a_channels_lock, SIGSEGV, SEGV_MAPERR},
};
const std::size_t kinds_size = sizeof kinds / sizeof kinds[0];

}  // namespace catching
