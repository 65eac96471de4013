// SPDX-License-Identifier: Apache-2.0
//
// Guards, and what is done in ordinary code when one has caught. See guard.hpp.
#include "arch/guard.hpp"
#include "fault/arm.hpp"
#include "fault/guard.hpp"
#include "fiber/sanitizer.hpp"
#include "sched/machine.hpp"
#include "sched/sched.hpp"
#include "symbol/cfi.hpp"
#include "sys/signal.hpp"

#include <atomic>

#if SIGRUN_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace sigrun {
namespace fault_detail {
namespace {

constinit std::atomic<fault_observer> observer{nullptr};

void add(std::atomic<std::uint64_t>& to, std::uint64_t n = 1) noexcept {
  to.fetch_add(n, std::memory_order_relaxed);
}

[[gnu::noinline, gnu::cold]] void look_up(sigsafe::thread_faults& thread) noexcept {
  thread.exceptions = fiber::this_thread_words().exceptions;
  thread.tid = sys::gettid();
}

fiber::eh_globals& exception_state() noexcept {
  const sched::machine* const m = sched::current_machine();
  return *(m != nullptr ? m->words : fiber::this_thread_words()).exceptions;
}

// Poisons what is still held, and empties the table.
void poison(detail::held_table& table, fault& what) noexcept {
  for (std::uint32_t i = 0; i < table.count; ++i) {
    const detail::held_lock& lock = table.locks[i];
    if (!lock.poison(lock.lock)) continue;
    add(the_counters().poisoned);
    if (what.locks_size < fault::locks_max) what.locks[what.locks_size++] = lock.lock;
  }
  add(the_counters().locks_missed, table.missed);
  table.begin(table.outer);
}

void tell(const fault& what) noexcept {
  if (const fault_observer call = observer.load()) call(what);
}

// ASan's, of the frames that were skipped: from where the fault was, to the guard or, when that is
// on another stack, to where the thread's own stack was left for the goroutine.
void forget_red_zones([[maybe_unused]] const guard_frame& guard) noexcept {
#if SIGRUN_ASAN
  const auto low = guard.what.registers[symbol::sp_register];
  auto high = guard.stack_pointer;
  const sched::machine* const m = sched::current_machine();
  if (guard.foreign == 0 && sched::in_foreign()) {
    high = reinterpret_cast<std::uint64_t>(m->g0.context.stack_pointer);
  }
  constexpr std::uint64_t stack_size_max = std::uint64_t{1} << 30;
  if (low < high && high - low < stack_size_max) {
    __asan_unpoison_memory_region(reinterpret_cast<const void*>(low), high - low);
  }
#endif
}

// The guard is in force while this lives.
class guarding {
 public:
  // One look at the machine, and no call unless it is the thread's first: this is the whole price
  // of a guard that catches nothing.
  guarding(guard_frame& frame, fault_way way) noexcept : frame_(frame) {
    sched::machine* const m = sched::current_machine();
    if (m != nullptr && m->current != nullptr) {
      frame.slot = &m->current->faults;
      frame.exceptions = *m->words.exceptions;
      frame.foreign = m->foreign.load(std::memory_order_relaxed);
    } else {
      sigsafe::thread_faults& thread = sigsafe::current_thread_faults();
      if (thread.exceptions == nullptr) [[unlikely]]
        look_up(thread);
      frame.slot = &thread;
      frame.exceptions = *static_cast<fiber::eh_globals*>(thread.exceptions);
      frame.foreign = 0;
    }
    frame.outer = static_cast<guard_frame*>(frame.slot->guard);
    frame.way = way;
    frame.held.begin(static_cast<detail::held_table*>(frame.slot->held));
    frame.slot->held = &frame.held;
    frame.slot->guard = &frame;
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the handler sees it whole
  }
  ~guarding() {
    frame_.slot->guard = frame_.outer;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    frame_.slot->held = frame_.held.outer;
    if (frame_.held.count != 0 || frame_.held.missed != 0) [[unlikely]]
      detail::hand_out(frame_.held);
  }
  guarding(const guarding&) = delete;
  guarding& operator=(const guarding&) = delete;

  // What the skipped frames would have put right themselves.
  void after_a_jump() noexcept {
    forget_red_zones(frame_);
    if (frame_.foreign == 0 && sched::in_foreign()) sched::end_foreign();
    exception_state() = frame_.exceptions;
    poison(frame_.held, frame_.what);
  }

 private:
  guard_frame& frame_;
};

[[noreturn, gnu::noinline, gnu::cold]] void caught(const fault& what) {
  add(the_counters().returned);
  tell(what);
  throw fault_error(what);
}

// False: it was left by a fault.
bool call_guarded(guard_frame& frame, void (*f)(void*), void* arg, fault_way way) {
  guarding guard(frame, way);
  if (!arch::sigrun_guarded_call(f, arg, &frame.stack_pointer)) [[likely]]
    return true;
  guard.after_a_jump();
  return false;
}

}  // namespace

}  // namespace fault_detail

using namespace fault_detail;  // NOLINT: this module's own

namespace detail {

void run_guarded(void (*f)(void*), void* arg, fault_way way) {
  if (!is_armed()) [[unlikely]]
    arm();
  guard_frame frame;
  // Thrown without the guard: an exception that has nothing to put right here passes faster.
  if (!call_guarded(frame, f, arg, way)) [[unlikely]]
    caught(frame.what);
}

}  // namespace detail

fault_observer set_fault_observer(fault_observer to) noexcept { return observer.exchange(to); }

fault_counts read_fault_counts() noexcept {
  const auto read = [](const std::atomic<std::uint64_t>& of) {
    return of.load(std::memory_order_relaxed);
  };
  const counters& counts = the_counters();
  return {read(counts.returned),   read(counts.thrown),      read(counts.in_handler),
          read(counts.in_runtime), read(counts.overflows),   read(counts.cannot_throw),
          read(counts.poisoned),   read(counts.locks_missed)};
}

bool set_panic_on_fault(bool on) {
  sigsafe::fault_slot& slot = sched::current_fault_slot();
  const bool before = slot.panics;
  if (on && !before) {
    arm();
    prepare_to_panic(slot);
  }
  slot.panics = on;
  return before;
}

bool panic_on_fault() noexcept { return sched::current_fault_slot().panics; }

}  // namespace sigrun

// On the stack that faulted, as if its instruction had called.
extern "C" void sigrun_throw_fault(void* record) {
  using namespace sigrun;  // NOLINT
  fault& what = *static_cast<fault*>(record);
  sched::current_fault_slot().faulted = true;
  fault_detail::add(fault_detail::the_counters().thrown);
  fault_detail::tell(what);
  throw fault_error(what);
}
