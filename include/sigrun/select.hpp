// SPDX-License-Identifier: Apache-2.0
//
// Waiting for the first of several channel operations, after Go's select.
//
//   switch (sigrun::select(sigrun::recv_case(jobs, job), sigrun::send_case(out, result))) {
//     case 0: work(job); break;        // a job came (or jobs is closed; see recv_case)
//     case 1: sent(); break;           // somebody took the result
//   }
//
// Exactly one case is done, and only its operands change: a value whose case did not win is where
// it was. Among cases that are ready each is as likely as the others. An empty handle in a case is
// never ready, so a case can be switched off by assigning `{}` to its handle. One channel may be
// in several cases, for sending and receiving too: a select never meets itself.
//
// Threads: any thread, at any time; not in a signal handler. A case is for one select at a time.
// Nothing is allocated, and every case takes some 150 bytes of stack.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/detail/select_core.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace sigrun {

/// What a select returns in place of a case's index when none was ready in time.
inline constexpr int select_timeout = detail::select_none;

/// A case that is done when no other is ready, so that select() does not wait. Wherever it stands,
/// it counts as a case and has its index. At most one.
struct default_case_t {};
inline constexpr default_case_t default_case{};

namespace detail {

/// What the typed cases share: the state of the last select.
class any_case {
 public:
  any_case(const any_case&) = delete;
  any_case& operator=(const any_case&) = delete;

  /// After the select in which this case won: ok, or closed. Else timeout.
  chan_status status() const noexcept { return core_.status; }

 protected:
  any_case(chan_core* channel, select_case::attempt_function* attempt, bool sends) noexcept {
    core_.channel = channel;
    core_.attempt = attempt;
    core_.sends = sends;
  }
  ~any_case() = default;

  select_case core_;

 private:
  friend struct select_access;
};

template <class T>
class recv_case_base : public any_case {
 protected:
  explicit recv_case_base(const chan<T>& ch) noexcept
      : any_case(chan_access::state(ch), &attempt, false) {
    core_.slot = &value_;
  }
  std::optional<T> value_;

 private:
  static chan_status attempt(select_case& self, chan_wakes& wakes) {
    return static_cast<chan_state<T>*>(self.channel)
        ->receive_now(*static_cast<std::optional<T>*>(self.slot), wakes);
  }
};

/// A receive into an Out: T, std::optional<T>, or const void for nothing.
template <class T, class Out>
class receiving_case final : public recv_case_base<T> {
 public:
  receiving_case(const chan<T>& ch, Out* out, chan_status* status) noexcept
      : recv_case_base<T>(ch), out_(out), status_(status) {}

 private:
  friend struct select_access;
  void begin() noexcept {
    this->core_.status = chan_status::timeout;
    this->value_.reset();
  }
  void finish() {
    if (status_ != nullptr) *status_ = this->core_.status;
    if (this->value_.has_value()) received(*this->value_);
    if constexpr (std::is_same_v<Out, std::optional<T>>) {
      *out_ = std::move(this->value_);
    } else if constexpr (!std::is_void_v<Out>) {
      if (this->value_.has_value()) *out_ = std::move(*this->value_);
    }
  }
  Out* out_;
  chan_status* status_;
};

template <class T>
class send_case_base : public any_case {
 protected:
  send_case_base(const chan<T>& ch, chan_status* status) noexcept
      : any_case(chan_access::state(ch), &attempt, true), status_(status) {}

 private:
  friend struct select_access;
  void begin() noexcept { core_.status = chan_status::timeout; }
  void finish() {
    if (status_ != nullptr) {
      *status_ = core_.status;
    } else if (core_.status == chan_status::closed) {
      throw std::logic_error("send on closed channel");
    }
  }
  static chan_status attempt(select_case& self, chan_wakes& wakes) {
    return static_cast<chan_state<T>*>(self.channel)->send_now(*static_cast<T*>(self.slot), wakes);
  }
  chan_status* status_;
};

/// Sends a value that is somewhere else: moves from it when it wins.
template <class T>
class moving_case final : public send_case_base<T> {
 public:
  moving_case(const chan<T>& ch, T& value, chan_status* status) noexcept
      : send_case_base<T>(ch, status) {
    this->core_.slot = std::addressof(value);
  }
};

/// Sends a copy, made beforehand.
template <class T>
class copying_case final : public send_case_base<T> {
 public:
  copying_case(const chan<T>& ch, const T& value, chan_status* status)
      : send_case_base<T>(ch, status), value_(value) {
    this->core_.slot = std::addressof(value_);
  }

