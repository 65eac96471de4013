// SPDX-License-Identifier: Apache-2.0
#include "http/core.hpp"

#include "http/tls.hpp"

#include <sigrun/go.hpp>

#include <algorithm>
#include <mutex>

namespace sigrun::http::detail {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<transport> with_tls(std::unique_ptr<transport> plain,
                                    const std::shared_ptr<tls_certificates>& tls) {
  if (tls == nullptr) return plain;
  return tls_server_side(std::move(plain), *tls);
}

}  // namespace

server_core::server_core(handler h, server_options given)
    : handle(std::move(h)), options(std::move(given)) {
  deflaters_.reserve(deflaters_max);
  if (!handle) throw std::invalid_argument("sigrun::http::server: no handler");
}

int server_core::reserve(net::ip_address client, bool counted) {
  const std::lock_guard guard(lock_);
  if (state_.load() == server_state::closed) return 503;
  if (open_ >= options.limits.connections) return 503;
  if (counted) {
    std::size_t& mine = clients_[client];
    if (mine >= options.limits.connections_per_client) return 429;
    ++mine;
  }
  ++open_;
  return 0;
}

void server_core::release(net::ip_address client, bool counted) noexcept {
  const std::lock_guard guard(lock_);
  release_locked(client, counted);
}

void server_core::release_locked(net::ip_address client, bool counted) noexcept {
  if (counted) {
    const auto mine = clients_.find(client);
    if (mine != clients_.end() && --mine->second == 0) clients_.erase(mine);
  }
  if (--open_ == 0) drained_.notify_all();  // (3)
}

template <class Stream>
void server_core::admit_any(Stream stream, net::ip_address client, bool is_tcp,
                            const std::shared_ptr<tls_certificates>& tls) {
  counters::count(count.connections);
  const bool counted = is_tcp && options.limits.connections_per_client != 0;
  if (const int status = reserve(client, counted); status != 0) {
    counters::count(count.over_limit);
    // Into the empty buffer of a new socket: this does not wait.
    std::error_code gone;
    stream.set_write_deadline_in(1s, gone);
    if (tls == nullptr) {
      stream.write_all(status == 429 ? "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n"
                                       "Retry-After: 1\r\nConnection: close\r\n\r\n"
                                     : "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                                       "Retry-After: 1\r\nConnection: close\r\n\r\n",
                       gone);
      // What it has sent by now would make a reset of the close, and take the answer away.
      stream.shutdown_write(gone);
      discard_pending(stream);
    }
    return;
  }
  std::shared_ptr<connection> one;
  try {
    one = std::make_shared<connection>(
        shared_from_this(), with_tls(make_transport(std::move(stream)), tls), client, counted);
  } catch (...) {
    release(client, counted);
    counters::count(count.accept_failures);
    return;
  }
  try {
    go({.name = "http connection", .stack_size = options.stack_size},
       [one = std::move(one)] { one->run(); });
  } catch (const std::exception&) {
    counters::count(count.accept_failures);  // no memory for a stack; the connection is gone
  }
}

void server_core::admit(net::tcp_stream stream, const std::shared_ptr<tls_certificates>& tls) {
  net::ip_address client;
  if (options.limits.connections_per_client != 0) {
    std::error_code gone;
    client = stream.remote_endpoint(gone).address().unmapped();
  }
  admit_any(std::move(stream), client, true, tls);
}

void server_core::admit(net::unix_stream stream, const std::shared_ptr<tls_certificates>& tls) {
  admit_any(std::move(stream), {}, false, tls);
}

void server_core::add(connection& one) noexcept {
  const std::lock_guard guard(lock_);
  one.before = last_;
  (last_ == nullptr ? first_ : last_->after) = &one;
  last_ = &one;
}

void server_core::remove(connection& one, net::ip_address client, bool counted) noexcept {
  const std::lock_guard guard(lock_);
  (one.before == nullptr ? first_ : one.before->after) = one.after;
  (one.after == nullptr ? last_ : one.after->before) = one.before;
  release_locked(client, counted);
}

void server_core::refuse(const refuse_options& how) {
  const std::lock_guard guard(lock_);
  serve_on_.store(how.serve);
  pass_on_ = how.pass_on;
  idle_grace_ns_.store(std::chrono::nanoseconds(how.idle_grace).count());
  if (state_.load() == server_state::serving) state_.store(server_state::refusing);
  for (connection* one = first_; one != nullptr; one = one->after) {
    one->nudge(how.idle_grace);
    one->call_hook();
  }
}

bool server_core::pass_on(int fd) noexcept {
  try {
    std::function<bool(int)> how;
    {
      const std::lock_guard guard(lock_);
      how = pass_on_;
    }
    if (!how || !how(fd)) return false;
  } catch (const std::exception&) {
    return false;
  }
  counters::count(count.passed_on);
  return true;
}

bool server_core::wait_drained(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock guard(lock_);
  return drained_.wait_until(guard, deadline, [this] { return open_ == 0; });
}

std::unique_ptr<deflater> server_core::take_deflater() {
  {
    const std::lock_guard guard(deflaters_lock_);
    if (!deflaters_.empty()) {
      auto one = std::move(deflaters_.back());
      deflaters_.pop_back();
      return one;
    }
  }
  return std::make_unique<deflater>(std::clamp(options.compression.level, 1, 9));
}

void server_core::give_deflater(std::unique_ptr<deflater> one) noexcept {
  one->reset();
  const std::lock_guard guard(deflaters_lock_);
  if (deflaters_.size() < deflaters_max) deflaters_.push_back(std::move(one));
}

void server_core::shed_idle() noexcept {
  const std::lock_guard guard(lock_);
  connection* chosen = nullptr;
  for (connection* one = first_; one != nullptr; one = one->after) {
    if (one->is_idle() && (chosen == nullptr || one->since_ns() < chosen->since_ns())) chosen = one;
  }
  if (chosen != nullptr) chosen->nudge({});
}

void server_core::cut_all() noexcept {
  const std::lock_guard guard(lock_);
  const bool first_time = state_.exchange(server_state::closed) != server_state::closed;
  for (connection* one = first_; one != nullptr; one = one->after) {
    if (first_time) counters::count(count.cut);
    one->cut();
  }
}

void server_core::wait_closed() noexcept {
  std::unique_lock guard(lock_);
  drained_.wait(guard, [this] { return open_ == 0; });
}

server_statistics server_core::statistics() const {
  const auto value = [](const std::atomic<std::uint64_t>& from) {
    return from.load(std::memory_order_relaxed);
  };
  server_statistics s;
  s.connections = value(count.connections);
  s.requests = value(count.requests);
  s.handler_failures = value(count.handler_failures);
  s.malformed = value(count.malformed);
  s.timed_out = value(count.timed_out);
  s.unavailable = value(count.unavailable);
  s.over_limit = value(count.over_limit);
  s.accept_failures = value(count.accept_failures);
  s.handshake_failures = value(count.handshake_failures);
  s.cut = value(count.cut);
  s.passed_on = value(count.passed_on);
  const std::lock_guard guard(lock_);
  s.open = open_;
  for (const connection* one = first_; one != nullptr; one = one->after) {
    s.active += one->is_active() ? 1 : 0;
    s.hijacked += one->is_hijacked() ? 1 : 0;
  }
  return s;
}

std::vector<connection_info> server_core::connections() const {
  const std::lock_guard guard(lock_);
  std::vector<connection_info> all;
  all.reserve(open_);
  for (const connection* one = first_; one != nullptr; one = one->after) {
    all.push_back(one->info());
  }
  return all;
}

}  // namespace sigrun::http::detail
