// SPDX-License-Identifier: Apache-2.0
//
// What others do to a connection: list it, end it; and what becomes of it when it is hijacked.
#include "http/connection.hpp"
#include "http/core.hpp"

#include <sigrun/go.hpp>

#include <algorithm>
#include <cstring>
#include <mutex>

namespace sigrun::http {
namespace detail {
namespace {

using namespace std::chrono_literals;

/// How old a connection without a request must be to count as idle when refusing begins: one that
/// was just accepted has its first request on the way.
constexpr auto fresh = 100ms;

template <std::size_t Size>
void copy_text(std::array<char, Size>& to, std::string_view from) noexcept {
  const std::size_t count = std::min(from.size(), Size - 1);
  if (count != 0) std::memcpy(to.data(), from.data(), count);
  to[count] = '\0';
}

const char* stage_name(connection::stage which) noexcept {
  switch (which) {
    case connection::stage::handshake:
      return "handshake";
    case connection::stage::idle:
      return "idle";
    case connection::stage::head:
      return "head";
    case connection::stage::handler:
      return "handler";
    case connection::stage::hijacked:
      return "hijacked";
    case connection::stage::ending:
      break;
  }
  return "ending";
}

}  // namespace

void connection::set_stage(stage to) noexcept {
  since_ns_.store(clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  stage_.store(to);
}

void connection::note_request() noexcept {
  const request_state& request = exchange_.request_data;
  const std::lock_guard guard(note_lock_);
  copy_text(noted_method_, request.head.method);
  copy_text(noted_target_, request.head.target);
}

bool connection::is_active() const noexcept {
  const stage now = stage_.load();
  return now == stage::handler;
}

connection_info connection::info() const {
  connection_info info;
  const stage now = stage_.load();
  info.state = stage_name(now);
  info.remote = transport_->remote();
  info.in_state = clock::now().time_since_epoch() - std::chrono::nanoseconds(since_ns_.load());
  if (now == stage::handler || now == stage::hijacked) {
    const std::lock_guard guard(note_lock_);
    info.method = noted_method_.data();
    info.target = noted_target_.data();
  }
  return info;
}

void connection::nudge(std::chrono::nanoseconds grace) noexcept {
  phase expected = phase::idle;
  if (!phase_.compare_exchange_strong(expected, phase::nudged)) return;  // (3)
  const auto now = clock::now();
  auto until = now + grace;
  if (!served_any_.load(std::memory_order_relaxed)) until = std::max(until, born_ + fresh);
  std::error_code gone;
  transport_->stream().set_read_deadline(until, gone);
}

void connection::cut() noexcept {
  std::error_code gone;
  transport_->stream().close(gone);
}

// ---------------------------------------------------------------------------------- hijacked

hijacked connection::hijack() {
  exchange_.response_data.at = response_state::stage::taken;
  core_->settle_nudges();  // (4)
  std::error_code gone;
  transport_->stream().set_deadline(net::no_deadline, gone);
  set_stage(stage::hijacked);
  auto state = std::make_unique<hijacked_state>();
  state->conn = shared_from_this();
  return hijacked(std::move(state));
}

void connection::call_hook() {
  const std::lock_guard guard(hook_lock_);
  if (!hook_) return;
  auto self = weak_from_this().lock();
  if (self == nullptr) return;  // in its destructor
  hook_running_ = true;
  try {
    go({.name = "http hook"}, [self = std::move(self), hook = std::move(hook_)] {
      try {
        hook();
      } catch (const std::exception& failure) {
        counters::count(self->core_->count.handler_failures);
        self->report(failure.what());
      }
      const std::lock_guard done(self->hook_lock_);
      self->hook_running_ = false;
      self->hook_done_.notify_all();
    });
    hook_ = nullptr;
  } catch (const std::exception&) {
    hook_running_ = false;  // no memory for it: close() will do what the hook did not
  }
}

void connection::set_hook(std::function<void()> hook) {
  bool due = false;
  {
    std::unique_lock guard(hook_lock_);
    hook_ = std::move(hook);
    due = hook_ != nullptr;
    if (!due) hook_done_.wait(guard, [this] { return !hook_running_; });
  }
  if (due && core_->refusing()) call_hook();
}

}  // namespace detail

hijacked::hijacked(std::unique_ptr<detail::hijacked_state> state) noexcept
    : state_(std::move(state)) {}
hijacked::hijacked(hijacked&&) noexcept = default;

hijacked& hijacked::operator=(hijacked&& other) noexcept {
  hijacked old(std::move(*this));
  state_ = std::move(other.state_);
  return *this;
}

hijacked::~hijacked() {
  if (state_ == nullptr) return;
  state_->conn->set_hook({});
  close();
}

std::size_t hijacked::read(mutable_buffer into, std::error_code& error) noexcept {
  error.clear();
  detail::input_buffer& before = state_->conn->input();
  if (!before.empty()) {
    const std::size_t count = std::min(into.size(), before.size());
    if (count != 0) std::memcpy(into.data(), before.view().data(), count);
    before.take(count);
    return count;
  }
  return state_->conn->under().read(into, error);
}

std::size_t hijacked::read(mutable_buffer into) {
  return sigrun::detail::or_throw("sigrun::http: read",
                                  [&](std::error_code& error) { return read(into, error); });
}

void hijacked::write(const_buffer from, std::error_code& error) noexcept {
  state_->conn->under().write({&from, 1}, error);
}

void hijacked::write(const_buffer from) {
  sigrun::detail::or_throw("sigrun::http: write",
                           [&](std::error_code& error) { write(from, error); });
}

void hijacked::shutdown_write() noexcept { state_->conn->under().shutdown_write(); }

void hijacked::set_read_deadline_in(std::chrono::nanoseconds wait) noexcept {
  std::error_code gone;
  state_->conn->under().stream().set_read_deadline_in(wait, gone);
}
void hijacked::set_write_deadline_in(std::chrono::nanoseconds wait) noexcept {
  std::error_code gone;
  state_->conn->under().stream().set_write_deadline_in(wait, gone);
}
void hijacked::clear_deadlines() noexcept {
  std::error_code gone;
  state_->conn->under().stream().set_deadline(net::no_deadline, gone);
}

void hijacked::close() noexcept { state_->conn->cut(); }
bool hijacked::is_open() const noexcept {
  return state_ != nullptr && state_->conn->under().stream().is_open();
}
void hijacked::on_refuse(std::function<void()> hook) { state_->conn->set_hook(std::move(hook)); }

}  // namespace sigrun::http
