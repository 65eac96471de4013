// SPDX-License-Identifier: Apache-2.0
#include <sigrun/context.hpp>

#include "sync/context_node.hpp"

#include "sched/clock.hpp"
#include "sched/park.hpp"
#include "sched/raise.hpp"
#include "sys/clock.hpp"
#include "sys/syscall.hpp"

#include <algorithm>
#include <mutex>
#include <vector>

namespace sigrun {
namespace {

using detail::cancel_node;
using access = detail_context_access;

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "sigrun.context"; }
  std::string message(int error) const override {
    switch (static_cast<context_errc>(error)) {
      case context_errc::canceled:
        return "context canceled";
      case context_errc::deadline_exceeded:
        return "context deadline exceeded";
    }
    return "context error " + std::to_string(error);
  }
  std::error_condition default_error_condition(int error) const noexcept override {
    switch (static_cast<context_errc>(error)) {
      case context_errc::canceled:
        return std::errc::operation_canceled;
      case context_errc::deadline_exceeded:
        return std::errc::timed_out;
    }
    return {error, *this};
  }
};

cancel_node* nearest(const context& ctx) noexcept {
  const detail::context_node* const node = access::node(ctx);
  return node != nullptr ? node->nearest() : nullptr;
}

}  // namespace

const std::error_category& context_category() noexcept {
  static const category the_category;
  return the_category;
}

