// SPDX-License-Identifier: Apache-2.0
//
// Signals for one goroutine, and the goroutine's own handlers for them:
//
//   goroutine worker = go([&] {
//     raise_handler on_hup(SIGHUP, [&](const signal_event& event) { reload(event.value_int()); });
//     for (;;) work(jobs.recv());
//   });
//   worker.raise(SIGHUP, 3);
//
// A handler is ordinary code of its goroutine: it may allocate, lock, block and throw. It runs at a
// preemption point, never between two instructions of the goroutine's, and never after its end. The
// whole of it is docs/directed-signals.md.
#pragma once

#include <sigrun/go.hpp>
#include <sigrun/overflow.hpp>
#include <sigrun/signal_event.hpp>
#include <sigrun/signal_set.hpp>

#include <cstdint>
#include <functional>

namespace sigrun {

/// While it lives, the calling goroutine handles these signals so, when they are raised for it. Of
/// several handlers for one signal the youngest counts. What was raised before and waits for a
/// handler is handled at the next preemption point.
///
/// Handlers do not nest: what is raised while one runs is handled after it, in order, before the
/// preemption point returns. What a handler throws leaves the preemption point; what is left then
/// is handled at the next. In a wait the exception ends the wait, and what was waited for is left
/// alone; where that cannot be (a join, I/O), and while the stack is being unwound, it is thrown at
/// the first point after that. A handler must not wait for what its goroutine is in the midst of
/// waiting for, or holds, and must not destroy its own raise_handler.
///
/// Constructor and destructor on the goroutine that it is for. Throws std::logic_error on a plain
/// thread, std::invalid_argument for SIGKILL, SIGSTOP, 32, 33, no signals, or no function,
/// std::bad_alloc.
class raise_handler {
 public:
  using function = std::function<void(const signal_event&)>;

  raise_handler(signal_set signos, function f);
  raise_handler(int signo, function f);
  raise_handler(const raise_handler&) = delete;
  raise_handler& operator=(const raise_handler&) = delete;
  ~raise_handler();

 private:
  friend struct raise_access;
  signal_set signos_;
  function run_;
  raise_handler* outer_ = nullptr;
  void* g_ = nullptr;
};

/// While it lives, the calling goroutine defers what is raised for it, and requests to let others
/// run: preempt_point() does nothing, SIGRUN_PREEMPTIBLE code is not stopped, and a wait is not
/// interrupted. A computation of more than 10 ms loses its processor all the same, and goes on
/// without. Nests. At the end of the outermost all that waits is due, and is handled in order at
/// the next preemption point. No effect on plain threads. Must end on the goroutine it began on.
class signal_deferral {
 public:
  signal_deferral() noexcept;
  signal_deferral(const signal_deferral&) = delete;
  signal_deferral& operator=(const signal_deferral&) = delete;
  ~signal_deferral();

  /// Ends it now; a preemption point, if it was the outermost: handlers run here, and may throw.
  void release();

 private:
  void end() noexcept;
  void* g_;
};

/// Raises for one goroutine from within a signal handler: the handler leaves a note, as for a
/// signal, and whoever dispatches signals raises it in ordinary code. The object is made before, in
/// ordinary code; that starts the signal runtime. It must outlive the handlers that use it. Throws
/// std::logic_error for an empty `to`, std::system_error as notify() does.
class handler_raise {
 public:
  explicit handler_raise(goroutine_ref to);
  /// As goroutine::raise(), by no goroutine; may be called in a handler. False: no signal that can
  /// be handled, or the queue of signals was full, which stats() counts as dropped. One for a
  /// goroutine that has ended is counted as unclaimed there.
  bool operator()(int signo, std::uint64_t value = 0) const noexcept;

 private:
  goroutine_ref to_;
};

/// For the calling goroutine: how many raised signals may wait, 1 to 65,536 (64 without this), and
/// what becomes of one that finds them all. Throws std::invalid_argument, naming it, for another
/// number, for fewer than wait now, and for overflow::unbounded; std::logic_error on a plain
/// thread; std::bad_alloc.
void set_raise_queue(std::uint32_t capacity, overflow full = overflow::drop_newest);

}  // namespace sigrun
