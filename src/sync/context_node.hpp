// SPDX-License-Identifier: Apache-2.0
//
// The inside of contexts that can end.
//
//            cancel(), the deadline, or the parent's end
//   live ─────────────────────────────────────────────────▶ ended (canceled, deadline_exceeded)
//     └── the last handle goes: expired ◀──────────────────────┘
//
//   (1) A node's lock guards its list of targets, its channel's making, and the step to ended. It
//       is held for a few instructions; never two at once, never while anybody parks, never while
//       a channel is closed or a task runs.
//   (2) `state` is set last, with release: who reads an end reads its cause.
//   (3) A target is linked in the nearest cancel_node above it while both are live. Who unlinks it,
//       under that one's lock, decides: the end of the parent (the target will end), or the target
//       itself (it will not hear of it).
//   (4) Handles keep a node live: the user's, its children's. Memory keeps it readable: the handles
//       together have one share, and so have the timer while it is armed and the parent's end while
//       it works through what it unlinked. A node whose handles are gone is not linked, and uses
//       no parent any more.
//   (5) A timer's share is given back once: by whoever stops it, or by its firing.
//   (6) An end works through the tree with a list, not by recursion: a goroutine's stack is small
//       and a tree may be deep.
#pragma once

#include <sigrun/context.hpp>
#include <sigrun/detail/wait_list.hpp>

#include "sched/sched.hpp"

#include <exception>
#include <memory>
#include <string>

namespace sigrun::detail {

/// What hears of the end of a cancel_node.
struct cancel_target {
  enum class kind : std::uint8_t { context, task };
  explicit cancel_target(kind k) noexcept : what(k) {}
  cancel_target* next = nullptr;
  cancel_target* prev = nullptr;
  bool linked = false;
  const kind what;
};

class after_node final : public cancel_target {
 public:
  explicit after_node(std::unique_ptr<context_task> task) noexcept
      : cancel_target(kind::task), task_(std::move(task)) {}

  // Two shares at first: the list's (or the firing's), and the after_stop's.
  void drop() noexcept {
    if (shares_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  /// Runs it, unless it was taken back, and gives back the list's share.
  void run() noexcept {
    if (!taken_.exchange(true)) task_->run();
    drop();
  }
  /// Takes it back; false when it was run or taken back before.
  bool discard() noexcept {
    if (taken_.exchange(true)) return false;
    task_.reset();
    return true;
  }

 private:
  ~after_node() = default;
  std::unique_ptr<context_task> task_;
  std::atomic<bool> taken_{false};
  std::atomic<std::uint32_t> shares_{2};
};

class cancel_node final : public context_node, public cancel_target {
 public:
  enum class how : std::uint8_t { cancel, deadline };

  /// Takes over a handle on `parent`.
  cancel_node(context_node* parent, how made, std::int64_t deadline_ns) noexcept;

  std::error_code err() const noexcept;
  bool ended() const noexcept { return state_.load(std::memory_order_acquire) != live; }
  /// After the end; nullptr when none was given.
  std::exception_ptr cause() const noexcept { return cause_; }
  std::int64_t deadline_ns() const noexcept { return deadline_ns_; }
  done_chan done();
  std::string describe() const override;

  /// Links it below the nearest above, or ends it when that one has ended. With a handle held.
  void attach() noexcept;
  /// Arms the timer. Before attach(), with a handle held.
  void arm(std::exception_ptr cause) noexcept;
  /// Ends it and what is below it, unless it has ended. With a handle held.
  void cancel(context_errc error, std::exception_ptr cause) noexcept;

  /// Links a task, or runs it when this has ended.
  void add_task(after_node& task) noexcept;
  /// Whether the task was linked, and is not any more.
  bool unlink_task(after_node& task) noexcept;

 private:
  static constexpr std::uint8_t live = 0;
  struct armed_timer : sched::sched_timer {
    cancel_node* owner = nullptr;
    std::exception_ptr cause;
  };

  ~cancel_node() override = default;
  void expire() noexcept override;
  void drop_memory() noexcept;
  bool link(cancel_target& target) noexcept;
  bool unlink(cancel_target& target) noexcept;
  void stop_timer() noexcept;
  static void fired(sched::sched_timer& timer) noexcept;
  static void end_all(cancel_node& top, std::uint8_t state,
                      const std::exception_ptr& cause) noexcept;
  cancel_target* end_one(std::uint8_t state, const std::exception_ptr& cause) noexcept;

  cancel_node* const above_;  // the nearest cancel_node above; kept by the parent's handle
  short_lock lock_;
  std::atomic<std::uint8_t> state_{live};
  std::atomic<bool> armed_{false};
  const how made_;
  std::atomic<std::uint32_t> memory_{1};
  cancel_target* targets_ = nullptr;
  std::exception_ptr cause_;
  done_chan done_;
  const std::int64_t deadline_ns_;
  armed_timer timer_;
};

}  // namespace sigrun::detail
