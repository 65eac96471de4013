// SPDX-License-Identifier: Apache-2.0
//
// Contexts, after Go's: a value that says to everything done on behalf of one request, one
// connection or one service that it should end now, by when it must, and what belongs to it.
//
//   auto [ctx, cancel] = sigrun::with_timeout(parent, 2s);
//   sigrun::go([ctx = ctx, jobs] {
//     for (job next;;) {
//       if (sigrun::select(sigrun::recv_case(jobs, next), sigrun::recv_case(ctx.done())) == 1)
//       return; work(ctx, next);
//     }
//   });
//   cancel();
//
// Contexts form a tree. Cancelling one ends all below it, before cancel() returns, and none above.
// A context is a handle, as cheap to copy as a shared_ptr. It never changes but from live to ended,
// once; what it was derived from stays alive with it.
// Nothing has to be called for clean-up: when the last handle on a context is gone, cancel function
// included, its timer and its place in the tree are given back. Dropping is not cancelling.
//
// Threads: every operation may be called from any goroutine and any thread at any time; none in a
// signal handler.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/detail/context_node.hpp>
#include <sigrun/detail/deadline.hpp>
#include <sigrun/go.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace sigrun {

// ---------------------------------------------------------------------------------------- errors

/// Why a context has ended. Also equal to std::errc::operation_canceled resp. timed_out.
enum class context_errc {
  canceled = 1,       ///< it, or one above it, was cancelled
  deadline_exceeded,  ///< its deadline, or that of one above it, has passed
};
const std::error_category& context_category() noexcept;
inline std::error_code make_error_code(context_errc error) noexcept {
  return {static_cast<int>(error), context_category()};
}

}  // namespace sigrun

template <>
struct std::is_error_code_enum<sigrun::context_errc> : std::true_type {};

namespace sigrun {

/// What a done() channel carries: nothing, ever. It is only closed.
class done_signal {
  done_signal() = default;
};
using done_chan = chan<done_signal>;

/// Names a value in contexts. Two keys differ even when name and type are the same: what counts is
/// the object, which must live as long as the contexts; make it `inline const` at namespace scope.
template <class T>
class context_key {
 public:
  explicit constexpr context_key(const char* name) noexcept : name_(name) {}
  context_key(const context_key&) = delete;
  context_key& operator=(const context_key&) = delete;
  const char* name() const noexcept { return name_; }

 private:
  const char* name_;
};

// -------------------------------------------------------------------------------------- contexts

/// A handle on a context; a default-constructed one is the root, background().
class context {
 public:
  context() noexcept = default;
  context(const context& other) noexcept : node_(other.node_) {
    if (node_ != nullptr) node_->add_handle();
  }
  context(context&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  context& operator=(context other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~context() {
    if (node_ != nullptr) detail::context_node::drop_handle(node_);
  }

  /// The root: never ends, has no deadline and no values.
  static context background() noexcept { return context(); }

  /// Closed when the context ends, for select(); the same one each time. An empty handle, which
  /// select() never takes, for a context that cannot end. Keep the context while you wait, and do
  /// not close the channel. Throws std::bad_alloc.
  done_chan done() const;
  /// Whether it has ended; then err() says why: context_errc::canceled or deadline_exceeded. No
  /// error before.
  bool ended() const noexcept;
  std::error_code err() const noexcept;
  /// What cancel() was given, or with_deadline(), here or in the context above where the end began;
  /// a std::system_error of err() when nothing was. nullptr before the end.
  std::exception_ptr cause() const;
  /// The text of the cause; empty before the end.
  std::string reason() const;
  /// Rethrows the cause if it has ended.
  void throw_if_ended() const;

  /// Blocks until it ends; resp. until then or a deadline, and whether it has ended. For ever in a
  /// context that cannot end.
  void wait() const { wait_until_ns(detail::wait_for_ever); }
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> wait) const {
    return wait_until_ns(detail::deadline_in(wait));
  }
  template <class Clock, class Duration>
  bool wait_until(std::chrono::time_point<Clock, Duration> deadline) const {
    return wait_until_ns(detail::deadline_by(deadline));
  }

  /// When it ends at the latest, its own deadline or an earlier one above it.
  std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept;

  /// The nearest value given for `key`, here or above; nullptr for none. It lives as long as the
  /// context.
  template <class T>
  const T* value(const context_key<T>& key) const noexcept {
    for (const detail::context_node* n = node_; n != nullptr; n = n->parent()) {
      if (const void* const found = n->find(&key)) return static_cast<const T*>(found);
    }
    return nullptr;
  }

  /// How it was made, for logs: "background.with_cancel.with_value(user)".
  std::string describe() const;
  /// Whether both are handles on the same context.
  friend bool operator==(const context& a, const context& b) noexcept { return a.node_ == b.node_; }

 private:
  friend struct detail_context_access;
  explicit context(detail::context_node* node) noexcept : node_(node) {}
  bool wait_until_ns(std::int64_t deadline_ns) const;

  detail::context_node* node_ = nullptr;
};

struct detail_context_access {
  /// Takes over a handle.
  static context adopt(detail::context_node* node) noexcept { return context(node); }
  static detail::context_node* node(const context& ctx) noexcept { return ctx.node_; }
  /// With a handle more.
  static detail::context_node* share(const context& ctx) noexcept {
    if (ctx.node_ != nullptr) ctx.node_->add_handle();
    return ctx.node_;
  }
};

/// Ends the context that it came with, and all below. Copies do the same; only the first call of
/// all changes anything. When it returns they have ended. It keeps the context alive.
class cancel_function {
 public:
  /// Cancels nothing.
  cancel_function() noexcept = default;