 private:
  T value_;
};

struct select_access {
  template <class Case>
  static select_case* begin(Case& one) noexcept {
    one.begin();
    return &one.core_;
  }
  template <class Case>
  static void finish(Case& one) {
    one.finish();
  }
};

template <class Case>
inline constexpr bool is_default = std::is_same_v<std::remove_const_t<Case>, default_case_t>;
template <class Case>
concept SelectCase = std::is_base_of_v<any_case, std::remove_cvref_t<Case>> ||
    is_default<std::remove_reference_t<Case>>;

/// The typed half of a select. The default case is not the wait's business: it becomes the
/// deadline.
template <class... Cases>
int select_typed(std::int64_t deadline_ns, Cases&... cases) {
  constexpr int defaults = (0 + ... + int{is_default<Cases>});
  static_assert(defaults <= 1, "one default_case is enough");
  constexpr std::size_t n = sizeof...(Cases) - defaults;
  std::array<select_case*, n + 1> list;  // one more than needed, since there are no empty arrays
  std::array<select_room, n + 1> rooms;
  std::array<chan_core*, n + 1> order;
  std::size_t filled = 0;
  int index = 0;
  int default_index = select_none;
  [[maybe_unused]] const auto begin = [&]<class Case>(Case& one) {
    if constexpr (is_default<Case>) {
      default_index = index;
    } else {
      list[filled++] = select_access::begin(one);
    }
    ++index;
  };
  (begin(cases), ...);
  int won = select_on({list.data(), n}, rooms.data(), order.data(), deadline_ns);
  if (won == select_none) return default_index;
  if (defaults != 0 && won >= default_index) ++won;
  index = 0;
  [[maybe_unused]] const auto finish = [&]<class Case>(Case& one) {
    if constexpr (!is_default<Case>) {
      if (index == won) select_access::finish(one);
    }
    ++index;
  };
  (finish(cases), ...);
  return won;
}

}  // namespace detail

// ---------------------------------------------------------------------------------------- the
// cases

/// Receives from `ch`. When this case won, `out` was assigned, or the channel is closed and
/// drained: then `out` is as it was. Say a `status` to tell them apart; without one see status() of
/// the case. The operands must outlive the select.
template <class T>
detail::receiving_case<T, T> recv_case(const chan<T>& ch, std::type_identity_t<T>& out) noexcept {
  return {ch, std::addressof(out), nullptr};
}
template <class T>
detail::receiving_case<T, T> recv_case(const chan<T>& ch, std::type_identity_t<T>& out,
                                       chan_status& status) noexcept {
  return {ch, std::addressof(out), &status};
}
/// The same as chan::recv() has it: `out` is without a value when the channel is closed and
/// drained.
template <class T>
detail::receiving_case<T, std::optional<T>> recv_case(
    const chan<T>& ch, std::type_identity_t<std::optional<T>>& out) noexcept {
  return {ch, &out, nullptr};
}
/// Receives and forgets the value: for channels that are closed to say something.
template <class T>
detail::receiving_case<T, void> recv_case(const chan<T>& ch) noexcept {
  return {ch, nullptr, nullptr};
}

/// Sends `value` to `ch`. The rvalue form moves from it when this case wins, and leaves it alone
/// otherwise; a value made on the spot lives as long as the statement, so name it if the case gets
/// a name. When the channel is closed select() throws std::logic_error("send on closed channel"),
/// as chan::send() does, unless there is a `status` to take the news.
template <class T>
detail::moving_case<T> send_case(const chan<T>& ch, std::type_identity_t<T>&& value) noexcept {
  return {ch, value, nullptr};
}
template <class T>
detail::moving_case<T> send_case(const chan<T>& ch, std::type_identity_t<T>&& value,
                                 chan_status& status) noexcept {
  return {ch, value, &status};
}
template <std::copy_constructible T>
detail::copying_case<T> send_case(const chan<T>& ch, const std::type_identity_t<T>& value) {
  return {ch, value, nullptr};
}
template <std::copy_constructible T>
detail::copying_case<T> send_case(const chan<T>& ch, const std::type_identity_t<T>& value,
                                  chan_status& status) {
  return {ch, value, &status};
}

// --------------------------------------------------------------------------------------- selecting

/// Blocks until one of the cases is done, and returns its index, counted from 0; with a
/// default_case it does not block. Without a case that can ever be ready (none at all, or only
/// empty handles) and without a default it blocks for ever.
template <detail::SelectCase... Cases>
int select(Cases&&... cases) {
  constexpr bool waits = (true && ... && !detail::is_default<std::remove_reference_t<Cases>>);
  return detail::select_typed(waits ? detail::wait_for_ever : detail::do_not_wait, cases...);
}