namespace detail {

void need_scheduler(const char* who) {
  const long started = sched::start();
  if (sys::failed(started)) {
    throw std::system_error(static_cast<int>(-started), std::system_category(), who);
  }
}

// ----------------------------------------------------------------------------------------- nodes

const void* context_node::find(const void*) const noexcept { return nullptr; }

bool context_node::add_handle_if_any() noexcept {
  std::uint32_t seen = handles_.load(std::memory_order_relaxed);
  while (seen != 0) {
    if (handles_.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

void context_node::drop_handle(context_node* node) noexcept {
  // acq_rel: the last one sees what all others did.
  while (node != nullptr && node->handles_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    context_node* const parent = node->parent_;
    node->expire();
    node = parent;
  }
}

cancel_node::cancel_node(context_node* parent, how made, std::int64_t deadline_ns) noexcept
    : context_node(parent, this),
      cancel_target(kind::context),
      above_(parent != nullptr ? parent->nearest() : nullptr),
      made_(made),
      deadline_ns_(deadline_ns) {}

void cancel_node::drop_memory() noexcept {
  if (memory_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

std::error_code cancel_node::err() const noexcept {
  const std::uint8_t state = state_.load(std::memory_order_acquire);  // (2)
  if (state == live) return {};
  return make_error_code(static_cast<context_errc>(state));
}

done_chan cancel_node::done() {
  {
    const std::lock_guard guard(lock_);
    if (done_) return done_;
  }
  done_chan made(0);
  const std::lock_guard guard(lock_);
  if (!done_) {
    done_ = made;
    // An end that came before has found no channel to close.
    if (state_.load(std::memory_order_relaxed) != live) chan_access::state(done_)->close();
  }
  return done_;
}

std::string cancel_node::describe() const {
  return made_ == how::deadline ? "with_deadline" : "with_cancel";
}

// --------------------------------------------------------------------------------------- the tree

/// False when this has ended.
bool cancel_node::link(cancel_target& target) noexcept {
  const std::lock_guard guard(lock_);
  if (state_.load(std::memory_order_relaxed) != live) return false;
  target.linked = true;
  target.prev = nullptr;
  target.next = targets_;
  if (targets_ != nullptr) targets_->prev = &target;
  targets_ = &target;
  return true;
}

bool cancel_node::unlink(cancel_target& target) noexcept {
  const std::lock_guard guard(lock_);
  if (!target.linked) return false;
  target.linked = false;
  (target.prev == nullptr ? targets_ : target.prev->next) = target.next;
  if (target.next != nullptr) target.next->prev = target.prev;
  return true;
}

void cancel_node::attach() noexcept {
  if (above_ == nullptr || above_->link(*this)) return;
  end_all(*this, above_->state_.load(std::memory_order_acquire), above_->cause_);
}

void cancel_node::add_task(after_node& task) noexcept {
  if (!link(task)) task.run();
}

bool cancel_node::unlink_task(after_node& task) noexcept { return unlink(task); }

void cancel_node::expire() noexcept {
  if (above_ != nullptr) above_->unlink(*this);  // (3)
  stop_timer();
  cancel_target* left = nullptr;
  {
    const std::lock_guard guard(lock_);
    left = std::exchange(targets_, nullptr);
    for (cancel_target* t = left; t != nullptr; t = t->next) t->linked = false;
  }
  while (left != nullptr) {  // children have handles on this, so these are tasks
    auto* const task = static_cast<after_node*>(std::exchange(left, left->next));
    task->discard();
    task->drop();
  }
  drop_memory();
}

// ---------------------------------------------------------------------------------------- the end

/// The step to ended. Gives the targets that must hear of it, unlinked, contexts with a share in
/// their memory; nullptr too when this had ended before.
cancel_target* cancel_node::end_one(std::uint8_t state, const std::exception_ptr& cause) noexcept {
  cancel_target* targets = nullptr;
  done_chan channel;
  {
    const std::lock_guard guard(lock_);
    if (state_.load(std::memory_order_relaxed) != live) return nullptr;
    cause_ = cause;
    state_.store(state, std::memory_order_release);  // (2)
    channel = done_;
    targets = std::exchange(targets_, nullptr);
    for (cancel_target* t = targets; t != nullptr; t = t->next) {
      t->linked = false;
      if (t->what == kind::context) {
        static_cast<cancel_node*>(t)->memory_.fetch_add(1, std::memory_order_relaxed);
      }
    }
  }
  if (channel) chan_access::state(channel)->close();
  stop_timer();
  return targets;
}

void cancel_node::end_all(cancel_node& top, std::uint8_t state,
                          const std::exception_ptr& cause) noexcept {
  cancel_target* work = top.end_one(state, cause);
  while (work != nullptr) {  // (6)
    cancel_target* const target = std::exchange(work, work->next);
    if (target->what == kind::task) {
      static_cast<after_node*>(target)->run();
      continue;
    }
    auto* const child = static_cast<cancel_node*>(target);
    cancel_target* const below = child->end_one(state, cause);
    if (below != nullptr) {
      cancel_target* last = below;
      while (last->next != nullptr) last = last->next;
      last->next = work;
      work = below;
    }
    child->drop_memory();
  }
}

void cancel_node::cancel(context_errc error, std::exception_ptr cause) noexcept {
  if (above_ != nullptr) above_->unlink(*this);
  end_all(*this, static_cast<std::uint8_t>(error), cause);
}

// -------------------------------------------------------------------------------------- the timer

void cancel_node::arm(std::exception_ptr cause) noexcept {
  timer_.owner = this;
  timer_.cause = std::move(cause);
  timer_.fire = &fired;
  memory_.fetch_add(1, std::memory_order_relaxed);  // (4)
  // Before the start, which may fire it at once, on another thread; nobody else can stop it yet.
  armed_.store(true, std::memory_order_relaxed);
  sched::timer_start(timer_, deadline_ns_);
}

void cancel_node::stop_timer() noexcept {
  if (!armed_.load(std::memory_order_relaxed) || !armed_.exchange(false)) return;
  if (sched::timer_stop(timer_)) drop_memory();  // (5)
}

void cancel_node::fired(sched::sched_timer& timer) noexcept {
  auto& self = *static_cast<armed_timer&>(timer).owner;
  // Without handles there is nobody to tell.
  if (self.add_handle_if_any()) {
    self.cancel(context_errc::deadline_exceeded, self.timer_.cause);
    drop_handle(&self);
  }
  self.drop_memory();  // (5)
}

// -------------------------------------------------------------------------------------- the tasks

after_node* add_after(const context& ctx, std::unique_ptr<context_task> task) {
  auto* const node = new after_node(std::move(task));
  if (cancel_node* const to = nearest(ctx)) {
    to->add_task(*node);
  } else {
    node->drop();  // never
  }
  return node;
}

bool stop_after(const context& ctx, after_node* node) noexcept {
  if (!node->discard()) return false;
  cancel_node* const from = nearest(ctx);
  // Else the end has unlinked it, and finds it taken.
  if (from != nullptr && from->unlink_task(*node)) node->drop();
  return true;
}

void drop_after(after_node* node) noexcept { node->drop(); }

namespace {

class shield_node final : public context_node {
 public:
  explicit shield_node(context_node* parent) noexcept : context_node(parent, nullptr) {}
  std::string describe() const override { return "without_cancel"; }
};

}  // namespace
}  // namespace detail

// ----------------------------------------------------------------------------------- the handles

done_chan context::done() const {
  cancel_node* const node = nearest(*this);
  return node != nullptr ? node->done() : done_chan();
}

bool context::ended() const noexcept {
  const cancel_node* const node = nearest(*this);
  return node != nullptr && node->ended();
}

std::error_code context::err() const noexcept {
  const cancel_node* const node = nearest(*this);
  return node != nullptr ? node->err() : std::error_code();
}

std::exception_ptr context::cause() const {
  const std::error_code error = err();
  if (!error) return nullptr;
  const std::exception_ptr given = nearest(*this)->cause();
  return given != nullptr ? given : std::make_exception_ptr(std::system_error(error));
}

std::string context::reason() const {
  const std::exception_ptr given = cause();
  if (given == nullptr) return "";
  try {
    std::rethrow_exception(given);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

void context::throw_if_ended() const {
  if (ended()) std::rethrow_exception(cause());
}

bool context::wait_until_ns(std::int64_t deadline_ns) const {
  if (ended()) return true;
  const done_chan channel = done();
  if (!channel) {
    sched::parker self(sched::wait_reason::context_wait, node_);
    const bool ended_now = self.wait_until(deadline_ns);
    sched::raised_point();
    return ended_now;
  }
  std::optional<done_signal> never;
  return detail::chan_access::state(channel)->receive(never, deadline_ns) == chan_status::closed;
}

std::optional<std::chrono::steady_clock::time_point> context::deadline() const noexcept {
  const cancel_node* const node = nearest(*this);
  if (node == nullptr || node->deadline_ns() == sys::never) return std::nullopt;
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(node->deadline_ns()));
}

std::string context::describe() const {
  std::vector<const detail::context_node*> path;
  for (const detail::context_node* n = node_; n != nullptr; n = n->parent()) path.push_back(n);
  std::string text = "background";
  for (auto it = path.rbegin(); it != path.rend(); ++it) text += "." + (*it)->describe();
  return text;
}

void cancel_function::cancel(std::exception_ptr cause) const {
  if (cancel_node* const node = nearest(ctx_))
    node->cancel(context_errc::canceled, std::move(cause));
}

// -------------------------------------------------------------------------------------- deriving

namespace {

cancel_node* make_node(const context& parent, cancel_node::how made, std::int64_t deadline_ns) {
  const cancel_node* const above = nearest(parent);
  const std::int64_t limit = above != nullptr ? above->deadline_ns() : sys::never;
  auto* const node = new cancel_node(access::node(parent), made, std::min(limit, deadline_ns));
  static_cast<void>(access::share(parent));  // the node's, now that nothing throws
  return node;
}

cancelable both(cancel_node* node) noexcept {
  context ctx = access::adopt(node);
  return {ctx, detail_cancel_access::make(ctx)};
}

}  // namespace

cancelable with_cancel(const context& parent) {
  cancel_node* const node = make_node(parent, cancel_node::how::cancel, sys::never);
  node->attach();
  return both(node);
}

cancelable with_deadline(const context& parent, std::chrono::steady_clock::time_point deadline,
                         std::exception_ptr cause) {
  detail::need_scheduler("sigrun::with_deadline");
  const std::int64_t at = detail::deadline_at(deadline);
  cancel_node* const node = make_node(parent, cancel_node::how::deadline, at);
  // A parent's earlier deadline ends it; it needs no timer of its own.
  const bool own = node->deadline_ns() == at && at != sys::never;
  const bool passed = own && at <= sched::now_ns();
  if (own && !passed) node->arm(std::move(cause));
  node->attach();
  if (passed) node->cancel(context_errc::deadline_exceeded, std::move(cause));
  return both(node);
}

context without_cancel(const context& parent) {
  auto* const node = new detail::shield_node(access::node(parent));
  static_cast<void>(access::share(parent));
  return access::adopt(node);
}

}  // namespace sigrun