  void operator()() const { cancel(nullptr); }
  /// The same with a cause: an exception object or pointer, or an error code.
  void operator()(std::exception_ptr cause) const { cancel(std::move(cause)); }
  void operator()(std::error_code cause) const {
    cancel(std::make_exception_ptr(std::system_error(cause)));
  }
  template <class E>
  requires std::is_base_of_v<std::exception, std::remove_cvref_t<E>>
  void operator()(E&& cause) const { cancel(std::make_exception_ptr(std::forward<E>(cause))); }

 private:
  friend struct cancelable;
  friend struct detail_cancel_access;
  explicit cancel_function(context ctx) noexcept : ctx_(std::move(ctx)) {}
  void cancel(std::exception_ptr cause) const;

  context ctx_;
};
struct detail_cancel_access {
  static cancel_function make(context ctx) noexcept { return cancel_function(std::move(ctx)); }
};

/// `auto [ctx, cancel] = with_cancel(parent);`
struct cancelable {
  context ctx;
  cancel_function cancel;
};

// --------------------------------------------------------------------------------------- deriving

/// A context below `parent` that ends when `cancel` is called or the parent ends.
[[nodiscard]] cancelable with_cancel(const context& parent);
/// Another name for it, for those who look for Go's: every cancel function takes a cause.
[[nodiscard]] inline cancelable with_cancel_cause(const context& parent) {
  return with_cancel(parent);
}
/// The same, and it ends with deadline_exceeded (and `cause`, if given) at a deadline, at once when
/// that has passed. A parent's earlier deadline stands. Starts the scheduler, whose timers it uses:
/// std::system_error when that fails.
[[nodiscard]] cancelable with_deadline(const context& parent,
                                       std::chrono::steady_clock::time_point deadline,
                                       std::exception_ptr cause = nullptr);
template <class Rep, class Period>
[[nodiscard]] cancelable with_timeout(const context& parent,
                                      std::chrono::duration<Rep, Period> timeout,
                                      std::exception_ptr cause = nullptr) {
  using std::chrono::steady_clock;
  // Saturated, so that a duration without end is none.
  constexpr std::chrono::hours limit{24 * 365 * 100};
  const auto now = steady_clock::now();
  const auto at = timeout > limit    ? now + limit
                  : timeout < -limit ? now - limit
                                     : now + std::chrono::ceil<steady_clock::duration>(timeout);
  return with_deadline(parent, at, std::move(cause));
}
/// A context that ends with its parent and has one value more, which hides one with the same key.
template <class T, class U>
[[nodiscard]] context with_value(const context& parent, const context_key<T>& key, U&& value) {
  detail::context_node* const above = detail_context_access::node(parent);
  detail::cancel_node* const nearest = above != nullptr ? above->nearest() : nullptr;
  auto* const node =
      new detail::value_node<T>(above, nearest, &key, key.name(), std::forward<U>(value));
  static_cast<void>(detail_context_access::share(parent));  // the node's, now that nothing throws
  return detail_context_access::adopt(node);
}
/// A context with the parent's values that does not end with it and has no deadline: for what must
/// be finished after the request is over.
[[nodiscard]] context without_cancel(const context& parent);

// ---------------------------------------------------------------------------------- at the end

namespace detail {

class after_node;
/// Starts the scheduler, which after_func() needs.
void need_scheduler(const char* who);
/// The task runs where the end comes from, which may be a timer: it must not block.
after_node* add_after(const context& ctx, std::unique_ptr<context_task> task);
bool stop_after(const context& ctx, after_node* node) noexcept;
void drop_after(after_node* node) noexcept;

template <class F>
struct after_task final : context_task {
  explicit after_task(F f) : function(std::move(f)) {}
  void run() noexcept override { go(go_options{.name = "after_func"}, std::move(function)); }
  F function;
};

}  // namespace detail

/// What after_func() gives: takes the function back. Dropping it changes nothing.
class after_stop {
 public:
  after_stop() noexcept = default;
  after_stop(after_stop&& other) noexcept
      : ctx_(std::move(other.ctx_)), node_(std::exchange(other.node_, nullptr)) {}
  after_stop& operator=(after_stop&& other) noexcept {
    std::swap(ctx_, other.ctx_);
    std::swap(node_, other.node_);
    return *this;
  }
  ~after_stop() {
    if (node_ != nullptr) detail::drop_after(node_);
  }
  /// True: the function will not run, because of this call. False: it has been started, or was
  /// taken back before.
  bool operator()() noexcept { return node_ != nullptr && detail::stop_after(ctx_, node_); }

 private:
  template <class F>
  friend after_stop after_func(const context& ctx, F f);
  after_stop(context ctx, detail::after_node* node) noexcept : ctx_(std::move(ctx)), node_(node) {}

  context ctx_;
  detail::after_node* node_ = nullptr;
};

/// Runs f() in a goroutine of its own when the context ends, at once when it has. Never, and f is
/// destroyed, when the context goes away without an end. What f throws ends the program, as with
/// any goroutine that nobody joins; so does the lack of memory for that goroutine.
template <class F>
after_stop after_func(const context& ctx, F f) {
  detail::need_scheduler("sigrun::after_func");
  return after_stop(ctx,
                    detail::add_after(ctx, std::make_unique<detail::after_task<F>>(std::move(f))));
}

}  // namespace sigrun