/// The same, no longer than `wait` or until `deadline`: select_timeout when no case was ready by
/// then. What is ready already is done even when there is no time at all.
template <class Rep, class Period, detail::SelectCase... Cases>
int select_for(std::chrono::duration<Rep, Period> wait, Cases&&... cases) {
  static_assert((true && ... && !detail::is_default<std::remove_reference_t<Cases>>),
                "with a default_case there is nothing to wait for");
  return detail::select_typed(detail::deadline_in(wait), cases...);
}
template <class Duration, detail::SelectCase... Cases>
int select_until(std::chrono::time_point<std::chrono::steady_clock, Duration> deadline,
                 Cases&&... cases) {
  static_assert((true && ... && !detail::is_default<std::remove_reference_t<Cases>>),
                "with a default_case there is nothing to wait for");
  return detail::select_typed(detail::deadline_at(deadline), cases...);
}

// -------------------------------------------------------------------------- a set made at run time

namespace detail {

/// A case that keeps its channel's handle.
class owned_case {
 public:
  virtual ~owned_case() = default;
  virtual select_case* begin() noexcept = 0;
  virtual void finish() = 0;
};

template <class T, class Case>
class owned_case_of final : public owned_case {
 public:
  template <class Operand>
  owned_case_of(chan<T>&& ch, Operand&& operand, chan_status* status)
      : ch_(std::move(ch)), case_(ch_, std::forward<Operand>(operand), status) {}
  select_case* begin() noexcept override { return select_access::begin(case_); }
  void finish() override { select_access::finish(case_); }

 private:
  chan<T> ch_;
  Case case_;
};

}  // namespace detail

/// A select whose cases are known at run time only. Keeps a handle on each channel, so a channel is
/// not closed by its other handles' end while it is in here; the values' places are the caller's,
/// and must outlive it. Adding may throw std::bad_alloc and changes nothing then; selecting
/// allocates nothing. For one caller at a time.
class selector {
 public:
  selector() = default;
  selector(selector&&) noexcept = default;
  selector& operator=(selector&&) noexcept = default;

  /// Adds a case, and returns its index: 0, 1, 2 and so on. A receive assigns to `out`; a send
  /// moves from `value`, which the caller fills anew. A channel that is closed is ready whenever it
  /// is looked at: remove() its case.
  template <class T>
  int recv(chan<T> ch, std::type_identity_t<T>& out) {
    using one = detail::owned_case_of<T, detail::receiving_case<T, T>>;
    return add(std::make_unique<one>(std::move(ch), std::addressof(out), status_.get()));
  }
  template <class T>
  int recv(chan<T> ch, std::type_identity_t<std::optional<T>>& out) {
    using one = detail::owned_case_of<T, detail::receiving_case<T, std::optional<T>>>;
    return add(std::make_unique<one>(std::move(ch), &out, status_.get()));
  }
  template <class T>
  int send(chan<T> ch, std::type_identity_t<T>& value) {
    using one = detail::owned_case_of<T, detail::moving_case<T>>;
    return add(std::make_unique<one>(std::move(ch), value, status_.get()));
  }
  /// Ends a case and lets go of its channel. The others keep their indices. Throws
  /// std::out_of_range.
  void remove(int index);
  /// Cases that were added and not removed.
  std::size_t size() const noexcept { return size_; }

  /// As the free functions, for the cases it has. try_select() does not wait.
  int select() { return run(detail::wait_for_ever); }
  int try_select() { return run(detail::do_not_wait); }
  template <class Rep, class Period>
  int select_for(std::chrono::duration<Rep, Period> wait) {
    return run(detail::deadline_in(wait));
  }
  template <class Duration>
  int select_until(std::chrono::time_point<std::chrono::steady_clock, Duration> deadline) {
    return run(detail::deadline_at(deadline));
  }
  /// How the case that won last ended: ok or closed, sends too; timeout when none did.
  chan_status status() const noexcept { return *status_; }

 private:
  int add(std::unique_ptr<detail::owned_case> one);
  int run(std::int64_t deadline_ns);

  std::unique_ptr<chan_status> status_ = std::make_unique<chan_status>(chan_status::timeout);
  std::vector<std::unique_ptr<detail::owned_case>> cases_;  // nullptr: removed
  std::vector<detail::select_case*> list_;
  std::vector<detail::chan_core*> order_;
  std::unique_ptr<detail::select_room[]> rooms_;
  std::size_t rooms_made_ = 0;
  std::size_t size_ = 0;
};

}  // namespace sigrun
