// SPDX-License-Identifier: Apache-2.0
#include <sigrun/http_client.hpp>

#include "http/dial.hpp"

#include <sigrun/sync.hpp>

#include <list>
#include <mutex>

namespace sigrun::http {
namespace {

using clock = std::chrono::steady_clock;
using connection_ptr = std::unique_ptr<detail::client_connection>;

bool may_repeat(std::string_view method) noexcept {
  for (const char* const one : {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}) {
    if (method == one) return true;
  }
  return false;
}

}  // namespace

struct client::impl {
  explicit impl(client_options given) : options(std::move(given)) {}

  connection_ptr take(const std::string& origin) {
    const std::lock_guard guard(lock);
    for (auto it = kept.rbegin(); it != kept.rend(); ++it) {
      if (it->origin != origin) continue;
      connection_ptr one = std::move(it->connection);
      kept.erase(std::next(it).base());
      return one;
    }
    return nullptr;
  }

  void keep(const std::string& origin, connection_ptr one) {
    if (options.idle_connections == 0) return;
    one->used = true;
    one->input.unpin();
    connection_ptr surplus;
    const std::lock_guard guard(lock);
    if (kept.size() >= options.idle_connections) {
      surplus = std::move(kept.front().connection);
      kept.pop_front();
    }
    kept.push_back({origin, std::move(one)});
  }

  client_response exchange(detail::client_connection& on, const client_request& request,
                           const url& to, clock::time_point deadline) {
    std::string head = detail::request_head(request.method, to, request.headers);
    if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
      head.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
    }
    if (options.idle_connections == 0) head.append("Connection: close\r\n");
    head.append("\r\n");
    on.under->stream().set_deadline(deadline);
    on.answered = on.reusable = false;
    on.send(head, request.body);
    detail::message_head answer;
    on.read_head(answer, options.header_bytes, request.method == "HEAD");
    client_response response;
    response.status = answer.status;
    for (const header& field : answer.fields) response.headers.add(field.name, field.value);
    if (answer.status == 101) return response;
    response.body = on.read_body(answer, options.body);
    return response;
  }

  const client_options options;
  struct entry {
    std::string origin;
    connection_ptr connection;
  };
  mutable mutex lock;
  std::list<entry> kept;  // under lock; the oldest first
};

client::client(client_options options) : impl_(std::make_unique<impl>(std::move(options))) {}
client::client(client&&) noexcept = default;
client& client::operator=(client&&) noexcept = default;
client::~client() = default;

client_response client::send(const client_request& request) {
  const url to = url::parse(request.url);
  const auto deadline = clock::now() + impl_->options.timeout;
  const std::string origin = (to.secure ? "s:" : "p:") + to.host + ":" + to.port;
  connection_ptr on = impl_->take(origin);
  // Several may have gone stale; a fresh one cannot.
  while (on != nullptr && detail::look_at(on->under->stream()) != detail::pending::nothing) {
    on = impl_->take(origin);
  }
  for (;;) {
    if (on == nullptr) {
      on = std::make_unique<detail::client_connection>();
      on->under = detail::dial(to, impl_->options, deadline);
    }
    try {
      client_response response = impl_->exchange(*on, request, to, deadline);
      if (on->reusable) impl_->keep(origin, std::move(on));
      return response;
    } catch (const std::system_error& failure) {
      const bool stale = on->used && !on->answered && may_repeat(request.method) &&
                         failure.code() != std::errc::timed_out;
      if (!stale) throw;
    }
    on = nullptr;
  }
}

client_response client::get(std::string_view at) { return send({.url = std::string(at)}); }

client_response client::post(std::string_view at, std::string_view type, std::string_view body) {
  client_request request{.method = "POST", .url = std::string(at), .body = std::string(body)};
  request.headers.set("Content-Type", type);
  return send(request);
}

std::size_t client::idle() const {
  const std::lock_guard guard(impl_->lock);
  return impl_->kept.size();
}

}  // namespace sigrun::http
