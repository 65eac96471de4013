// SPDX-License-Identifier: Apache-2.0
//
// Faults that can be caught: a bad pointer, a truncated mapping or a division by zero in one piece
// of work ends that piece of work, and not the service.
//
//   try {
//     sigrun::guarded([&] { parse(untrusted); });
//   } catch (const sigrun::fault_error& error) {
//     log(error.what());     // SIGSEGV (SEGV_MAPERR) at 0x10, pc 0x55d0c3e4f1a2
//   }
//
// What a fault leaves half done stays half done: guarded() is for code whose data nobody else uses,
// or can be thrown away. docs/faults.md has the rules.
//
// Nothing here is for handlers. Faults that somebody sent (kill(2)) are signals like others.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sigrun {

#if defined(__x86_64__)
inline constexpr std::size_t fault_register_count = 18;
#else
inline constexpr std::size_t fault_register_count = 34;
#endif

/// The name of a register of fault::registers: "rax" … "r15", "rip", "eflags"; "x0" … "x30", "sp",
/// "pc", "pstate". "?" for an index that is none.
std::string_view fault_register_name(std::size_t index) noexcept;

/// What the kernel said of a fault, and where the code stood.
struct fault {
  static constexpr std::size_t stack_max = 48;
  static constexpr std::size_t locks_max = 8;

  int signal = 0;             ///< SIGSEGV, SIGBUS or SIGFPE
  int code = 0;               ///< si_code; signal_code_name() has its name
  int tid = 0;                ///< of the thread that executed the instruction
  bool has_address = false;   ///< not for SIGFPE, nor for addresses that no mapping can have
  bool thrown_there = false;  ///< the exception was thrown by the instruction: destructors ran
  bool stack_cut = false;     ///< there were more than stack_max frames
  std::uint8_t stack_size = 0;
  std::uint8_t locks_size = 0;
  std::uint64_t goroutine = 0;  ///< its id; 0 for a plain thread
  std::uintptr_t address = 0;   ///< the address that could not be used
  std::uintptr_t pc = 0;        ///< of the instruction
  std::array<std::uint64_t, fault_register_count> registers{};
  std::array<std::uintptr_t, stack_max> stack_frames{};
  std::array<const void*, locks_max> locks{};

  /// The code addresses of the stack, innermost first: `pc`, then return addresses.
  std::span<const std::uintptr_t> stack() const noexcept {
    return {stack_frames.data(), stack_size};
  }
  /// Locks (mutex, rw_mutex) that the code held and that are poisoned now; the first of them.
  std::span<const void* const> poisoned() const noexcept { return {locks.data(), locks_size}; }
};

/// "SIGSEGV (SEGV_MAPERR) at 0x10, pc 0x55d0c3e4f1a2", and the number of poisoned locks.
std::string describe(const fault& what);

/// Thrown for a fault.
class fault_error : public std::runtime_error {
 public:
  explicit fault_error(const fault& what) : std::runtime_error(describe(what)), fault_(what) {}
  const fault& details() const noexcept { return fault_; }

 private:
  fault fault_;
};

/// How guarded() ends the code that faulted.
enum class fault_way : std::uint8_t {
  /// Control returns to guarded() at once: no destructor and no handler in between is run.
  returns,
  /// The exception is thrown by the instruction, so destructors and handlers in between are run;
  /// if the tables of the code in between say that this cannot be (a function that was not
  /// compiled with g++ -fnon-call-exceptions, a noexcept one), as `returns`.
  throws,
};

// Set by the CMake target sigrun::non_call_exceptions, which gives g++ the flag of that name.
#if defined(SIGRUN_NON_CALL_EXCEPTIONS) && !defined(__clang__)
#define SIGRUN_FAULT_WAY ::sigrun::fault_way::throws
#else
#define SIGRUN_FAULT_WAY ::sigrun::fault_way::returns
#endif

namespace detail {
void run_guarded(void (*f)(void*), void* arg, fault_way way);
}

/// Calls f() and returns what it returns. A SIGSEGV, SIGBUS or SIGFPE that an instruction in it
/// raises, on the caller's goroutine or thread, is thrown from here as fault_error; what f throws
/// passes through. Calls may be nested: the innermost one catches.
///
/// Not caught, so that the process dies of the fault as it would have: a stack that has run over, a
/// fault inside a signal handler, and one while the runtime holds a lock of its own.
/// The first call installs handlers for the three signals; whoever had one keeps the faults that
/// nobody is guarded against. Throws std::system_error when that fails.
/// Any goroutine or thread. Costs a few nanoseconds when nothing faults.
template <class F>
decltype(auto) guarded(F&& f, fault_way way = SIGRUN_FAULT_WAY) {
  using result = std::invoke_result_t<F&>;
  if constexpr (std::is_void_v<result>) {
    auto body = [&f] { std::invoke(f); };
    detail::run_guarded([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body, way);
  } else if constexpr (std::is_reference_v<result>) {
    std::remove_reference_t<result>* out = nullptr;
    auto body = [&] { out = std::addressof(std::invoke(f)); };
    detail::run_guarded([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body, way);
    return static_cast<result>(*out);
  } else {
    std::optional<result> out;
    auto body = [&] { out.emplace(std::invoke(f)); };
    detail::run_guarded([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body, way);
    return result(std::move(*out));
  }
}

/// As Go's debug.SetPanicOnFault: from here on a fault of the calling goroutine throws fault_error
/// from the instruction, until it ends or says false; returns what was set before. A plain thread
/// is given a signal stack for it, if it has none.
///
/// It needs code of which the exception tables say that the instruction may throw, or that has
/// nothing to unwind: g++ with -fnon-call-exceptions. Where they say that it may not, the process
/// dies of the fault; it never ends up in std::terminate for want of a flag. A guarded() that is
/// under way comes first.
/// Throws std::system_error when the handlers, the stack or memory cannot be had.
bool set_panic_on_fault(bool on);
bool panic_on_fault() noexcept;

/// Called after each fault that was caught, in ordinary code, on the thread that goes on, before
/// the exception is thrown. `observer` must not throw and must not fault; nullptr: none. Returns
/// the one before.
using fault_observer = void (*)(const fault& what) noexcept;
fault_observer set_fault_observer(fault_observer observer) noexcept;

/// How often, in this process, what became of faults.
struct fault_counts {
  std::uint64_t returned = 0;      ///< caught, at the guard
  std::uint64_t thrown = 0;        ///< caught, thrown by the instruction
  std::uint64_t in_handler = 0;    ///< fatal: inside a signal handler
  std::uint64_t in_runtime = 0;    ///< fatal: inside the runtime, or with a lock of its held
  std::uint64_t overflows = 0;     ///< fatal: a stack had run over
  std::uint64_t cannot_throw = 0;  ///< fatal: panic_on_fault in code that cannot be unwound there
  std::uint64_t poisoned = 0;      ///< locks
  std::uint64_t locks_missed = 0;  ///< locks that were not noted, because too many were held
};
fault_counts read_fault_counts() noexcept;

}  // namespace sigrun
